"""Run folders → what each run asked and found, as records; nothing in the folders is executed or changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vkdnw_search.errors import RunFolderError
from vkdnw_search.recipe.recipe import Change, Recipe
from vkdnw_search.runs.judgement import SecondOpinion
from vkdnw_search.runs.reader import RunReader, must_be_a_run
from vkdnw_search.runs.result import FoundNetwork

if TYPE_CHECKING:
    from vkdnw_search.comparing.races import RaceOutcome

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""What runs are called beside one another; a table of more than 26 would not be read."""


@dataclass(frozen=True)
class Contender:
    """A run that has ended, and its winner.

    Attributes:
        letter: what the run is called in the comparison.
        folder: of the run.
        recipe: what was asked.
        changes: the values in which its recipe is not that of the first run.
        winner: the network it found.
        fitness: the winner's score by the run itself; where that is relative, among the run's candidates.
        candidates: how many were visited.
        seconds: how long the search took, over all sessions.
        opinion: the winner by other measures, if the run has a second opinion.
        race: the outcome of the race in its folder, if there is one that has ended.
    """

    letter: str
    folder: Path
    recipe: Recipe
    changes: tuple[Change, ...]
    winner: FoundNetwork
    fitness: float
    candidates: int
    seconds: float
    opinion: SecondOpinion | None
    race: RaceOutcome | None


def must_be_comparable(folders: Sequence[Path]) -> None:
    """Refuse what are not two or more different run folders, before torch is imported.

    Raises:
        RunFolderError: there are too few or too many, one is no run, or two are the same.
    """
    if not 2 <= len(folders) <= len(LETTERS):
        given = f"is only {folders[0]}" if len(folders) == 1 else f"are {len(folders)}"
        raise RunFolderError(
            f"compare: must be given from 2 to {len(LETTERS)} run folders, but there {given}. "
            "Name the --out of each run, by default runs/NAME"
        )
    seen: dict[tuple[int, int], Path] = {}
    for folder in folders:
        must_be_a_run(folder)
        there = folder.stat()
        before = seen.setdefault((there.st_dev, there.st_ino), folder)
        if before is not folder:
            raise RunFolderError(
                f"compare: must be given different run folders, but {before} and {folder} are the same. Name each once"
            )


def contenders_of(readers: Mapping[str, RunReader]) -> tuple[Contender, ...]:
    """The run behind each letter.

    Raises:
        RunFolderError: a run has not ended or has no winner, its score was given from Python, or what is stored is
            damaged.
    """
    first = next(iter(readers.values())).recipe
    return tuple(_contender(letter, visited, first) for letter, visited in readers.items())


def _contender(letter: str, visited: RunReader, first: Recipe) -> Contender:
    from vkdnw_search.comparing.races import read_race  # matplotlib, which takes a second to import

    winner = _winner(visited)
    judged = visited.judgement
    return Contender(
        letter,
        visited.path,
        visited.recipe,
        tuple(first.difference(visited.recipe)),
        winner,
        visited.fitness[winner.evaluation.number],
        len(visited.evaluations),
        visited.store.elapsed(),
        None if judged is None else judged.second_opinion,
        read_race(visited.path),
    )


def _winner(visited: RunReader) -> FoundNetwork:
    if visited.recipe.score is None:
        raise RunFolderError(
            f"{visited.path}: its score was given from Python and is in no recipe, so its winner cannot be compared. "
            "Let the score join by --plugin, and search by its name"
        )
    judged = visited.judgement
    if judged is None:
        raise RunFolderError(
            f"{visited.path}: must be a run that has ended, but is not. The command that began it continues it"
        )
    if judged.winner is None:
        raise RunFolderError(
            f"{visited.path}: must be a run that found a network, but no candidate of it has a score. "
            "Compare runs with a winner"
        )
    return visited.found(next(e for e in visited.evaluations if e.number == judged.winner))


def listed(words: Sequence[str]) -> str:
    """``A, B and C``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
