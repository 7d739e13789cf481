"""A run folder, opened to be read: finished, interrupted or still running. Nothing in it is executed."""

from __future__ import annotations

import json
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Self, get_args

from vkdnw_search.contracts import Architecture, Proxy, SearchSpace
from vkdnw_search.cost.latency import LatencyTable
from vkdnw_search.errors import RunFolderError
from vkdnw_search.recipe.recipe import Recipe, SectionName, load_recipe
from vkdnw_search.recipe.yaml_reader import read_yaml
from vkdnw_search.records import Evaluation
from vkdnw_search.runs.fitness import fitness
from vkdnw_search.runs.judgement import Judgement
from vkdnw_search.runs.result import FoundNetwork
from vkdnw_search.runs.store import Store


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
        if not (path / "run.sqlite").is_file() or not (path / "recipe.yaml").is_file():
            raise RunFolderError(
                f"{path}: must be the folder of a run, with run.sqlite and recipe.yaml, but is not. Give "
                "the --out of a run, by default runs/NAME"
            )
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
        return fitness(self.evaluations, self.proxy)

    @cached_property
    def judgement(self) -> Judgement | None:
        """Who won, the finalists scored anew, their baselines, warnings: None before the run has ended."""
        text = self.store.note("judgement")
        return None if text is None else Judgement.from_json(text)

    @cached_property
    def neighbours(self) -> dict[str, float]:
        """Key → score of the networks one step from the winner: empty before the run has ended."""
        content = json.loads(self.store.note("neighbours") or "{}")
        return {str(key): float(value) for key, value in content.items()} if isinstance(content, dict) else {}

    @cached_property
    def latencies(self) -> LatencyTable[Architecture]:
        """What the run measured, if a limit asked for it."""
        return LatencyTable(self.space, text=self.store.note("latencies"))

    @cached_property
    def ranked(self) -> list[Evaluation]:
        """Scored candidates, the best first.

        The winner of the run comes first; then what was judged, by its mean over fresh initializations; then the others
        by fitness; last those that are known not to be trainable.
        """
        judged = self.judgement
        means, untrainable = ({}, ()) if judged is None else (judged.means, judged.untrainable)

        def place(e: Evaluation) -> tuple[bool, bool, bool, float, int]:
            beaten = judged is None or e.number != judged.winner
            value = means.get(e.number, self.fitness[e.number])
            return beaten, beaten and e.number in untrainable, e.number not in means, -value, e.number

        return sorted((e for e in self.evaluations if e.number in self.fitness), key=place)

    @cached_property
    def bands(self) -> list[tuple[int, Evaluation | None]]:
        """Most FLOPs of each band of the recipe, with its winner: as judged, or while the run lasts the best so far."""
        judged = () if self.judgement is None else self.judgement.bands
        winners = {band.winner.number for band in judged if band.winner is not None}
        rows: list[tuple[int, Evaluation | None]] = []
        for above, at_most in pairwise((-1, *self.recipe.bands)):
            within = [e for e in self.ranked if above < e.cost.flops <= at_most]
            rows.append((at_most, next(iter([*(e for e in within if e.number in winners), *within]), None)))
        return rows

    def found(self, evaluation: Evaluation) -> FoundNetwork:
        """One candidate, ready to build or export."""
        return FoundNetwork(self.space, evaluation)


def _absent(recipe: Path, sections: tuple[SectionName, ...]) -> list[SectionName]:
    """Sections that a run was given as objects: its recipe.yaml has null or nothing there."""
    tree = read_yaml(recipe.read_bytes(), source=str(recipe)).tree
    return [name for name in sections if isinstance(tree, dict) and tree.get(name) is None]
