"""A run folder, opened to be read: finished, interrupted or still running. Nothing in it is executed."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, get_args

from vkdnw_search.contained_files import start_of
from vkdnw_search.contracts import AnyProxy, Architecture, SearchSpace
from vkdnw_search.errors import RunFolderError, shortened
from vkdnw_search.recipe.recipe import Recipe, SectionName, parse_recipe
from vkdnw_search.recipe.yaml_reader import MAX_BYTES, read_yaml
from vkdnw_search.records import Evaluation, ranges
from vkdnw_search.runs.code_history import accepted_changes
from vkdnw_search.runs.contents import must_have_plain_contents
from vkdnw_search.runs.fitness import fitness_of
from vkdnw_search.runs.given import number_given
from vkdnw_search.runs.judgement import Judgement, read_record
from vkdnw_search.runs.result import RESULTS, FoundNetwork, must_be_of_its_genome
from vkdnw_search.runs.store import VERDICTS, Store

T = TypeVar("T")

if TYPE_CHECKING:
    from vkdnw_search.cost.latency import LatencyTable


class RunReader:
    """Reads a run folder: the candidates visited so far, and what was judged of them.

    Args:
        path: the folder.
        space, proxy: of the run. By default they are made from its recipe.yaml, by the names they are installed under.

    Raises:
        RunFolderError: the folder is not a run, its space was given from Python and is in no recipe, or what is stored
            is damaged; so do all members whose text is damaged.
        RecipeError: recipe.yaml is damaged, or names a plug-in that is not there.
    """

    def __init__(
        self, path: Path, *, space: SearchSpace[Architecture] | None = None, proxy: AnyProxy | None = None
    ) -> None:
        must_be_a_run(path)
        self.path = path
        self.recipe: Recipe = stored_recipe(path / "recipe.yaml")
        if self.recipe.space is None and space is None:
            raise RunFolderError(f"{path}: its search space was given from Python, so only Python can open this run")
        self.space: SearchSpace[Architecture] = space or self.recipe.build_space()
        self.proxy = proxy or (None if self.recipe.score is None else self.recipe.build_proxy())
        self.store = Store.to_read(path / "run.sqlite")
        try:
            self.store.must_have_costs(self.recipe.limits.names)
            self.evaluations = list(self.store.evaluations())
            self._must_be_of_the_space()
        except BaseException:
            self.store.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    @cached_property
    def fitness(self) -> dict[int, float]:
        """Number → fitness of every scored candidate; a relative one is taken over all of them."""
        return fitness_of(self.evaluations, self.proxy, given=number_given(self.store))

    @cached_property
    def environment(self) -> Mapping[str, Any] | None:
        """The content of environment.json, machine and versions; None where it cannot be read."""
        return read_environment(self.path)

    @cached_property
    def changes_of_code(self) -> list[str]:
        """Warnings about scores that are of other code than others of the run."""
        return [change.in_words(RESULTS) for change in accepted_changes(self.store, self.path)]

    @cached_property
    def judgement(self) -> Judgement | None:
        """Who won, the finalists scored anew, their baselines, warnings: None before the run has ended."""
        judged = self._note("judgement", Judgement.from_json)
        if judged is not None and judged.winner is not None and judged.winner not in self.fitness:
            raise self._damaged("judgement", f"its winner, network {judged.winner}, has no score")
        return judged

    @cached_property
    def neighbours(self) -> dict[str, float]:
        """Key → score of the networks one step from the winner: empty before the run has ended."""
        return self._note("neighbours", _named_numbers) or {}

    @cached_property
    def latencies(self) -> LatencyTable[Architecture]:
        """The latencies that the run had, if a limit asked for them. Of those of another source than this machine's
        PyTorch, no others can be had: it may be a file that is not here, or a device.
        """
        from vkdnw_search.cost.latency import LatencyTable  # torch, which takes seconds to import
        from vkdnw_search.latencies.known import KnownAlone

        source = None if self.recipe.latency is not None and self.recipe.latency.use == "torch" else KnownAlone()
        table = self._note("latencies", lambda text: LatencyTable(self.space, source, text=text))
        return LatencyTable(self.space, source) if table is None else table

    @property
    def latencies_in_words(self) -> str:
        """How the run had its latencies; empty where no limit asked for them."""
        return shortened(self.store.note("latencies in words") or "")

    def _note(self, name: str, read: Callable[[str], T]) -> T | None:
        """What ``read`` makes of a text that is kept with the run; None if there is no such text."""
        text = self.store.note(name)
        try:
            return None if text is None else read(text)
        except ValueError as error:
            raise self._damaged(name, str(error)) from error

    def _damaged(self, name: str, what: str) -> RunFolderError:
        anew = "the command that made the run makes it anew" if name in VERDICTS else "begin anew in another folder"
        return RunFolderError(
            f"{self.path / 'run.sqlite'}, {name}: must be as it was written, but is not: {shortened(what)}. "
            f"Take the folder from a backup, or {anew}"
        )

    def _must_be_of_the_space(self) -> None:
        """Refuse genomes that do not belong to the search space, which a winner is decoded by."""
        sizes = [len(gene.choices) for gene in self.space.genes]
        for e in self.evaluations:
            if len(e.genome) != len(sizes) or not all(map(operator.lt, e.genome, sizes)):
                raise RunFolderError(
                    f"{self.path / 'run.sqlite'}: genomes must have an index for each of the {len(sizes)} genes of "
                    f"{self.space.name}, but that of candidate {e.number} is {shortened(e.genome)}. The folder "
                    "is damaged, or of another version of the search space"
                )

    @cached_property
    def ranked(self) -> list[Evaluation]:
        """Scored candidates, the best first.

        The winner of the run comes first; then what was judged, by its mean over fresh initializations; then the others
        by fitness; last those that are known not to be trainable, or to be too slow.
        """
        judged = self.judgement
        means, refused = ({}, frozenset()) if judged is None else (judged.means, judged.refused)

        def place(e: Evaluation) -> tuple[bool, bool, bool, float, int]:
            beaten = judged is None or e.number != judged.winner
            value = means.get(e.number, self.fitness[e.number])
            return beaten, e.number in refused, e.number not in means, -value, e.number

        return sorted((e for e in self.evaluations if e.number in self.fitness), key=place)

    @cached_property
    def bands(self) -> list[tuple[int, Evaluation | None]]:
        """Upper end of each band of the recipe, with its winner: as judged, or while the run lasts the best so far."""
        judged = () if self.judgement is None else self.judgement.bands
        winners = {band.winner.number for band in judged if band.winner is not None}
        rows: list[tuple[int, Evaluation | None]] = []
        for band in ranges(self.recipe.bands, self.recipe.bands_of):
            within = [e for e in self.ranked if band.has(e.cost)]
            rows.append((band.at_most, next(iter([*(e for e in within if e.number in winners), *within]), None)))
        return rows

    def found(self, evaluation: Evaluation) -> FoundNetwork:
        """One candidate, ready to build or export.

        Raises:
            RunFolderError: its genome stands for another network than the one that was scored.
        """
        found = FoundNetwork(self.space, evaluation)
        must_be_of_its_genome(found, self.path)
        return found


def read_environment(path: Path) -> dict[str, Any] | None:
    """The content of environment.json in a run folder; None where it cannot be read."""
    return _plain_mapping(path / "environment.json")


def must_be_a_run(path: Path) -> None:
    """Raise RunFolderError if ``path`` is not the folder of a run, finished or not, or has links in it."""
    must_have_plain_contents(path)
    if not (path / "run.sqlite").is_file() or not (path / "recipe.yaml").is_file():
        raise RunFolderError(
            f"{path}: must be the folder of a run, with run.sqlite and recipe.yaml, but is not. Give "
            "the --out of a run, by default runs/NAME"
        )


def stored_recipe(file: Path, *, supplied: Collection[SectionName] = ()) -> Recipe:
    """The recipe of a run. Sections that it was given as objects are null there, and stay out, as do those supplied."""
    text = start_of(file, MAX_BYTES + 1)
    tree = read_yaml(text, source=str(file)).tree
    given = tree if isinstance(tree, dict) else {}
    sections: tuple[SectionName, ...] = get_args(SectionName)
    return parse_recipe(
        text, source=str(file), supplied={s for s in sections if s in given and given[s] is None} | set(supplied)
    )


def _named_numbers(text: str) -> dict[str, float]:
    """The mapping that ``text`` holds. Raises ValueError if it holds none."""
    return read_record(dict[str, float], text)


def _plain_mapping(file: Path) -> dict[str, Any] | None:
    """The mapping that a JSON file holds; None if it holds none, or cannot be read."""
    try:
        content = json.loads(start_of(file, MAX_BYTES))
        for shown in (str(content), json.dumps(content, ensure_ascii=False)):  # neither too deep for the page,
            shown.encode()  # nor with half a character
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
