"""The code that a folder was made by: kept with it, compared when it is continued, and every change that was accepted.

It is kept in the texts of the folder's database (:class:`Notes`), by runs and by ranking studies alike.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from vkdnw_search.errors import RunFolderError, shortened
from vkdnw_search.provenance.record import CodeChange, CodeRecord
from vkdnw_search.runs.judgement import read_record

__all__ = ["AcceptedChange", "Notes", "accepted_changes", "keep_code", "read_changes", "recorded_code", "tell_changes"]

LOGGER = logging.getLogger(__name__)

CODE, ACCEPTED = "code", "accepted changes of code"
"""The names of the texts."""

AUDIT = "audit"
"""The name of a text that is true of the code it was found with alone: how a proxy's fast way was audited."""


class Notes(Protocol):
    """Named texts that are kept with a run or a study."""

    def note(self, name: str) -> str | None:
        """The text of that name; None if there is none."""

    def set_note(self, name: str, value: str) -> None:
        """Keep a text."""

    def forget(self, names: Sequence[str]) -> None:
        """Drop the texts of these names; in a study those that are about one proxy each."""


@dataclass(frozen=True, slots=True)
class AcceptedChange:
    """A change of the code in the life of a folder.

    Attributes:
        after: number of results that were there before.
        changes: what differs; empty where it was not recorded which code these results are of.
    """

    after: int
    changes: tuple[CodeChange, ...]

    def in_words(self, results: str) -> str:
        """A warning about it; ``results`` says what ``after`` counts."""
        if not self.changes:
            return (
                f"of which code the first {self.after} {results} are is not recorded, as an earlier version of "
                "vkdnw-search made them: if it was other code than that of the later ones, scores may not compare"
            )
        listed = "; ".join(map(str, self.changes))
        return f"the code changed after {self.after} {results}, which was accepted, so scores may not compare: {listed}"


def keep_code(notes: Notes, code: CodeRecord, *, done: int, accept: bool, where: Path, grows: bool = False) -> None:
    """Compare the code with that of the results before, and keep it with them.

    Args:
        notes: of the folder.
        code: of this process.
        done: number of results that are there.
        accept: whether a change is accepted. It is kept with the rest.
        where: the folder, for errors.
        grows: results may be of several plug-ins: only those that are here and were there are compared.

    Raises:
        RunFolderError: the code differs, and that is not accepted; or what is kept is damaged. Nothing is changed.
    """
    recorded, before = recorded_code(notes, where), accepted_changes(notes, where)
    if recorded is None:
        if done:
            _add(notes, before, AcceptedChange(done, ()))
            notes.forget([AUDIT])
        notes.set_note(CODE, json.dumps(code.parts))
        return
    changes = recorded.changes(code, in_both=grows)
    if changes and done and not accept:
        listed = "\n".join(f"  {change}" for change in changes)
        raise RunFolderError(
            f"{where}: holds scores of other code, with which new ones may not compare. These differ (recorded → "
            f"present):\n{listed}\nNothing was written; install what is recorded or put the files back, choose another "
            "folder with --out, or accept the change with --accept-changed-code (from Python: "
            "accept_changed_code=True), which is told with the results"
        )
    if changes and done:
        _add(notes, before, AcceptedChange(done, tuple(changes)))
    if changes:
        notes.forget([AUDIT])
    kept = recorded.parts if grows else {}
    if {**kept, **code.parts} != recorded.parts:
        notes.set_note(CODE, json.dumps({**kept, **code.parts}))  # last: what was accepted is kept by now


def recorded_code(notes: Notes, where: Path) -> CodeRecord | None:
    """The code that the results of a folder are of; None where it was not recorded.

    Raises:
        RunFolderError: what is kept is damaged.
    """
    text = notes.note(CODE)
    try:
        return None if text is None else CodeRecord(read_record(dict[str, str], text))
    except ValueError as error:
        raise _damaged(where, CODE, error) from error


def accepted_changes(notes: Notes, where: Path) -> tuple[AcceptedChange, ...]:
    """The changes of code in the life of a folder, in order.

    Raises:
        RunFolderError: what is kept is damaged.
    """
    text = notes.note(ACCEPTED)
    try:
        return () if text is None else read_changes(text)
    except ValueError as error:
        raise _damaged(where, ACCEPTED, error) from error


def read_changes(text: str) -> tuple[AcceptedChange, ...]:
    """The changes that ``text`` stands for. Raises ValueError if it stands for none."""
    return read_record(tuple[AcceptedChange, ...], text)


def tell_changes(changes: Sequence[AcceptedChange], results: str) -> list[str]:
    """Log a warning for each of ``changes``, and return them."""
    warnings = [change.in_words(results) for change in changes]
    for warning in warnings:
        LOGGER.warning("%s", warning)
    return warnings


def _add(notes: Notes, before: Sequence[AcceptedChange], change: AcceptedChange) -> None:
    if change not in before:  # of a session that was killed just here
        notes.set_note(ACCEPTED, json.dumps([asdict(c) for c in (*before, change)]))


def _damaged(where: Path, name: str, error: ValueError) -> RunFolderError:
    return RunFolderError(
        f"{where}, {name}: must be as it was written, but is not: {shortened(error)}. Nothing was changed; "
        "take the folder from a backup, or begin anew in another one"
    )
