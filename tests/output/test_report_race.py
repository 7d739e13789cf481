"""The section of the report on a race, whose files may be a stranger's."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tests.output.test_report import Page
from tests.output.test_report import run as searched
from vkdnw_search.errors import RaceError
from vkdnw_search.output.race_files import CURVES, read_race
from vkdnw_search.output.race_story import FIRST, OTHERS, SEARCHED, Placed, draw_curves, sentences
from vkdnw_search.output.report import write_report
from vkdnw_search.racing.outcome import Race, Racer
from vkdnw_search.racing.schedule import Rung

RUNGS = (Rung(4, 1), Rung(2, 3))
EVIL = "<script>alert(1)</script> $\\frac$ 'mine.py'"


def racer(name: str, *accuracies: float, role: str = "finalist", score: float | None = None) -> Racer:
    right = np.arange(10)[None] < round(10 * accuracies[-1]) if accuracies else np.zeros((0, 0), bool)
    told = tuple((a,) for a in accuracies)
    reason = "" if accuracies else "RuntimeError: <b>"
    return Racer(name, (role,), f"key of {name}", score, 1, 2, told, right, reason, Path(name))


def write_race(folder: Path, name: str = EVIL) -> Race:
    """A race as run_race writes it, without one."""
    racers = (
        racer(name, 0.6, 0.9, score=5.0),
        racer("network 2", 0.5, 0.6, role="winner", score=3.0),
        racer("network 3", 0.4, score=2.0),
        racer("network 4"),
    )
    race = Race(racers, RUNGS, 10, 1, folder)
    folder.mkdir()
    (folder / "race.csv").write_text(race.to_csv())
    plan = {"training": ["--data", "digits"], "seeds": 1, "test_images": 10, "classes": 10}
    plan["schedule"] = [{"networks": r.networks, "epochs": r.epochs} for r in RUNGS]
    (folder / "race.json").write_text(json.dumps(plan))
    with (folder / "curves.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(CURVES)
        for r in racers:
            curve = {1: [1], 2: [1, 3]}.get(len(r.accuracies), [])
            for epoch, (accuracy,) in zip(curve, r.accuracies, strict=True):
                rows.writerow([r.name, 0, epoch, 0, 0, 0, accuracy, 1])
    return race


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searched(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    shutil.copytree(plain, tmp_path / "run")
    return tmp_path / "run"


def test_the_race_is_shown_with_its_sentences_and_figure_and_nothing_of_it_is_run(folder: Path) -> None:
    assert "The race" not in write_report(folder).read_text() and not (folder / "figures" / "race.svg").exists()
    race = write_race(folder / "race")
    text = write_report(folder).read_text()
    assert Page(text).open == [] and "<script" not in text and "&lt;script&gt;" in text
    assert "90.00 % ± 9.49" in text and ">0.25<" in text and "cannot be trained: RuntimeError: &lt;b&gt;" in text
    for sentence in race.in_words().splitlines()[-2:]:
        assert sentence.replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#39;") in text
    assert "Trained on <code>digits</code>" in text and text.count("<svg") == 4
    assert (folder / "figures" / "race.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_read_is_what_the_race_was(tmp_path: Path) -> None:
    race = write_race(tmp_path / "race")
    read = read_race(tmp_path / "race")
    assert read.ends == (1, 3) and read.data == "digits"
    assert [n.accuracies for n in read.networks] == [(0.6, 0.9), (0.5, 0.6), (0.4,), ()]
    assert "\n".join(read.sentences()) == race.in_words().partition("\n\n")[2]
    assert read.rows[0].network.name == EVIL and read.curves[EVIL] == [[(1, 0.6), (3, 0.9)]]


def test_a_race_that_has_not_ended_is_said_to_have_begun(folder: Path) -> None:
    write_race(folder / "race")
    (folder / "race" / "race.csv").unlink()
    assert "A race has begun, and has not ended" in write_report(folder).read_text()


BROKEN = {
    "no json": ("race.json", "["),
    "deep": ("race.json", "[" * 100_000),
    "no schedule": ("race.json", "{}"),
    "no numbers": ("race.json", '{"schedule": [{"epochs": "x"}], "training": ["--data", "digits"]}'),
    "falling": ("race.json", '{"schedule": [{"epochs": 3}, {"epochs": 1}], "training": ["--data", "digits"]}'),
    "longer": ("race.json", '{"schedule": [{"epochs": 2}, {"epochs": 4}], "training": ["--data", "digits"]}'),
    "no table": ("race.csv", "a,b\n1,2\n"),
    "empty table": ("race.csv", ""),
    "no curves": ("curves.csv", ",".join(CURVES) + "\n"),
    "nan": ("curves.csv", ",".join(CURVES) + "\nnetwork 2,0,1,0,0,0,nan,1\n"),
    "short": ("curves.csv", ",".join(CURVES) + "\nnetwork 2,0\n"),
    "large": ("curves.csv", "x" * (2**23 + 1)),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_files_that_are_not_as_a_race_writes_them_are_told_in_one_sentence(tmp_path: Path, damage: str) -> None:
    write_race(tmp_path / "race")
    name, content = BROKEN[damage]
    (tmp_path / "race" / name).write_text(content)
    with pytest.raises(RaceError, match=r"race\.json, race\.csv and curves\.csv must be as a race writes them") as told:
        read_race(tmp_path / "race")
    assert "\n" not in str(told.value) and len(str(told.value)) < 500


@pytest.mark.parametrize("name", ["race.json", "race.csv", "curves.csv"])
@pytest.mark.parametrize("kind", ["bytes", "link", "pipe"])
def test_the_report_is_written_whatever_lies_in_the_race(folder: Path, name: str, kind: str) -> None:
    write_race(folder / "race")
    file = folder / "race" / name
    file.rename(outside := folder.parent / "outside")
    if kind == "bytes":
        file.write_bytes(b"\xff\xfe\x00")
    elif kind == "link":
        file.symlink_to(outside)
    else:
        os.mkfifo(file)
    text = write_report(folder).read_text()
    assert Page(text).open == [] and '<p class="warn">' in text.partition("The race")[2]


def test_a_race_folder_that_is_a_link_is_not_followed(folder: Path) -> None:
    write_race(folder.parent / "elsewhere")
    (folder / "race").symlink_to(folder.parent / "elsewhere")
    assert "is a symbolic link" in write_report(folder).read_text()


def test_sentences_of_a_race_that_the_winner_of_the_search_did_not_begin() -> None:
    assert sentences([Placed("a", ("yours",), None, (0.5,)), Placed("b", ("winner",), 1.0, ())], [1]) == []
    told = sentences([Placed("a", (), None, (0.5, 0.9)), Placed("b", ("winner",), 1.0, (0.4,))], [1, 3])
    assert told == [
        "The network that learned best is a. The winner of the search was 10.00 points behind it after 1 epoch."
    ]


def test_the_figure_names_the_first_and_the_winner_of_the_search_and_the_others_once() -> None:
    networks = [
        Placed("a $", ("finalist",), 3.0, (0.5, 0.9)),
        Placed("b", ("winner",), 2.0, (0.2, 0.8)),
        *(Placed(name, ("finalist",), 1.0, (0.1,)) for name in "cd"),
    ]
    axes = Figure().subplots()
    draw_curves(axes, networks, {n.name: [[(e + 1, a) for e, a in enumerate(n.accuracies)]] for n in networks}, [1, 2])
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a \\$ (finalist)", "b (winner)", "others"]
    assert [to_hex(line.get_color()) for line in legend.get_lines()] == [FIRST, SEARCHED, OTHERS]
    assert [to_hex(line.get_color()) for line in axes.lines[:4]] == [OTHERS, OTHERS, SEARCHED, FIRST]
