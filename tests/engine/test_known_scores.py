"""A search that takes scores of an earlier run finds what it would have found by itself, to the byte."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.support.edited_plugins import fresh_start, write_plugin
from tests.support.noted_scores import AUDITED, SCORED, Noted, join
from tests.support.quick import Quick, leave_out_the_end
from vkdnw_search import Result, search
from vkdnw_search.choices import Choice, space_of
from vkdnw_search.commands.main import DONE, USAGE, main
from vkdnw_search.commands.progress import closing_table
from vkdnw_search.errors import RunFolderError
from vkdnw_search.optimizers.algorithms import RandomSearch
from vkdnw_search.provenance import record
from vkdnw_search.records import Evaluation
from vkdnw_search.runs.reused import Reused

SMALL = {"use": "nasbench201", "channels": 2, "cells": 1, "resolution": 8}
RECIPE: dict[str, Any] = {
    "space": SMALL, "score": "noted_size", "executor": "inline", "finalists": 3, "stop": {"evaluations": 60},
    "optimizer": {"use": "evolution", "population": 8, "children": 4},
}  # fmt: skip
WHOLE = ("results.csv", "finalists.csv", "best/model.py", "best/architecture.json")


@pytest.fixture(autouse=True)
def quick_and_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_the_end(monkeypatch)
    join(monkeypatch)


def run(out: Path | None, *overrides: str, **options: Any) -> Result:
    return search(RECIPE, overrides, out=out, **options)


def rows(result: Result) -> list[Evaluation]:
    return list(result.evaluations())


def same(*folders: Path) -> None:
    for name in WHOLE:
        first, *others = [(folder / name).read_bytes() for folder in folders]
        assert all(other == first for other in others), name


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(["score=noted", "stop.evaluations=30"], marks=pytest.mark.slow),
        ["stop.evaluations=90"],
        ["limits.flops=300k", "stop.evaluations=80"],
        ["optimizer=random", "finalists=5"],
        pytest.param(["bands=[150k, 300k]"], marks=pytest.mark.slow),
        pytest.param(["optimizer={use: nsga2, population: 8}", "name=other"], marks=pytest.mark.slow),
        pytest.param(
            ["score={use: noted_ranks, reference: 8}", "limits.flops=300k", "stop.evaluations=30"],
            marks=pytest.mark.slow,
        ),
        ["space.exclude.node1.from0=none"],
        ["start=[resnet]"],
    ],
    ids=" ".join,
)
def test_what_is_found_is_the_same_and_what_was_known_is_not_scored_again(changes: list[str], tmp_path: Path) -> None:
    score = [change for change in changes if change.startswith("score=")]
    old = run(tmp_path / "old", "optimizer=random", "stop.evaluations=100", *score)
    known = {(e.cost.flops, e.key) for e in rows(old) if e.status.has_score}
    SCORED.clear()
    by_itself = run(tmp_path / "by itself", *changes)
    alone, _ = list(SCORED), SCORED.clear()
    taking = run(tmp_path / "taking", *changes, reuse=tmp_path / "old")
    same(tmp_path / "by itself", tmp_path / "taking")
    shared = [e for e in rows(by_itself) if e.status.has_score and (e.cost.flops, e.key) in known]
    assert taking.reused is not None and taking.reused.candidates >= len(shared)  # and neighbours of the winner
    assert taking.reused.candidates > 0
    assert len(SCORED) == len(alone) - taking.reused.candidates - taking.reused.others
    assert by_itself.reused is None


def test_the_same_search_again_scores_nothing(tmp_path: Path) -> None:
    old = run(tmp_path / "old")
    SCORED.clear()
    new = run(tmp_path / "new", reuse=str(tmp_path / "old"))
    same(tmp_path / "old", tmp_path / "new")
    assert new.reused == Reused(str(tmp_path / "old"), old.counts["scored"], new.reused.others if new.reused else 0)
    assert not SCORED


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    old = run(tmp_path / "old", "score=noted", "finalists=0", "stop.evaluations=40")
    SCORED.clear()
    run(tmp_path / "new", "score=noted", "finalists=0", "stop.evaluations=40", reuse=tmp_path / "old")
    failed = [e for e in rows(old) if e.status == "failed"]
    assert failed and [flops for flops, _ in SCORED] == [e.cost.flops for e in failed]
    assert (tmp_path / "old/results.csv").read_bytes() == (tmp_path / "new/results.csv").read_bytes()


def test_how_many_were_taken_is_told(tmp_path: Path) -> None:
    run(tmp_path / "old")
    new = run(tmp_path / "new", "stop.evaluations=70", reuse=tmp_path / "old")
    assert new.reused is not None
    told = json.loads((tmp_path / "new/environment.json").read_text())["reused_scores"]
    assert told == {"run": str(tmp_path / "old"), "candidates": new.reused.candidates, "others": new.reused.others}
    assert f"the scores of {told['candidates']} candidates and {told['others']} other scores" in closing_table(new)
    assert "reused_scores" not in json.loads((tmp_path / "old/environment.json").read_text())
    assert "reused" not in closing_table(run(None))


def test_a_run_that_takes_scores_can_be_cut_off_and_counts_each_once(tmp_path: Path) -> None:
    run(tmp_path / "old")
    whole = run(tmp_path / "whole", "stop.evaluations=80", reuse=tmp_path / "old")
    seen: list[Evaluation] = []
    part: dict[str, Any] = {"out": tmp_path / "part", "reuse": tmp_path / "old", "listener": seen.append}
    for stop_at in (5, 60, 10**6):
        result = run(*(part["out"], "stop.evaluations=80"), **{k: part[k] for k in ("reuse", "listener")},
                     stopped=lambda stop_at=stop_at: len(seen) >= stop_at)  # fmt: skip
    same(tmp_path / "whole", tmp_path / "part")
    assert result.reused == whole.reused
    again = run(tmp_path / "part", "stop.evaluations=90")  # without the earlier run it goes on, and remembers
    assert again.reused is not None and again.reused.candidates == result.reused.candidates  # type: ignore[union-attr]


def test_an_earlier_run_that_has_not_ended_gives_what_it_has(tmp_path: Path) -> None:
    seen: list[Evaluation] = []
    run(tmp_path / "old", listener=seen.append, stopped=lambda: len(seen) >= 20)
    new = run(tmp_path / "new", reuse=tmp_path / "old")
    assert new.reused is not None and new.reused.candidates == sum(e.status == "scored" for e in seen)
    run(tmp_path / "alone")
    same(tmp_path / "alone", tmp_path / "new")


def test_a_run_that_found_its_fast_way_wrong_gives_nothing_to_one_that_finds_it_right(tmp_path: Path) -> None:
    try:
        for old, new, taken in (("", "", True), ("differs", "", False), ("", "differs", False), ("d", "d", True)):
            folder = tmp_path / f"{old} {new}"
            AUDITED.append(old)
            run(folder, "score=noted_fast", "stop.evaluations=6", "finalists=0")
            AUDITED.append(new)
            result = run(None, "score=noted_fast", "stop.evaluations=6", "finalists=0", reuse=folder)
            assert result.reused is not None and bool(result.reused.candidates) == taken
    finally:
        del AUDITED[1:]


# -------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["seed=1"], "seed: 0 → 1"),
        (["score.factor=2"], "score.factor: 1 → 2"),
        (["score=naswot"], "score.use: noted_size → naswot"),
        (["space.channels=4"], "space.channels: 2 → 4"),
        (["space=macro"], "space.use: nasbench201 → macro"),
    ],
)
def test_other_scores_are_refused_with_the_difference_before_a_folder_is_made(
    changes: list[str], told: str, tmp_path: Path
) -> None:
    run(tmp_path / "old", "stop.evaluations=5")
    with pytest.raises(RunFolderError) as error:
        run(tmp_path / "new", *changes, reuse=tmp_path / "old")
    assert told in str(error.value) and "the options may be others" in str(error.value)
    assert not (tmp_path / "new").exists()


class Own(RandomSearch):
    """An optimizer of one's own, whose module is not among those that the scores of other runs are of."""


