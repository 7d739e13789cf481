"""A stop is a stop: among finalists, neighbours, exports and in the report too; the same call goes on from there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from tests.support.quick import Quick, leave_out_the_end
from vkdnw_search import Result, search
from vkdnw_search.contracts import Probe
from vkdnw_search.determinism import seed_from
from vkdnw_search.engine.clock import Clock, Interrupted
from vkdnw_search.engine.trainability import too_large
from vkdnw_search.records import Cost, Score

RECIPE: dict[str, Any] = {
    "space": {"use": "nasbench201", "channels": 1, "cells": 1},
    "executor": "inline",
    "finalists": 3,
    "stop": {"evaluations": 20},
}
CANDIDATES = 20
FILES = ("results.csv", "finalists.csv", "best/model.py", "best/architecture.json")


@dataclass(frozen=True, kw_only=True)
class Counting:
    """A number of the seed and the network; each call leaves a line in a file."""

    file: str

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        assert probe.cost is not None
        with Path(self.file).open("a") as file:
            file.write(f"{probe.seed} {probe.cost.flops}\n")
        return Score(probe.cost.tensors + seed_from(probe.seed, probe.cost.flops) % 1000 / 1000)


class Folder:
    """Searches of one recipe in folders of their own, each with its count of scores."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def calls(self, name: str) -> int:
        file = self.root / f"{name}.txt"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def search(self, name: str, *overrides: str, stopped: Callable[[], bool] = lambda: False) -> Result:
        proxy = Counting(file=str(self.root / f"{name}.txt"))
        return search(RECIPE, overrides, proxy=proxy, out=self.root / name, stopped=stopped)

    def same(self, name: str, other: str) -> None:
        for file in FILES:
            assert (self.root / name / file).read_bytes() == (self.root / other / file).read_bytes(), file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    leave_out_the_end(monkeypatch)
    return Folder(tmp_path)


@pytest.mark.parametrize("more", [1, 10, 30])
def test_a_stop_among_finalists_and_neighbours_loses_no_score(folder: Folder, more: int) -> None:
    whole = folder.search("whole")
    assert whole.unfinished == "" and folder.calls("whole") > CANDIDATES + 32
    part = folder.search("part", stopped=lambda: folder.calls("part") >= CANDIDATES + more)
    assert folder.calls("part") == CANDIDATES + more, "what is under way is finished, and nothing else is begun"
    assert part.judgement is None and part.best is not None
    assert part.unfinished == "interrupted before the finalists were compared"
    assert not (folder.root / "part/finalists.csv").exists() and (folder.root / "part/best/model.py").exists()
    assert folder.search("part").unfinished == ""
    folder.same("part", "whole")
    assert folder.calls("part") == folder.calls("whole"), "nothing was scored twice"


def test_a_stop_among_the_neighbours_keeps_the_judgement(folder: Folder) -> None:
    folder.search("whole")
    total = folder.calls("whole")
    part = folder.search("part", stopped=lambda: folder.calls("part") >= total - 1)
    assert (
        part.judgement is not None and part.unfinished == "interrupted before the neighbours of the winner were scored"
    )
    assert folder.search("part").unfinished == "" and folder.calls("part") == total
    folder.same("part", "whole")


@pytest.mark.slow
@pytest.mark.parametrize("checks", [1, 2, 4, 6])
def test_a_stop_while_files_are_written_ends_between_two_of_them(tmp_path: Path, checks: int) -> None:
    asked_after_the_end = 0
    folder = Folder(tmp_path)
    folder.search("whole")
    total = folder.calls("whole")

    def stopped() -> bool:
        nonlocal asked_after_the_end
        asked_after_the_end += folder.calls("part") == total
        return asked_after_the_end > checks + 1

    part = folder.search("part", stopped=stopped)
    assert part.unfinished == "interrupted before all files were written"
    assert not (tmp_path / "part/report.html").exists()
    assert not list((tmp_path / "part").rglob("*.part"))
    assert folder.search("part").unfinished == ""
    assert (tmp_path / "part/report.html").exists()
    folder.same("part", "whole")


def test_a_limit_of_time_binds_among_the_finalists_and_keeps_time_for_them(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def later(model: object, probe: object) -> None:
        nonlocal now
        now += 1.0

    called = Counting.__call__
    monkeypatch.setattr(Counting, "__call__", lambda *words: (later(*words[1:]), called(*words))[1])
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limit = ("stop.seconds=100", "stop.evaluations=1000")
    first = folder.search("timed", *limit)
    assert first.ended == "the 100 seconds asked for are over"
    assert first.visited == 50, "half of the time at most is kept for the finalists"
    if first.judgement is None:
        assert first.unfinished == "the 100 seconds asked for are over before the finalists were compared"
    assert folder.calls("timed") == 100
    second = folder.search("timed", *limit)
    assert second.visited == 50 and second.judgement is not None


def test_a_clock_counts_earlier_sessions_and_keeps_at_most_half(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = Clock(10.0, before=3.0, stopped=lambda: False)
    assert clock.seconds() == 3.0 and clock.stop_reason(reserve=6.9) is None
    now = 1.9
    assert clock.stop_reason(reserve=100.0) is None
    now = 2.0
    assert clock.stop_reason(reserve=100.0) == "the 10 seconds asked for are over" and not clock.is_over()
    now = 7.0
    assert clock.is_over()
    with pytest.raises(Interrupted, match="the 10 seconds asked for are over"):
        clock.check()
    clock.check_interruption()


def test_a_network_too_large_to_be_tried_is_told_so_and_the_next_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    leave_out_the_end(monkeypatch)
    plain = search(RECIPE, proxy=Quick())
    assert plain.best is not None
    bound = plain.best.cost.parameters
    monkeypatch.setattr("vkdnw_search.engine.trainability._memory_of_the_machine", lambda: 2 * 20 * (bound - 1))
    result = search(RECIPE, proxy=Quick())
    assert result.best is not None and result.best.cost.parameters < bound and result.judgement is not None
    assert "so that it was not tried" in result.judgement.warnings[0]


def test_what_a_trial_takes_is_twenty_bytes_a_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vkdnw_search.engine.trainability._memory_of_the_machine", lambda: 24 * 2**30)
    cost = Cost(1, 1, 1_400_000_000, 1, 1, 1)
    assert "1,400,000,000 parameters take some 26 GiB" in too_large(cost)
    assert too_large(Cost(1, 1, 600_000_000, 1, 1, 1)) == ""
