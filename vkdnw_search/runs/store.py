"""The memory of a run: one SQLite file, written by the coordinator alone, readable at any moment.

Results are stored as they arrive, with what was asked. Asking and telling are deterministic, so this is all it takes
to continue a run: the optimizer is asked again, and what is stored already is not evaluated again.
Floats are stored as REAL (exact), NaN as NULL; there is no pickle anywhere.
"""

from __future__ import annotations

import json
import math
import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from vkdnw_search.errors import RunFolderError, shortened
from vkdnw_search.records import ANYWHERE, Evaluation, Genome, Score, Within
from vkdnw_search.runs.rows import evaluation_of, plain_json, row_of, score_of, text_of
from vkdnw_search.runs.schema import RUN
from vkdnw_search.runs.sqlite_files import ClosedDatabase, open_database, open_to_read

VERDICTS = ("judgement", "neighbours")
"""The names of notes that are about all candidates, and go when another is stored."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An optimizer's state at the end of a generation.

    Attributes:
        generation: the next one.
        number: of the next candidate: all before it were told.
        made_by: the versions that made it; others may read it differently.
        state: plain data, as :class:`vkdnw_search.contracts.HasState` has it.
    """

    generation: int
    number: int
    made_by: str
    state: Mapping[str, Any]


class Store:
    """Evaluations of one run, in the order of their numbers.

    Every method that reads raises RunFolderError where what is stored is not what this program writes.

    Args:
        path: the database file, made if it is not there; None keeps everything in memory.

    Raises:
        RunFolderError: the file is not a run of this version, or is damaged. It is left as it is.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._db = self._closing(open_database(path, RUN))

    def _closing(self, database: sqlite3.Connection) -> sqlite3.Connection:
        """``database``, which is closed at the latest when nobody holds the store any longer."""
        weakref.finalize(self, database.close)
        return database

    @classmethod
    def to_read(cls, path: Path) -> Self:
        """The store of a run as it is at one moment, to be read alone: nothing in its folder is changed or made.

        Raises:
            RunFolderError: the file is not a run of this version, is empty or damaged.
        """
        store = cls.__new__(cls)
        store.path, store._db = path, store._closing(open_to_read(path, RUN))
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    is_open = True
    """Whether the store can be read."""

    def close(self) -> None:
        """Close the database. Whatever is asked of the store afterwards raises RunFolderError."""
        if self.is_open:
            self._db.close()
            self._db, self.is_open = ClosedDatabase(self.path), False  # type: ignore[assignment]  # refuses everything

    def known(self, number: int, genome: Genome) -> Evaluation | None:
        """The stored evaluation of that number, if there is one.

        Raises:
            RunFolderError: the run in this folder asked something else there.
        """
        evaluation = next(self.evaluations(first=number, count=1), None)
        if evaluation is not None and evaluation.genome != genome:
            raise self._differs(f"candidate {number}")
        return evaluation

    def add_generation(self, number: int, *, first: int, genomes: Sequence[Genome]) -> None:
        """Store what a whole generation asked; on a resumed run check that it is the same.

        Raises:
            RunFolderError: the run in this folder asked something else here.
        """
        text = json.dumps(genomes, separators=(",", ":"))
        row = self._first("SELECT first, genomes FROM generation WHERE number = ?", (number,))
        if row is None:
            self._db.execute("INSERT INTO generation VALUES (?, ?, ?)", (number, first, text))
        elif row != (first, text):
            raise self._differs(f"generation {number}")

    def _differs(self, what: str) -> RunFolderError:
        return RunFolderError(
            f"{self.path}: {what} must be as it was when the run was started, but the search now proposes others: the "
            "installed version differs. Continue with the version in environment.json"
        )

    def add(
        self,
        evaluations: Sequence[Evaluation],
        *,
        seconds: Mapping[int, float],
        now: float,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        """Store results in one transaction. What was judged of the candidates before is no longer true, and goes.

        Args:
            evaluations: not stored before.
            seconds: number → how long scoring took.
            now: seconds since the run started.
            notes: named texts that are kept with the results.
        """
        rows = [row_of(evaluation) for evaluation in evaluations]
        with self._transaction():
            self._db.executemany(f"INSERT INTO evaluation VALUES ({','.join('?' * 20)})", rows)
            self._db.executemany(
                "INSERT INTO timing VALUES (?, ?, ?)",
                [(e.number, now, seconds.get(e.number, 0.0)) for e in evaluations],
            )
            self.forget(VERDICTS)
            for name, value in (notes or {}).items():
                self.set_note(name, value)

    def set_snapshot(self, snapshot: Snapshot) -> None:
        """Keep the optimizer's state, in place of the one before."""
        row = (snapshot.generation, snapshot.number, snapshot.made_by, json.dumps(snapshot.state))
        self._db.execute("INSERT OR REPLACE INTO snapshot VALUES (0, ?, ?, ?, ?)", row)

    def snapshot(self) -> Snapshot | None:
        """The optimizer's state as it was kept last.

        Raises:
            RunFolderError: it is not what this program writes.
        """
        row = self._first("SELECT generation, number, made_by, state FROM snapshot")
        if row is None:
            return None
        try:
            state = plain_json(row[3], "it")
        except ValueError as error:
            raise RunFolderError(f"{self.path}: the optimizer's state kept there is damaged: {error}") from error
        if not isinstance(state, dict):
            raise RunFolderError(f"{self.path}: the optimizer's state kept there must be a mapping, but is not")
        return Snapshot(row[0], row[1], row[2], state)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            with self._db:  # commits on success and rolls back on an exception
                yield
        except sqlite3.IntegrityError as error:  # one table has a number that another has not
            raise self._damaged(str(error)) from error

    def evaluations(self, *, first: int = 0, count: int | None = None) -> Iterator[Evaluation]:
        """Stored evaluations from number ``first`` on, in order."""
        last = 2**62 if count is None else first + count
        query = "SELECT * FROM evaluation WHERE number >= ? AND number < ? ORDER BY number"
        yield from map(self._evaluation, self._rows(query, (first, last)))

    def must_have_costs(self, names: Iterable[str]) -> None:
        """Refuse candidates without one of these costs, which the recipe limits, so that all must have them.

        Only a latency may be unknown, of a candidate that is outside the limits for it.
        """
        for name in names:
            but = "AND status != 'infeasible'" if name == "latency" else ""
            row = self._first(f"SELECT number FROM evaluation WHERE {name} IS NULL {but} LIMIT 1")
            if row is not None:
                raise self._damaged(f"candidate {row[0]} has no {name}, which the recipe limits")

    def terms(self) -> list[str]:
        """Names of all terms of scores, in the order in which they came first."""
        texts = self._rows("SELECT terms, number FROM evaluation WHERE terms IS NOT NULL ORDER BY number")
        try:
            return list(dict.fromkeys(name for text, _ in texts for name in plain_json(text, "a score's terms")))
        except ValueError as error:
            raise self._damaged(str(error)) from error

    def best(self, count: int, within: Within = ANYWHERE) -> list[Evaluation]:
        """The ``count`` highest scores, of networks ``within`` a range; of equals the first found."""
        inside = f"status = 'scored' AND {within.of} > ? AND {within.of} <= ?"
        query = f"SELECT * FROM evaluation WHERE {inside} ORDER BY value DESC, number LIMIT ?"
        return [self._evaluation(row) for row in self._rows(query, (within.above, within.at_most, count))]

    def least_infeasible(self) -> Evaluation | None:
        """The candidate that misses the limits by least, if no candidate is feasible."""
        row = self._first("SELECT * FROM evaluation ORDER BY violation, number LIMIT 1")
        return None if row is None or row[14] <= 0 else self._evaluation(row)

    def counts(self) -> dict[str, int]:
        """Status → number of evaluations."""
        return dict(self._rows("SELECT status, count(*) FROM evaluation GROUP BY status ORDER BY status"))

    def timings(self) -> list[tuple[int, float, float]]:
        """(number, finished, seconds) of each evaluation, in order of number."""
        return list(self._rows("SELECT number, finished, seconds FROM timing ORDER BY number"))

    def elapsed(self) -> float:
        """The seconds that the run took until the last result, over all sessions."""
        ((seconds,),) = self._rows("SELECT coalesce(max(finished), 0.0) FROM timing")
        if not 0 <= seconds < math.inf:
            raise self._damaged(f"the time of running is {seconds} seconds")
        return float(seconds)

    def note(self, name: str) -> str | None:
        """A named text that is kept with the run; None if there is none."""
        row = self._first("SELECT value FROM note WHERE name = ?", (name,))
        return None if row is None else str(row[0])

    def extra_score(self, key: str, seed: int) -> tuple[Score | None] | None:
        """The score of a network beside those of the candidates, in a tuple of one; None if there is none yet.

        Args:
            key: of the network.
            seed: of the score.

        Returns:
            None in the tuple for a network that has no usable score.
        """
        text = self.note(_extra(key, seed))
        try:
            return None if text is None else (score_of(text),)
        except ValueError as error:
            raise self._damaged(f"the score with seed {seed} of {key}: {error}") from error

    def add_extra_score(
        self, key: str, seed: int, score: Score | None, *, notes: Mapping[str, str] | None = None
    ) -> None:
        """Keep a score beside those of the candidates, and named texts; None: the network has no usable one."""
        with self._transaction():
            for name, value in {_extra(key, seed): text_of(score), **(notes or {})}.items():
                self.set_note(name, value)

    def forget(self, names: Sequence[str]) -> None:
        """Drop the texts of these names."""
        self._db.executemany("DELETE FROM note WHERE name = ?", [(name,) for name in names])

    def set_note(self, name: str, value: str) -> None:
        """Keep a named text."""
        self._db.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))

    def _first(self, query: str, values: Sequence[object] = ()) -> tuple[Any, ...] | None:
        return next(self._rows(query, values), None)

    def _rows(self, query: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._db.execute(query, values)
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error

    def _evaluation(self, row: Sequence[Any]) -> Evaluation:
        try:
            return evaluation_of(row)
        except ValueError as error:
            raise self._damaged(f"candidate {row[0]}: {error}") from error

    def _damaged(self, what: str) -> RunFolderError:
        return RunFolderError(
            f"{self.path}: the candidates must be as they were written, but are not: {shortened(what)}. Take "
            "the folder from a backup, or begin anew in another one"
        )


def _extra(key: str, seed: int) -> str:
    """The name of the note that keeps an extra score."""
    return f"score with seed {seed} of {key}"