class Model(list):  # type: ignore[type-arg]  # never built
    """Stands for a model with a choice."""

    def __init__(self, num_classes: int) -> None:
        Choice("width", 1, 2)


def test_what_was_given_from_python_is_not_trusted(tmp_path: Path) -> None:
    run(tmp_path / "old", "stop.evaluations=5")
    run(tmp_path / "python", "stop.evaluations=5", proxy=Quick())
    with pytest.raises(RunFolderError, match="score: given from Python here, so its options are not known"):
        run(None, proxy=Noted(), reuse=tmp_path / "old")
    with pytest.raises(RunFolderError, match="score: given from Python there"):
        run(None, reuse=tmp_path / "python")
    space: Any = space_of(Model, input_shape=(3, 4, 4), num_classes=3)  # type: ignore[arg-type]
    with pytest.raises(RunFolderError, match="space: given from Python here"):
        run(None, space=space, reuse=tmp_path / "old")


def test_other_code_is_refused_with_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "old", "stop.evaluations=5")
    parts = record._own_parts()
    monkeypatch.setattr(record, "_own_parts", lambda: {**parts, "torch": "1.0"})
    with pytest.raises(RunFolderError, match=r"the code may be others .*\n  torch: .* → 1\.0"):
        run(None, reuse=tmp_path / "old")
    run(tmp_path / "old", "stop.evaluations=9", accept_changed_code=True)
    with pytest.raises(RunFolderError, match="it changed in the course of that run"):
        run(None, reuse=tmp_path / "old")


