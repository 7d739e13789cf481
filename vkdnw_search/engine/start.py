"""Where a search begins: networks that are known already, from text, by name or from an earlier run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from vkdnw_search.contracts import HasEncoding, HasReferences, HasStart, HasText, Optimizer, Problem, SearchSpace
from vkdnw_search.errors import OptimizerError, RecipeError, SpaceError, nearest, shortened
from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.records import Genome
from vkdnw_search.runs.given import genomes_given, keep_given
from vkdnw_search.runs.reader import RunReader, must_be_a_run, stored_recipe
from vkdnw_search.runs.store import Store

__all__ = ["Given", "begin_with", "different", "read_start", "start_of"]

LOGGER = logging.getLogger(__name__)

TAKEN = 10
"""Number of networks that are taken of a run, or where there are bands for each of them: as many as are finalists."""

LOOKED_AT = 1000
"""Number of the best networks of a run among which those are that fit."""


@runtime_checkable
class _Readable(HasText, HasEncoding, Protocol):
    """A space that turns text into genomes."""


@dataclass(frozen=True, slots=True)
class Given:
    """What one entry of ``start`` stands for, as genomes of the space that is searched.

    Attributes:
        entry: as the recipe has it.
        genomes: one; or of a run the best ones that the genes can express, the best first.
        is_run: whether the best that fit the limits are taken.
    """

    entry: str
    genomes: tuple[Genome, ...]
    is_run: bool = False

    def chosen(self, problem: Problem) -> list[Genome]:
        """The networks to begin with: of a run those that fit, up to TAKEN for each band."""
        if not self.is_run:
            return list(self.genomes)
        taken: set[int] = set()
        for outside in [band.violation for band in problem.bands] or [problem.violation]:
            taken.update(islice((i for i, genome in enumerate(self.genomes) if outside(genome) <= 0), TAKEN))
        if not taken:
            LOGGER.warning("start: none of the best networks of %s is within the limits", self.entry)
        return [self.genomes[place] for place in sorted(taken)]


def read_start(recipe: Recipe, space: SearchSpace[Any]) -> list[Given]:
    """What the entries of ``start`` stand for. Nothing is counted yet.

    Raises:
        RecipeError: an entry is no network that the genes of ``space`` can express, or the space reads no text.
        RunFolderError: the folder of a run is damaged.
    """
    return [_given(entry, space) for entry in recipe.start]


def start_of(
    recipe: Recipe, space: SearchSpace[Any], optimizer: Optimizer, out: str | Path | None
) -> list[Given] | None:
    """The networks to begin with, read before a folder is taken; None where a run is continued, which has kept them.

    Raises:
        OptimizerError: there are some, and the optimizer cannot begin with any.
        RecipeError: as of :func:`read_start`.
    """
    if recipe.start and not isinstance(optimizer, HasStart):
        raise OptimizerError(
            f"start: the optimizer must have begin_with(genomes) to begin with known networks, but "
            f"{type(optimizer).__name__} has none. Add it (vkdnw_search.contracts.HasStart), or take start out"
        )
    continued = out is not None and (Path(out) / "run.sqlite").is_file()
    return None if continued else read_start(recipe, space)


def begin_with(given: Sequence[Given] | None, recipe: Recipe, problem: Problem, store: Store) -> list[Genome]:
    """The genomes that a run begins with, different networks; kept with it, since what they are read from may change.

    Args:
        given: as :func:`read_start` gave it; None for a run that is continued.
        recipe: of the run.
        problem: which networks fit and which are the same.
        store: of the run.
    """
    if not recipe.start:
        return []
    if (kept := genomes_given(store)) is not None:
        return kept
    genomes = different(given or read_start(recipe, problem.space), problem)
    keep_given(store, genomes)
    return genomes


def different(given: Sequence[Given], problem: Problem) -> list[Genome]:
    """The genomes to begin with, in order, each network once."""
    found = dict[str, Genome]()
    for one in given:
        for genome in one.chosen(problem):
            found.setdefault(problem.key(genome), genome)
    return list(found.values())


def _given(entry: str, space: SearchSpace[Any]) -> Given:
    if not isinstance(space, _Readable):
        raise RecipeError(f"start: the space {space.name} must read architectures, by parse and encode, but does not")
    named = space.references if isinstance(space, HasReferences) else {}
    if entry not in named and (folder := _folder(entry)) is not None:
        return Given(entry, _of_run(folder, space), is_run=True)
    try:
        return Given(entry, (space.encode(space.parse(named.get(entry, entry))),))
    except SpaceError as error:
        names = "".join(f"{name}, " for name in named)
        raise RecipeError(
            f"start, {shortened(entry)!r}: must be {names}the folder of a run, or an architecture that the genes of "
            f"{space.name} can express: {error}{nearest(entry, named)}"
        ) from error


def _folder(entry: str) -> Path | None:
    """The folder that an entry names, by itself or by its results.csv; None if it names none."""
    with suppress(OSError, ValueError):  # an architecture may be too long for the name of a file
        path = Path(entry)
        if path.is_file() and path.name == "results.csv":
            return path.parent
        return path if path.is_dir() else None
    return None


def _of_run(folder: Path, space: _Readable) -> tuple[Genome, ...]:
    """The best networks of a run as genomes of ``space``; those that its genes cannot express are left out."""
    must_be_a_run(folder)
    from_python = stored_recipe(folder / "recipe.yaml").space is None
    with RunReader(folder, space=space if from_python else None) as visited:  # type: ignore[arg-type]  # a space, too
        keys = [evaluation.key for evaluation in visited.ranked[:LOOKED_AT]]
    genomes, why = [], "it has no network with a score"
    for key in keys:
        try:
            genomes.append(space.encode(space.parse(key)))
        except SpaceError as error:
            why = f"the best: {error}" if not genomes and why.startswith("it ") else why
    if not genomes:
        raise RecipeError(f"start, {folder}: must have networks that the genes can express, but has none: {why}")
    return tuple(genomes)
