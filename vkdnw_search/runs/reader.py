"""A run folder, opened to be read: finished, interrupted or still running. Nothing in it is executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from vkdnw_search.contracts import Architecture, Proxy, SearchSpace
from vkdnw_search.errors import RunFolderError
from vkdnw_search.recipe.recipe import Recipe, SectionName, load_recipe
from vkdnw_search.recipe.yaml_reader import read_yaml
from vkdnw_search.records import Evaluation
from vkdnw_search.runs.fitness import fitness_of
from vkdnw_search.runs.result import FoundNetwork
from vkdnw_search.runs.store import Store

if TYPE_CHECKING:
    from vkdnw_search.cost.latency import LatencyTable


class RunReader:
    """What a run has visited so far.

    Args:
        path: the folder.
        space, proxy: of the run. By default they are made from its recipe.yaml, by the names they are installed under.

    Raises:
        RunFolderError: the folder is not a run, or its space was given from Python and is in no recipe.
    """

    def __init__(
        self, path: Path, *, space: SearchSpace[Architecture] | None = None, proxy: Proxy | None = None
    ) -> None:
        must_be_a_run(path)
        self.path = path
        sections: tuple[SectionName, ...] = get_args(SectionName)
        self.recipe: Recipe = load_recipe(path / "recipe.yaml", supplied=_absent(path / "recipe.yaml", sections))
        if self.recipe.space is None and space is None:
            raise RunFolderError(f"{path}: its search space was given from Python, so only Python can open this run")
        self.space: SearchSpace[Architecture] = space or self.recipe.build_space()
        self.proxy = proxy or (None if self.recipe.score is None else self.recipe.build_proxy())
        self.store = Store(path / "run.sqlite")
        self.evaluations = list(self.store.evaluations())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    @cached_property
    def fitness(self) -> dict[int, float]:
        """Number → fitness of every scored candidate; a relative one is taken over all of them."""
        return fitness_of(self.evaluations, self.proxy)

    @cached_property
    def judgement(self) -> Mapping[str, Any]:
        """The finalists scored anew, their baselines, warnings: empty before the run has ended."""
        content = json.loads(self.store.note("judgement") or "{}")
        return content if isinstance(content, dict) else {}

    @cached_property
    def neighbours(self) -> dict[str, float]:
        """Key → score of the networks one step from the winner: empty before the run has ended."""
        content = json.loads(self.store.note("neighbours") or "{}")
        return {str(key): float(value) for key, value in content.items()} if isinstance(content, dict) else {}

    @cached_property
    def latencies(self) -> LatencyTable[Architecture]:
        """What the run measured, if a limit asked for it."""
        from vkdnw_search.cost.latency import LatencyTable  # torch, which takes seconds to import

        return LatencyTable(self.space, text=self.store.note("latencies"))

    @cached_property
    def ranked(self) -> list[Evaluation]:
        """Scored candidates, the best first: finalists by their mean over fresh initializations, others by fitness."""
        finalists = [int(f["number"]) for f in self.judgement.get("finalists", ())]
        place = {number: rank for rank, number in enumerate(finalists)}
        scored = [e for e in self.evaluations if e.number in self.fitness]
        return sorted(scored, key=lambda e: (place.get(e.number, len(place)), -self.fitness[e.number], e.number))

    def found(self, evaluation: Evaluation) -> FoundNetwork:
        """One candidate, ready to build or export."""
        return FoundNetwork(self.space, evaluation)


def must_be_a_run(path: Path) -> None:
    """Raise RunFolderError if ``path`` is not the folder of a run, finished or not."""
    if not (path / "run.sqlite").is_file() or not (path / "recipe.yaml").is_file():
        raise RunFolderError(
            f"{path}: must be the folder of a run, with run.sqlite and recipe.yaml, but is not. Give "
            "the --out of a run, by default runs/NAME"
        )


def _absent(recipe: Path, sections: tuple[SectionName, ...]) -> list[SectionName]:
    """Sections that a run was given as objects: its recipe.yaml has null or nothing there."""
    tree = read_yaml(recipe.read_bytes(), source=str(recipe)).tree
    return [name for name in sections if isinstance(tree, dict) and tree.get(name) is None]
