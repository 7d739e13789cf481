"""Open a SQLite file that is ours, or make it; refuse any other and leave it as it is."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vkdnw_search.contained_files import must_be_plain, must_have_one_name
from vkdnw_search.errors import RunFolderError

__all__ = ["ClosedDatabase", "DatabaseSchema", "open_database", "open_to_read"]

BESIDE = ("-journal", "-wal", "-shm")
"""The ends of the names of files that SQLite has beside a database."""

JOURNAL_MARK = bytes.fromhex("d9d505f920a163d7")
"""How a rollback journal begins, and ends where it names a super-journal."""


@dataclass(frozen=True, slots=True)
class DatabaseSchema:
    """The marks that tell our databases of one kind from all others.

    Attributes:
        what: the kind in words, such as "the database of a run".
        application_id: four bytes (see https://www.sqlite.org/pragma.html#pragma_application_id).
        version: of the schema; another one is refused.
        schema: SQL that makes the tables.
    """

    what: str
    application_id: int
    version: int
    schema: str


def open_database(path: Path | None, form: DatabaseSchema, *, alone: bool = False) -> sqlite3.Connection:
    """A connection to the file, in autocommit mode and with a write-ahead log.

    Until it is certain that the file is ours it is only read, and nothing in it is trusted: neither functions that its
    schema calls nor triggers and views, since its schema has to be the very one of ``form``.

    Args:
        path: made if it is not there, or empty; None keeps everything in memory.
        form: what the file must be.
        alone: keep other processes out as long as the connection is open.

    Raises:
        RunFolderError: the file is something else, of another version, damaged or in use.
    """
    if path is not None:
        _must_be_plain(path)
        must_have_one_name(path)
    with ExitStack() as unless_sound, _told_in_words(form, path):
        database = sqlite3.connect(":memory:" if path is None else path, isolation_level=None, timeout=1.0)
        unless_sound.callback(database.close)
        database.execute("PRAGMA trusted_schema = OFF")
        if alone:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
        pages = _value(database, "page_count")  # none also where the process that made it was killed on the way
        if pages == 0 and (
            path is None or not _has_content(path)
        ):  # before there is a write-ahead log, which would leave a page in the file
            _create(database, form)
        else:
            _check(database, form, path)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")  # a commit survives the process; the last ones no power cut
        unless_sound.pop_all()
    return database


def open_to_read(path: Path, form: DatabaseSchema) -> sqlite3.Connection:
    """A connection that only reads, to the file as it is at one moment: nothing is changed or made in its folder.

    The folder may be one that cannot be written to, and another process may be writing to the file.

    Args:
        path: of the file.
        form: what the file must be.

    Raises:
        RunFolderError: the file is empty, something else, of another version or damaged.
    """
    _must_be_plain(path)
    if not _has_content(path):
        raise RunFolderError(
            f"{path}: must be {form.what}, but is empty or not there: what wrote it was ended at once, or it is "
            "damaged. Nothing was changed; begin anew in another folder"
        )
    with ExitStack() as unless_sound, _told_in_words(form, path):
        database = _read_only(path)
        unless_sound.callback(database.close)
        database.execute("PRAGMA trusted_schema = OFF")
        database.execute("BEGIN")  # from the first look on it stays as it is
        _check(database, form, path)
        unless_sound.pop_all()
    return database


def _must_be_plain(path: Path) -> None:
    """Refuse files that SQLite, which opens by path, would follow out of the folder of ``path``.

    Its journal is refused, too, if it names a super-journal, which SQLite makes where a transaction spans several
    files; ours has one. SQLite deletes the file of that name, wherever it is, when it rolls such a journal back
    (https://www.sqlite.org/fileformat.html, 3. The Rollback Journal).
    """
    must_be_plain(path.parent, files=[path.name, *(f"{path.name}{suffix}" for suffix in BESIDE)])
    journal = path.with_name(f"{path.name}-journal")
    if _has_content(journal) and _end_of(journal, len(JOURNAL_MARK)) == JOURNAL_MARK:
        raise RunFolderError(
            f"{journal}: must be about the database beside it alone, but names another file, which would be deleted: "
            "it is damaged, or was made to do harm. Nothing was changed; take the folder from a backup"
        )


def _end_of(file: Path, count: int) -> bytes:
    with file.open("rb") as opened:
        opened.seek(-min(count, file.stat().st_size), os.SEEK_END)
        return opened.read()


@contextmanager
def _told_in_words(form: DatabaseSchema, path: Path | None) -> Iterator[None]:
    """Say why a database cannot be used."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise RunFolderError(
                f"{path}: is in use by another process. Wait for it, or choose another folder with --out"
            ) from error
        raise RunFolderError(
            f"{path}: must be {form.what}, but cannot be read as one: {error}. Nothing was changed; choose another "
            "folder with --out"
        ) from error


def _read_only(path: Path) -> sqlite3.Connection:
    """A connection to a file and the write-ahead log beside it, if there is one, which changes neither."""
    log = path.with_name(f"{path.name}-wal")
    if not _has_content(log):  # nobody is writing, nor was killed while writing
        return _connected(path, "immutable=1")
    database = _connected(path, "mode=ro")
    try:
        _value(database, "page_count")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            return database  # busy, for instance: the next to ask will say so
        database.close()
        return _in_memory(path, log)  # an index of the log is needed, but its folder cannot be written to
    return database


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None, timeout=1.0)


def _in_memory(path: Path, log: Path) -> sqlite3.Connection:
    """A copy of the file with what its log adds."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    with tempfile.TemporaryDirectory() as folder:
        for file in (path, log):
            shutil.copyfile(file, Path(folder) / file.name)
        with closing(sqlite3.connect(Path(folder) / path.name)) as copied:
            copied.backup(database)
    return database


def _has_content(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _create(database: sqlite3.Connection, form: DatabaseSchema) -> None:
    database.executescript(
        f"BEGIN; {form.schema} PRAGMA application_id = {form.application_id}; PRAGMA user_version = {form.version}; "
        "COMMIT;"
    )


def _check(database: sqlite3.Connection, form: DatabaseSchema, path: Path | None) -> None:
    if _value(database, "application_id") != form.application_id:
        raise RunFolderError(f"{path}: must be {form.what}, but is some other database")
    version = _value(database, "user_version")
    if version != form.version:
        raise RunFolderError(
            f"{path}: must have schema version {form.version}, but has {version}: it was written by another version of "
            "vkdnw-search. Nothing was changed; use that version, or choose another folder with --out"
        )
    verdict = _value(database, "quick_check")
    if verdict != "ok":
        raise RunFolderError(f"{path}: the database is damaged ({verdict}). Nothing was changed")
    if _schema(database) != _expected(form):
        raise RunFolderError(f"{path}: must have the tables of {form.what}, but has others. Nothing was changed")


def _value(database: sqlite3.Connection, pragma: str) -> object:
    return database.execute(f"PRAGMA {pragma}").fetchone()[0]


def _schema(database: sqlite3.Connection) -> list[tuple[str, str]]:
    return list(database.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"))


def _expected(form: DatabaseSchema) -> list[tuple[str, str]]:
    database = sqlite3.connect(":memory:")
    try:
        database.executescript(form.schema)
        return _schema(database)
    finally:
        database.close()


class ClosedDatabase:
    """Stands in the place of a database that was closed."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Any:
        there = "It was kept in memory only" if self._path is None else f"Its folder, {self._path.parent}, can be read"
        raise RunFolderError(f"this run was closed: read what you need of its result before close(). {there}")
