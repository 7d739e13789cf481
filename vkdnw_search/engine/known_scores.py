"""Scores that an earlier run has computed, for a search that would compute the very same.

A score is a function of the architecture, the seed, the options of space and score, and the code. Only where all of
these are the same is a score taken; anything else is refused with what differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from vkdnw_search.determinism import seed_from
from vkdnw_search.engine.audit import NOTE as AUDIT
from vkdnw_search.engine.audit import read_outcome
from vkdnw_search.engine.tasks import Task
from vkdnw_search.errors import RunFolderError
from vkdnw_search.provenance.record import CodeRecord
from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.recipe.sections import SpaceSection
from vkdnw_search.records import Score
from vkdnw_search.runs.code_history import accepted_changes, recorded_code
from vkdnw_search.runs.reader import must_be_a_run, stored_recipe
from vkdnw_search.runs.store import Store

__all__ = ["KnownScores"]

COUNTED = ("flops", "macs", "parameters", "layers", "tensors", "modules")
"""Costs that are the same on every machine."""


class KnownScores:
    """The scores of an earlier run, finished or not, as they are when it is opened.

    Candidates that failed are not among them: another run may have had less time or memory for each.

    Args:
        folder: of the run.
        recipe: of the search that is to take them.
        code: of space and score of that search.

    Attributes:
        folder: of the run.
        is_careful: whether the run found the fast way of its score wrong, and computed scores the careful way.

    Raises:
        RunFolderError: the folder is no run, is damaged, or its scores may be others; the message says why.
    """

    def __init__(self, folder: Path, recipe: Recipe, code: CodeRecord) -> None:
        self.folder = folder
        must_be_a_run(folder)
        there = stored_recipe(folder / "recipe.yaml")
        _refuse(folder, "options", list(_of_python(there, recipe)))
        _refuse(folder, "options", list(_differences(there, recipe)))
        self._store = Store.to_read(folder / "run.sqlite")
        try:
            _refuse(folder, "code", list(_changes(self._store, folder, code)))
            text = self._store.note(AUDIT)
            self.is_careful = text is not None and read_outcome(text, folder).verdict == "wrong"
            self._seed = seed_from(recipe.seed, "score")
            self._numbers = {_digest(e.key): e.number for e in self._store.evaluations() if e.status.has_score}
        except BaseException:
            self._store.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def score(self, task: Task) -> Score | None:
        """The score that came of a task with this architecture and seed; None if none is known.

        Raises:
            RunFolderError: the network had another size there, so it is another.
        """
        extra = self._store.extra_score(task.key, task.seed)
        if extra is not None and extra[0] is not None:
            return extra[0]
        number = self._numbers.get(_digest(task.key)) if task.seed == self._seed else None
        if number is None:
            return None
        (there,) = self._store.evaluations(first=number, count=1)
        for name in COUNTED:
            if getattr(there.cost, name) != getattr(task.cost, name):
                raise RunFolderError(
                    f"{self.folder}: its networks must be those of this search, but {task.key} has "
                    f"{getattr(there.cost, name):,} {name} there and {getattr(task.cost, name):,} here: it is of "
                    "another search space, or damaged. Search without --from"
                )
        return there.score


def _of_python(there: Recipe, here: Recipe) -> Iterator[str]:
    """The sections whose options are not known, in words."""
    for section in ("space", "score"):
        if getattr(there, section) is None or getattr(here, section) is None:
            where = "there" if getattr(there, section) is None else "here"
            yield f"{section}: given from Python {where}, so its options are not known; name it in the recipe"


def _differences(there: Recipe, here: Recipe) -> Iterator[str]:
    """The options that a score depends on and that differ, in words. Which choices are left changes no network."""
    free = {f"space.{key}" for key in SpaceSection.own_keys()}
    for change in there.difference(here):
        section, _, key = change.key.partition(".")
        if section in ("space", "score", "seed") and f"{section}.{key.partition('.')[0]}" not in free:
            yield str(change)


def _changes(store: Store, folder: Path, code: CodeRecord) -> Iterator[str]:
    """The code that a score depends on and that differs or cannot be compared, in words."""
    recorded = recorded_code(store, folder)
    if recorded is None:
        yield "it is not recorded there, as an earlier version of vkdnw-search made the run"
        return
    yield from (str(change) for change in recorded.changes(code) if change.name in code.parts)
    yield from (f"{what}, so it may have changed since" for what in code.not_hashed())
    if accepted_changes(store, folder):
        yield "it changed in the course of that run, which was accepted"


def _refuse(folder: Path, what: str, told: list[str]) -> None:
    if told:
        listed = "\n".join(f"  {line}" for line in told)
        raise RunFolderError(
            f"{folder}: its scores must be those that this search would compute, but the {what} may be others (there → "
            f"here):\n{listed}\nNothing was written; make them the same, or search without --from"
        )


def _digest(key: str) -> bytes:
    """A short stand-in for a key, since there may be millions."""
    return hashlib.blake2b(key.encode(), digest_size=16).digest()