def test_a_run_of_an_earlier_version_that_kept_no_code_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "old", "stop.evaluations=5").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "old/run.sqlite")) as database:
        database.execute("DELETE FROM note WHERE name = 'code'")
        database.commit()
    with pytest.raises(RunFolderError, match="it is not recorded there"):
        run(None, reuse=tmp_path / "old")


def test_another_optimizer_of_ones_own_is_no_other_code_of_a_score(tmp_path: Path) -> None:
    run(tmp_path / "old", "stop.evaluations=5")
    result = run(None, "stop.evaluations=20", optimizer=Own, reuse=tmp_path / "old")
    assert result.reused is not None and result.reused.candidates


def test_what_is_no_run_is_damaged_or_is_the_search_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="must be the folder of a run"):
        run(None, reuse=tmp_path)
    run(tmp_path / "old", "stop.evaluations=5").close()
    with pytest.raises(RunFolderError, match="must be another folder than that of this search"):
        run(tmp_path / "old", reuse=tmp_path / "old")
    database = (tmp_path / "old/run.sqlite").read_bytes()
    for damage, told in ((b"x" * len(database), "cannot be read as one"), (b"", "is empty")):
        (tmp_path / "old/run.sqlite").write_bytes(damage)
        with pytest.raises(RunFolderError, match=told):
            run(None, reuse=tmp_path / "old")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE evaluation SET terms = 'x' WHERE status = 'scored'", "candidate "),
        ("UPDATE evaluation SET flops = flops + 1", "it is of another search space, or damaged"),
        ("INSERT OR REPLACE INTO note VALUES ('audit', '[]')", "the outcome of the audit must be as it was written"),
        ("INSERT OR REPLACE INTO note VALUES ('code', '[]')", "code: must be as it was written"),
    ],
)
def test_a_row_or_a_text_that_is_damaged_is_refused(change: str, told: str, tmp_path: Path) -> None:
    run(tmp_path / "old", "stop.evaluations=9").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "old/run.sqlite")) as database:
        database.execute(change)
        database.commit()
    with pytest.raises(RunFolderError) as error:
        run(None, reuse=tmp_path / "old")
    assert told in str(error.value)


# ------------------------------------------------------------------------------------------- the command line


def test_the_command_line_takes_scores_and_refuses_those_of_an_edited_plug_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = write_plugin(tmp_path / "mine.py", factor=1)

    def start(*words: str) -> int:
        recipe = ("nb201", "score=edited", "executor=inline", "finalists=0", "stop.evaluations=20")
        with fresh_start():
            return main([*recipe, "-q", "--plugin", str(plugin), *words])

    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    assert start("--out", old) == DONE
    assert start("--out", new, "limits.flops=90M", "--from", old) == DONE
    assert f"other scores were taken from {old}" in capsys.readouterr().out
    write_plugin(plugin, factor=2)
    assert start("--out", str(tmp_path / "other"), "--from", old) == USAGE
    assert "plug-in mine.py: sha256 " in capsys.readouterr().err
    assert start("--out", new, "--from", str(tmp_path / "gone")) == USAGE
    assert "must be the folder of a run" in capsys.readouterr().err
