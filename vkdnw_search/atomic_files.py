"""Files that are there as a whole or not at all, whatever stops the program."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["DRAFT", "all_or_nothing", "atomic_path", "write_whole"]

DRAFT = ".part"
"""The end of the name of a file that is being written."""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the place of ``target`` once it is complete; the folder is made if
    needed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(target.name + DRAFT)
    yield draft
    draft.replace(target)


def write_whole(target: Path, text: str) -> None:
    """Write ``text`` as the whole of ``target``, in UTF-8."""
    with atomic_path(target) as draft:
        draft.write_text(text, encoding="utf-8", newline="")


@contextmanager
def all_or_nothing(folder: Path) -> Iterator[Path]:
    """Where to write files that are moved to ``folder`` together once the block has ended; none is if it raises.

    The folder is made if needed, and files of it that have one of their names are replaced.
    """
    near = next(place for place in (folder, *folder.parents) if place.is_dir())  # so that moving is no copying
    with tempfile.TemporaryDirectory(prefix=".export-", dir=near) as drafts:
        yield Path(drafts)
        folder.mkdir(parents=True, exist_ok=True)
        for draft in sorted(Path(drafts).iterdir()):
            draft.replace(folder / draft.name)
