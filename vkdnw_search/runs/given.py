"""The networks that a run was given to begin with, kept with it: its first candidates, which it did not find itself."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vkdnw_search.errors import RunFolderError, shortened
from vkdnw_search.records import Genome
from vkdnw_search.runs.judgement import read_record
from vkdnw_search.runs.store import Store

__all__ = ["genomes_given", "keep_given", "number_given"]

NOTE = "start"
"""The name of the text that keeps them."""


def keep_given(store: Store, genomes: Sequence[Genome]) -> None:
    """Keep them, even if there are none, so that a run goes on with the same."""
    store.set_note(NOTE, json.dumps(genomes))


def genomes_given(store: Store) -> list[Genome] | None:
    """The genomes that the run was given, in the order of its first candidates; None where none were kept.

    Raises:
        RunFolderError: what is kept is damaged.
    """
    text = store.note(NOTE)
    try:
        return None if text is None else read_record(list[Genome], text)
    except ValueError as error:
        raise RunFolderError(
            f"{store.path}, {NOTE}: must be as it was written, but is not: {shortened(error)}. Take the folder from a "
            "backup, or begin anew in another one"
        ) from error


def number_given(store: Store) -> int:
    """The number of the first candidates that are not the run's own; 0 for most runs."""
    return len(genomes_given(store) or ())
