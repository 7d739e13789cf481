"""Databases that a stranger wrote into: each text and number is read as what it must be, or refused in words."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.reliability import Injected
from tests.support.strange_files import COMMANDS, finished_run, tree, words
from vkdnw_search.commands.main import main
from vkdnw_search.output import report
from vkdnw_search.output.report_figures import Drawn

TEXTS = (
    "", "{", "[]", "{}", "5", "-1", "null", '"x"', "[1, 2]", "[[]]", '{"a": 1}', '{"a": "x"}', '{"a": -1.0}',
    '{"winner": null}', "[1e999, 0, {}]", "[1, -1, {}]", "[true, null, {}]", '[1, null, {"a": "x"}]', "[NaN, null, {}]",
    '[1, NaN, {"a": NaN}]', '[1, null, {"a": 1e999}]', '[1, null, {"\\ud800": 1}]', "[" * 100_000, "9" * 5000,
    '[1, null, {"a": 1' + "0" * 400 + "}]", "[1" + "0" * 400 + ", null, {}]", "\x00", "a\nb\n\nc",
)  # fmt: skip
NUMBERS = (-1, 0, 10**9, 2**63 - 1, -(2**63), -1.5, 1e300, 9e999, -9e999, None)
SHOWN = 2000
DRAWS = 2
"""Values that each cell is given; the export that follows each takes a second."""
DRAWN = ("value", "flops", "terms")
"""Columns that the figures show."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with finished_run(folder):
        yield folder


def cells(run: Path) -> list[tuple[str, str, int]]:
    """(table, column, row id) of one row of each table, but for every kind of note; of candidates the winner's too."""
    with contextlib.closing(sqlite3.connect(run / "run.sqlite")) as database:
        ((winner,),) = database.execute("SELECT json_extract(value, '$.winner') FROM note WHERE name = 'judgement'")
        rows = {
            "evaluation": [7, winner],
            "timing": [7],
            "generation": [1],
            "note": [row for (row,) in database.execute("SELECT rowid FROM note GROUP BY substr(name, 1, 16)")],
        }
        return [
            (table, column, row)
            for table, numbers in rows.items()
            for _, column, *_ in database.execute(f"PRAGMA table_info({table})")
            for row in numbers
        ]


def damaged(run: Path, table: str, column: str, row: int, value: object) -> bool:
    """Whether the value could be put there: the tables are strict."""
    with contextlib.closing(sqlite3.connect(run / "run.sqlite", isolation_level=None)) as database:
        try:
            database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))
        except (sqlite3.IntegrityError, UnicodeEncodeError):
            return False
    return True


def given(run: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Give every command on a run with a damaged cell; none may fail but in words, and with all files left."""
    for command in COMMANDS:
        before = tree(run)
        capsys.readouterr()
        code = main(words(command, run))
        error = capsys.readouterr().err
        told = f"{what}, {command}: {code}, {error[:SHOWN]}"
        assert code in (0, 1, 2, 3) and bool(code) == bool(error), told
        assert "Traceback" not in error and "\n\n" not in error and len(error) < SHOWN, told
        own = ("run.lock", "run.log", "run.sqlite")
        if code:
            assert {p: e for p, e in tree(run).items() if p not in own} == {
                p: e for p, e in before.items() if p not in own
            }, told


def undrawn(*_: object, **__: object) -> dict[str, Drawn]:
    """In place of the figures, which take most of the time."""
    return {name: Drawn("<svg></svg>", b"") for name in ("progress", "score_flops")}


@pytest.mark.fault
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("table", ["evaluation", "timing", "generation", "note"])
def test_every_cell_of_the_database_may_hold_anything(
    table: str,
    sound: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    injected: Injected,
) -> None:
    times, run = 0, tmp_path / "run"
    draw = report.draw
    for column, row in ((column, row) for name, column, row in cells(sound) if name == table):
        monkeypatch.setattr(report, "draw", draw if column in DRAWN else undrawn)
        for value in random.Random(f"{column} {row}").sample((*TEXTS, *NUMBERS), DRAWS):
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(sound, run)
            if damaged(run, table, column, row, value):
                given(run, f"{table}.{column} of row {row}: {value!r:.60}", capsys)
                times += 1
    injected(f"a cell of the table `{table}`", times, "refused in words and all files left, or read as what it says")
