"""Files that are there as a whole or not at all, whatever stops the program.

None is written through a link (see contained_files.py): ``within`` is the folder that the user named, below which
there must be none; by default it is the folder of the file.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from vkdnw_search.contained_files import folder_of, must_be_plain, replaced_by

__all__ = ["DRAFT", "all_or_nothing", "atomic_file", "write_whole"]

DRAFT = ".part"
"""The end of the name of a file that is being written."""


@contextmanager
def atomic_file(target: Path, *, within: Path | None = None) -> Iterator[IO[str]]:
    """A text file, in UTF-8, which takes the place of ``target`` once it is complete; the folder is made if needed.

    Raises:
        RunFolderError: a link or something else is in the way.
    """
    with (
        replaced_by(target, target.name + DRAFT, within=within) as draft,
        io.TextIOWrapper(draft, encoding="utf-8", newline="") as text,
    ):
        yield text


def write_whole(target: Path, content: str | bytes, *, within: Path | None = None) -> None:
    """Write ``content`` as the whole of ``target``, text in UTF-8.

    Raises:
        RunFolderError: a link or something else is in the way.
    """
    with replaced_by(target, target.name + DRAFT, within=within) as draft:
        draft.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def all_or_nothing(folder: Path, *, within: Path | None = None) -> Iterator[Path]:
    """Where to write files that are moved to ``folder`` together once the block has ended; none is if it raises.

    The folder is made if needed, and files of it that have one of their names are replaced.

    Raises:
        RunFolderError: a link or something else is in the way.
    """
    with suppress(FileNotFoundError), folder_of(folder / "any", within=within):
        pass  # what is there of it has no links
    near = next(place for place in (folder, *folder.parents) if place.is_dir())  # so that moving is no copying
    with tempfile.TemporaryDirectory(prefix=".export-", dir=near) as drafts:
        yield Path(drafts)
        names = sorted(file.name for file in Path(drafts).iterdir())
        must_be_plain(folder, files=names)
        with folder_of(folder / "any", within=within, make=True) as place:
            for name in names:
                os.replace(Path(drafts) / name, name, dst_dir_fd=place)
