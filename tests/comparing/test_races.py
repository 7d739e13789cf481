"""Races in run folders: read with care, and compared where both are about the same."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.raced_runs import WORDS, make_two_runs, put_race
from vkdnw_search import compare
from vkdnw_search.comparing.races import read_race
from vkdnw_search.errors import RunFolderError
from vkdnw_search.execution.executors import inline
from vkdnw_search.racing.race import Plan, run_race
from vkdnw_search.runs.reader import RunReader


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs a and b."""
    return make_two_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def both(runs: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of the two runs, which may be changed."""
    return shutil.copytree(runs / "a", tmp_path / "a"), shutil.copytree(runs / "b", tmp_path / "b")


def test_the_winner_of_each_race_is_told_and_who_is_ahead(both: tuple[Path, Path]) -> None:
    put_race(both[0], accuracy=0.9, standard_error=0.03)
    put_race(both[1], accuracy=0.95, standard_error=0.04)
    found = compare(*both, workers=1)
    words = found.in_words()
    assert "B against A, by races on the same data: 5.00 ± 5.00 points ahead, no more than twice" in words
    assert "90.00% ± 3.00%" in words and "network 3 (winner)" in words and "--data digits --epochs 3" in words
    assert [row["race.accuracy"] for row in found.records()] == [0.9, 0.95]
    assert (found.records()[0]["race.data"], found.records()[0]["race.epochs"]) == ("digits", 3)
    assert found.runs[0].race is not None and len(found.runs[0].race.files.rows) == 2


def test_a_lead_of_more_than_twice_its_error_is_told_as_such(both: tuple[Path, Path]) -> None:
    put_race(both[0], accuracy=0.98, standard_error=0.003)
    put_race(both[1], accuracy=0.95, standard_error=0.004)
    assert "A against B, by races on the same data: 3.00 ± 0.50 points ahead, more than twice" in (
        compare(*both, workers=1).in_words()
    )


@pytest.mark.parametrize(
    "other", [{"words": [*WORDS, "--lr", "1"]}, {"images": 100}, {"epochs": 2}], ids=["words", "images", "epochs"]
)
def test_races_about_something_else_are_not_compared(both: tuple[Path, Path], other: dict[str, Any]) -> None:
    put_race(both[0])
    put_race(both[1], **other)
    words = compare(*both, workers=1).in_words()
    assert "are not compared" in words and "points ahead" not in words


def test_without_races_nothing_is_said_of_them_and_one_that_has_not_ended_is_none(both: tuple[Path, Path]) -> None:
    put_race(both[0])
    (both[0] / "race" / "race.csv").unlink()
    found = compare(*both, workers=1)
    assert found.runs[0].race is None and "\nraces\n" not in found.in_words()
    assert math.isnan(found.records()[0]["race.accuracy"])
    put_race(both[1])
    assert "no race that has ended" in compare(*both, workers=1).in_words()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("race.csv", b""),
        ("race.csv", b"\xff\xfe"),
        ("race.csv", b"place,name\n1,x\n"),
        ("race.csv", b"x" * 11_000_000),
        ("race.json", b"[]"),
        ("race.json", b"{" * 100_000),
        ("race.json", b'{"training": "--data"}'),
    ],
)
def test_a_damaged_race_is_told_in_words(both: tuple[Path, Path], file: str, content: bytes) -> None:
    put_race(both[0])
    (both[0] / "race" / file).write_bytes(content)
    with pytest.raises(RunFolderError, match="race"):
        read_race(both[0])


@pytest.mark.parametrize("value", ["nan", "2", "-0.1", "high", ""])
def test_an_accuracy_is_a_share(both: tuple[Path, Path], value: str) -> None:
    put_race(both[0], accuracy=value)
    with pytest.raises(RunFolderError, match="must be as a race writes them"):
        read_race(both[0])


@pytest.mark.parametrize("place", ["race", "race/race.csv", "race/race.json"])
def test_a_link_in_the_place_of_a_race_is_refused(both: tuple[Path, Path], tmp_path: Path, place: str) -> None:
    put_race(both[0])
    (both[0] / place).rename(tmp_path / "outside")
    (both[0] / place).symlink_to(tmp_path / "outside")
    with pytest.raises(RunFolderError, match="symbolic link"):
        read_race(both[0])


def test_a_race_is_read_as_it_was_written(both: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the race itself, not by a copy of its format here."""
    pytest.importorskip("sklearn")
    monkeypatch.setattr("vkdnw_search.output.module._must_equal", lambda modules, check: None)
    plan = Plan(data="digits", epochs=1, words=("--size", "8", "--batch", "256"))
    with RunReader(both[0]) as visited:
        race = run_race(visited, plan, out=both[0] / "race", executor=inline(), networks=2)
    found = read_race(both[0])
    assert race is not None and found is not None
    winner, read = race.winner, found.winner
    assert (read.network.name, read.network.roles) == (winner.name, winner.roles)
    assert (read.accuracy, read.standard_error) == (winner.accuracy, winner.standard_error)
    assert (read.epochs, len(found.files.rows), found.files.data) == (1, 2, "digits")
    assert (found.files.test_images, found.files.classes, found.files.seeds) == (race.images, 10, 1)
