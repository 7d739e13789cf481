"""The memory of a ranking study: one SQLite file with every score, so that nothing is computed twice.

One row for each network, seed and proxy. Scores do not depend on accuracies, so one file serves any number of
accuracy columns; a proxy that is asked for later is computed for the networks that lack it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from vkdnw_search.contained_files import must_be_plain
from vkdnw_search.errors import RunFolderError
from vkdnw_search.runs.judgement import read_record
from vkdnw_search.runs.sqlite_files import DatabaseSchema, open_database

__all__ = ["PartScore", "ScoreStore"]

STUDY = DatabaseSchema(
    what="the database of a ranking study",
    application_id=0x766B726B,  # ASCII "vkrk"
    version=1,
    schema="""
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE proxy (number INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, forwards REAL) STRICT;
CREATE TABLE score (
    key TEXT NOT NULL, seed INTEGER NOT NULL, proxy INTEGER NOT NULL,
    status TEXT NOT NULL, reason TEXT NOT NULL, terms TEXT NOT NULL,
    PRIMARY KEY (key, seed, proxy)
) STRICT, WITHOUT ROWID;
""",
)


@dataclass(frozen=True, slots=True)
class PartScore:
    """The score that one proxy gave one network.

    Attributes:
        part: identity of the proxy.
        terms: its named terms, and its value under the empty name; empty if it failed.
        reason: why there is no score, in words; empty if there is one.
    """

    part: str
    terms: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


class ScoreStore:
    """Scores of the networks of one search space. Held by one process at a time.

    Args:
        folder: where ``scores.sqlite`` is, or will be; made if it is not there.
        space: description of the space with its options; scores of another are refused.

    Raises:
        RunFolderError: the folder holds something else, the study of another space, or links, or is in use. It is left
            as it is.
    """

    def __init__(self, folder: Path, *, space: str) -> None:
        self.path = folder / "scores.sqlite"
        must_be_plain(folder, folders=["figures"], files=["scores.csv", "table.csv", "table.md", "figures/*"])
        if not self.path.exists():
            _must_be_empty(folder)
            folder.mkdir(parents=True, exist_ok=True)
        self._db = open_database(self.path, STUDY, alone=True)
        try:
            self._must_be_of(space)
        except RunFolderError:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _must_be_of(self, space: str) -> None:
        """Refuse scores of another space; in a fresh file note which space it is."""
        there = self._db.execute("SELECT value FROM about WHERE name = 'space'").fetchone()
        if there is None:
            self._db.execute("INSERT INTO about VALUES ('space', ?)", (space,))
        elif there != (space,):
            raise RunFolderError(
                f"{self.path}: must hold scores of {space}, but holds those of {there[0]}. Nothing was changed; choose "
                "another folder with --out"
            )

    def count(self) -> int:
        """The number of scores, of all proxies."""
        return int(self._db.execute("SELECT count(*) FROM score").fetchone()[0])

    def note(self, name: str) -> str | None:
        """A named text that is kept with the study; None if there is none."""
        row = self._db.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_note(self, name: str, value: str) -> None:
        """Keep a named text."""
        self._db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    def done(self, key: str, seed: int) -> set[str]:
        """Identities of the proxies whose verdict on this network with this seed is stored."""
        query = "SELECT identity FROM score JOIN proxy ON proxy = number WHERE key = ? AND seed = ?"
        return {identity for (identity,) in self._db.execute(query, (key, seed))}

    def add(self, key: str, seed: int, scores: Iterable[PartScore]) -> None:
        """Store what came of one network, in one transaction."""
        rows = [
            (key, seed, self._number(s.part), "failed" if s.reason else "scored", s.reason, json.dumps(dict(s.terms)))
            for s in scores
        ]
        self._db.execute("BEGIN")
        with self._db:
            self._db.executemany("INSERT INTO score VALUES (?, ?, ?, ?, ?, ?)", rows)

    def of(self, part: str) -> Iterator[tuple[str, int, PartScore]]:
        """(key, seed, score) of everything one proxy said.

        Raises:
            RunFolderError: a score is not as it was written.
        """
        query = "SELECT key, seed, terms, reason FROM score WHERE proxy = ?"
        for key, seed, terms, reason in self._db.execute(query, (self._number(part),)):
            try:
                yield key, seed, PartScore(part, read_record(dict[str, int | float], terms), reason)
            except ValueError as error:
                raise RunFolderError(
                    f"{self.path}: scores must be as they were written, but are not: that of {key} by {part}: {error}. "
                    "Take the folder from a backup, or begin anew in another one"
                ) from error

    def forwards(self, part: str) -> float | None:
        """The cost of the proxy in forward passes, where that has been measured."""
        row = self._db.execute("SELECT forwards FROM proxy WHERE identity = ?", (part,)).fetchone()
        return None if row is None else row[0]

    def set_forwards(self, part: str, forwards: float) -> None:
        """Keep what was measured."""
        self._db.execute("UPDATE proxy SET forwards = ? WHERE number = ?", (forwards, self._number(part)))

    def _number(self, part: str) -> int:
        self._db.execute("INSERT OR IGNORE INTO proxy (identity) VALUES (?)", (part,))
        return int(self._db.execute("SELECT number FROM proxy WHERE identity = ?", (part,)).fetchone()[0])


def _must_be_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(
            f"{folder}: must be an empty folder, or hold a study to continue, but does not. Nothing was written; "
            "choose another folder with --out"
        )
