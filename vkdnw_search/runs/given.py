"""The networks that a run was given to begin with, kept with it: its first candidates, which it did not find itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

from vkdnw_search.records import Genome
from vkdnw_search.runs.judgement import read_record
from vkdnw_search.runs.notes import read_note
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
    return read_note(store, NOTE, partial(read_record, list[Genome]))


def number_given(store: Store) -> int:
    """The number of the first candidates that are not the run's own; 0 for most runs."""
    return len(genomes_given(store) or ())
