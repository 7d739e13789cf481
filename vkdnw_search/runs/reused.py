"""How many scores a run has taken from an earlier one, kept with it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial

from vkdnw_search.runs.judgement import read_record
from vkdnw_search.runs.notes import read_note
from vkdnw_search.runs.store import Store

__all__ = ["Reused", "counted", "read_reused"]

NOTE = "reused"
"""The name of the text that keeps it."""


@dataclass(frozen=True, slots=True)
class Reused:
    """Scores that were not computed but taken.

    Attributes:
        run: the folder of the run that they were taken from last.
        candidates: number of candidates whose score was taken.
        others: number of other scores: of finalists on fresh initializations, of neighbours, by other measures.
    """

    run: str
    candidates: int = 0
    others: int = 0

    def __str__(self) -> str:
        return f"the scores of {self.candidates} candidates and {self.others} other scores were taken from {self.run}"


def counted(store: Store, run: object, *, candidates: int = 0, others: int = 0) -> dict[str, str]:
    """The text to be kept, by its name, when so many more were taken from ``run``."""
    before = read_reused(store) or Reused("")
    now = Reused(str(run), before.candidates + candidates, before.others + others)
    return {NOTE: json.dumps(asdict(now))}


def read_reused(store: Store) -> Reused | None:
    """What a run has taken; None if it was told of no other run.

    Raises:
        RunFolderError: what is kept is damaged.
    """
    return read_note(store, NOTE, partial(read_record, Reused))
