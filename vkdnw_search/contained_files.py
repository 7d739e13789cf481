"""Files of a folder that may come from a stranger: links and special files in it are refused, never followed.

The folder itself is the user's choice, and may be a link. Below it every step is taken without following links
(``O_NOFOLLOW``), relative to the folder before it, and what is opened must be a plain file: a named pipe, on which
opening would wait for ever, is refused like a socket or a device.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from vkdnw_search.errors import RunFolderError

__all__ = ["folder_of", "must_be_plain", "must_have_one_name", "open_to_append", "refusal", "replaced_by", "start_of"]

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
UNFOLLOWED = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a named pipe would be waited for without O_NONBLOCK

KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

LONGEST = 200
"""Characters that are repeated of a link's target."""


def must_be_plain(within: Path, *, files: Iterable[str] = (), folders: Iterable[str] = ()) -> None:
    """Refuse what stands in the place of a file or a folder and is something else. What is not there may be made.

    Args:
        within: the folder; it need not be there.
        files: places relative to ``within``, checked after the folders.
        folders: such places, outer ones first; a last ``*`` stands for every entry.

    Raises:
        RunFolderError: naming the first that is a link, a special file, or a folder in the place of a file or the
            other way round. Nothing was opened.
    """
    for kind, places in ((stat.S_IFDIR, folders), (stat.S_IFREG, files)):
        for place in places:
            for path in _entries(within, place):
                with suppress(FileNotFoundError, NotADirectoryError):
                    if stat.S_IFMT(os.lstat(path).st_mode) != kind:
                        raise refusal(path, kind)


def must_have_one_name(path: Path) -> None:
    """Refuse a file that is written in place and has a second name (a hard link), which may be outside its folder.

    Raises:
        RunFolderError: it has one.
    """
    with suppress(FileNotFoundError):
        if os.lstat(path).st_nlink > 1:
            raise refusal(path)


def _entries(within: Path, place: str) -> Iterator[Path]:
    """The paths that a place stands for. ``a/*`` are entries of ``a``, and ``a/*/b`` is b in each that is a folder."""
    before, star, after = place.partition("*")
    if not star:
        yield within / place
        return
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in sorted(os.scandir(within / before), key=lambda entry: entry.name):
            if not after or entry.is_dir(follow_symlinks=False):
                yield Path(f"{entry.path}{after}")


def refusal(path: Path, kind: int = stat.S_IFREG) -> RunFolderError:
    """The error of ``path``, which had to be of a kind (``S_IFREG`` or ``S_IFDIR``) and is something else."""
    there = os.lstat(path).st_mode
    what = KINDS.get(stat.S_IFMT(there), "something else")
    if stat.S_ISLNK(there):
        what += f" to {str(path.readlink())[:LONGEST]!r}"
    elif stat.S_IFMT(there) == kind:
        what += " with a second name elsewhere (a hard link)"
    name = str(path) if str(path).isprintable() else repr(str(path))
    return RunFolderError(
        f"{name}: must be {KINDS[kind]} of its own, but is {what}. It was left as it is, and nothing was written; "
        "remove it, or put a plain copy in its place"
    )


@contextmanager
def folder_of(target: Path, *, within: Path | None = None, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder that ``target`` is in, for functions that take a ``dir_fd``.

    Args:
        target: a file; the folder it is in may be missing where ``make`` is set.
        within: what the user named; all below it must be folders, not links. By default the folder of ``target``.
        make: whether to make the folders that are missing.

    Raises:
        ValueError: ``target`` is not below ``within``.
        RunFolderError: a link, or something else, stands in the place of a folder below ``within``.
    """
    root = target.parent if within is None else within
    below = target.relative_to(root).parts
    if ".." in below:
        raise ValueError(f"{target}: must be below {root}, but a .. leads out of it")
    if make:
        root.mkdir(parents=True, exist_ok=True)
    descriptor, path = os.open(root, FOLDER), root
    try:
        for name in below[:-1]:
            path /= name
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=descriptor)
            outer = descriptor
            descriptor = _inner(name, outer, path)
            os.close(outer)
        yield descriptor
    finally:
        os.close(descriptor)


def _inner(name: str, outer: int, path: Path) -> int:
    try:
        return os.open(name, FOLDER | UNFOLLOWED, dir_fd=outer)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise refusal(path, stat.S_IFDIR) from error
        raise


def _opened(target: Path, flags: int, within: Path | None, *, make: bool = False) -> int:
    """A descriptor of ``target``, which is a plain file."""
    with folder_of(target, within=within, make=make) as folder:
        try:
            descriptor = os.open(target.name, flags | UNFOLLOWED, 0o666, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # a link; a folder; a pipe or a socket
                raise refusal(target) from error
            raise
    there = os.fstat(descriptor)
    if not stat.S_ISREG(there.st_mode) or (flags & os.O_APPEND and there.st_nlink > 1):
        os.close(descriptor)
        raise refusal(target)
    return descriptor


def start_of(target: Path, count: int, *, within: Path | None = None) -> bytes:
    """The first ``count`` bytes of a file, fewer if it has no more.

    Raises:
        RunFolderError: it, or a folder on the way to it, is a link or something else.
        OSError: it is not there, or cannot be read.
    """
    with os.fdopen(_opened(target, os.O_RDONLY, within), "rb") as file:
        return file.read(count)


def open_to_append(target: Path, *, within: Path | None = None) -> IO[str]:
    """A text file that is read from its beginning and written at its end, made if it is not there.

    Raises:
        RunFolderError: it, or a folder on the way to it, is a link or something else, or it has a second name, under
            which it would be written to as well.
        OSError: it cannot be opened.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    return os.fdopen(_opened(target, flags, within, make=True), "a+", encoding="utf-8", errors="replace")


@contextmanager
def replaced_by(target: Path, draft: str, *, within: Path | None = None) -> Iterator[IO[bytes]]:
    """A new file named ``draft`` beside ``target``, which takes its place at the end of the block, or goes if it
    raises.

    What has the name of the draft was left by a program that was ended, and is removed, a link without its target.

    Raises:
        RunFolderError: what is to be replaced, or a folder on the way to it, is a link or something else.
        OSError: it cannot be written.
    """
    with folder_of(target, within=within, make=True) as folder:
        must_be_plain(target.parent, files=[target.name])
        with suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | UNFOLLOWED
        try:
            with os.fdopen(os.open(draft, flags, 0o666, dir_fd=folder), "wb") as file:
                yield file
            os.replace(draft, target.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft, dir_fd=folder)
            raise
