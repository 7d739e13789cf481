"""Texts that are kept with a run by name, read back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from vkdnw_search.errors import RunFolderError, shortened
from vkdnw_search.runs.store import Store

__all__ = ["read_note"]

T = TypeVar("T")


def read_note(store: Store, name: str, read: Callable[[str], T]) -> T | None:
    """What the text kept as ``name`` stands for; None where there is none.

    Args:
        store: of the run.
        name: of the text.
        read: text → what it stands for; raises ValueError where it stands for nothing.

    Raises:
        RunFolderError: what is kept is damaged.
    """
    text = store.note(name)
    try:
        return None if text is None else read(text)
    except ValueError as error:
        raise RunFolderError(
            f"{store.path}, {shortened(name)}: must be as it was written, but is not: {shortened(error)}. Take the "
            "folder from a backup, or begin anew in another one"
        ) from error
