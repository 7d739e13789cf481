"""Would-be winners are timed whole, by devices that are made up: who may win, what is told, and what stays."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from search_spaces.nasbench201 import NasBench201
from tests.support.quick import Quick, leave_out_the_end
from vkdnw_search import Result, search
from vkdnw_search.commands.progress import closing_table
from vkdnw_search.cost.latency import LatencyTable
from vkdnw_search.cost.limits import Limits, Range
from vkdnw_search.engine.clock import Clock, Interrupted
from vkdnw_search.engine.evaluator import Evaluator
from vkdnw_search.engine.whole_latency import MOST_TIMINGS, TIMINGS, TOLERANCE, WholeLatencies
from vkdnw_search.errors import LatencyUnknown, RunFolderError
from vkdnw_search.latencies.table import MeasuredTable
from vkdnw_search.output.report import write_report
from vkdnw_search.racing.entrants import shortlist
from vkdnw_search.records import Cost, Evaluation, Status, Timing
from vkdnw_search.runs.judgement import Judgement, WholeLatency
from vkdnw_search.runs.reader import RunReader
from vkdnw_search.runs.store import Store

SPACE = NasBench201(cells=1, channels=4, resolution=16)
RECIPE = {
    "space": {"use": "nasbench201", "cells": 1, "channels": 4, "resolution": 16},
    "limits": {"latency": "5ms"},
    "score": {"use": "flops"},
    "optimizer": {"use": "random", "children": 10},
    "executor": "inline",
    "ties": "score",
    "stop": {"evaluations": 20},
}
PART = 1e-6


@dataclass
class Device:
    """A part takes a microsecond; a whole network 2 ms, or what ``wholes`` says of its key, in turn; None: unknown."""

    wholes: dict[str, Sequence[float | None]] = field(default_factory=dict)
    other: float | None = 0.002
    correction: int = 0
    whole: bool = False
    asked: list[str] = field(default_factory=list)

    def timing(self, name: str, make: object) -> Timing:
        if not name.startswith("|"):
            return Timing(PART)
        times = self.wholes.get(name, (self.other,))
        seconds = times[self.asked.count(name) % len(times)]
        self.asked.append(name)
        if seconds is None:
            raise LatencyUnknown("the device is on fire")
        return Timing(seconds)


@pytest.fixture(autouse=True)
def leave_out_the_end_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_the_end(monkeypatch)


@pytest.fixture(scope="module")
def ranked() -> list[str]:
    """The architectures of the search, the best first."""
    with pytest.MonkeyPatch.context() as patch:
        leave_out_the_end(patch)
        with search(RECIPE, ["finalists=4"], latency=Device()) as result:
            assert result.judgement is not None
            return [finalist.key for finalist in result.judgement.finalists]


def judgement_of(result: Result) -> Judgement:
    assert result.judgement is not None
    return result.judgement


def test_a_network_that_takes_too_long_whole_is_passed_over_and_said_so(tmp_path: Path, ranked: list[str]) -> None:
    device = Device({ranked[0]: (0.0056,), ranked[1]: (0.0051,)})
    with search(RECIPE, ["finalists=4"], latency=device, out=tmp_path / "run") as result:
        assert result.best is not None and result.best.key == ranked[1], "5.1 ms are within the tolerance"
        judgement, table = judgement_of(result), closing_table(result)
    passed, slow = judgement.finalists[1], judgement.whole_latencies
    assert passed.key == ranked[0] and passed.verdict == "whole it takes 5.6 ms, above the limit 5 ms"
    warning = f"network {passed.number} would have won, but whole it takes 5.6 ms, above the limit 5 ms"
    assert judgement.warnings[0] == warning
    assert result.whole_latency == WholeLatency(judgement.finalists[0].number, 0.0051, 0.0, TIMINGS, within=True)
    assert {w.number: w.within for w in slow} == {passed.number: False, judgement.finalists[0].number: True}
    told = "5.1 ms (median of 5 timings, quartiles 0 % apart)"
    assert re.search(rf"^timed whole +{re.escape(told)}$", table, re.MULTILINE) and warning in table
    assert Judgement.from_json(judgement.to_json()) == judgement
    assert device.asked == TIMINGS * [ranked[0]] + TIMINGS * [ranked[1]], "nobody else had a chance to win"


def test_who_took_the_place_of_a_slow_one_is_not_said_to_win_by_its_flops(ranked: list[str]) -> None:
    with search(RECIPE, ["finalists=4"], latency=Device(dict.fromkeys(ranked[:3], (0.006,)))) as result:
        judgement = judgement_of(result)
    first, *others = judgement.finalists
    assert first.key == ranked[3] and others[0].mean > first.mean
    assert not any("wins by its FLOPs" in warning for warning in judgement.warnings)


def test_the_report_and_whoever_goes_on_with_the_run_know_it_too(
    tmp_path: Path, ranked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search(RECIPE, ["finalists=4"], latency=Device({ranked[0]: (0.0056,)}), out=tmp_path / "run").close()
    monkeypatch.undo()
    page = write_report(tmp_path / "run").read_text()
    assert "Timed whole, the winner takes 2 ms (median of 5 timings" in page
    assert "would have won, but whole it takes 5.6 ms, above the limit 5 ms" in page
    with RunReader(tmp_path / "run") as visited:
        assert visited.ranked[0].key == ranked[1] and visited.ranked[-1].key == ranked[0]
        racing = [entrant.key for entrant in shortlist(visited, networks=8) if entrant.roles == ("finalist",)]
        assert racing and ranked[0] not in racing


def test_where_all_are_too_slow_the_first_stays_with_a_warning(ranked: list[str]) -> None:
    with search(RECIPE, ["finalists=4"], latency=Device(other=0.006)) as result:
        judgement = judgement_of(result)
    assert [f.key for f in judgement.finalists] == ranked
    assert judgement.warnings[0] == (
        "none of the best 4 keeps the limit of latency when it is timed whole: network "
        f"{judgement.winner} wins, but whole it takes 6 ms, above the limit 5 ms. Search with a lower limits.latency"
    )
    assert len(judgement.refused) == 3 and judgement.winner not in judgement.refused
    assert judgement.whole_latency is not None and not judgement.whole_latency.within


def test_what_cannot_be_trained_never_wins_whatever_it_takes(
    ranked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vkdnw_search.engine.gate.try_training", lambda trial: "it explodes" * (trial.key == ranked[0]))
    for device in (Device({ranked[1]: (1.0,)}), Device(other=1.0)):
        with search(RECIPE, ["finalists=4"], latency=device) as result:
            judgement = judgement_of(result)
        keys = [f.key for f in judgement.finalists]
        assert keys[0] == (ranked[1] if device.other == 1.0 else ranked[2])
        assert f"network {judgement.untrainable[0]} would have won, but cannot be trained: it explodes" in (
            judgement.warnings
        )
        assert ranked[0] not in device.asked, "what cannot be trained need not be timed"


def test_a_network_that_cannot_be_timed_whole_gives_its_place_to_the_next(ranked: list[str]) -> None:
    with search(RECIPE, ["finalists=4"], latency=Device({ranked[0]: (None,)})) as result:
        judgement = judgement_of(result)
    assert judgement.finalists[0].key == ranked[1]
    assert judgement.finalists[1].verdict == f"it cannot be timed whole: {ranked[0]}: the device is on fire"


def test_without_finalists_the_highest_score_that_keeps_the_limit_wins_in_every_band(ranked: list[str]) -> None:
    with search(RECIPE, ["finalists=0"], latency=Device({ranked[0]: (0.0056,)})) as result:
        assert result.best is not None and result.best.key == ranked[1]
        flops = {e.key: e.cost.flops for e in result.evaluations()}
    half = sorted(flops.values())[10]
    bands = [f"bands=[{half}, {max(flops.values())}]", "finalists=4"]
    with search(RECIPE, bands, latency=Device()) as result:
        first, best = result.bands.values()
    assert first is not None and best is not None and best.key == ranked[0]
    with search(RECIPE, bands, latency=Device({first.key: (0.0056,), best.key: (0.0056,)})) as result:
        small, large = result.bands.values()
        warnings = judgement_of(result).warnings
    assert small is not None and small.key != first.key and small.cost.flops <= half
    assert large is not None and large.key == ranked[1]
    assert sum("would have won" in warning for warning in warnings) == 2, "one leads twice, and is warned of once"


def test_a_run_that_goes_on_keeps_its_timings_and_its_winner(tmp_path: Path, ranked: list[str]) -> None:
    out = tmp_path / "run"
    with search(RECIPE, ["finalists=4"], latency=Device({ranked[0]: (0.0056,)}), out=out) as first:
        before = judgement_of(first)
    fast = Device(other=0.001)
    with search(RECIPE, ["finalists=4"], latency=fast, out=out) as again:
        assert judgement_of(again) == before and not fast.asked
    with search(RECIPE, ["finalists=4", "stop.evaluations=40"], latency=fast, out=out) as longer:
        assert ranked[0] not in fast.asked and longer.visited == 40


def test_a_run_without_such_a_limit_or_with_a_table_is_judged_as_before(ranked: list[str]) -> None:
    parts = [name for choice in range(5) for name in LatencyTable(SPACE).modules(SPACE.decode((choice,) * 6))]
    table = MeasuredTable(dict.fromkeys(parts, Timing(PART)), "a table")
    asked = Device()
    for source, changes in ((table, []), (asked, ["limits={latency: {min: 1us}}"]), (asked, ["limits={flops: 9G}"])):
        with search(RECIPE, ["finalists=4", *changes], latency=source) as result:
            judgement = judgement_of(result)
            assert "timed whole" not in closing_table(result) and result.whole_latency is None
        assert judgement.finalists[0].key == ranked[0] and "whole_latencies" not in json.loads(judgement.to_json())
    assert not asked.asked


CANDIDATE = Evaluation(0, 0, (3,) * 6, SPACE.decode((3,) * 6).key, Cost(1, 1, 1, 1, 1, 1), 0.0, Status.FAILED)


def wholes(device: Device, store: Store, *, stopped: bool = False) -> WholeLatencies:
    limits = Limits(latency=Range(maximum=5000))
    evaluator = Evaluator(SPACE, limits=limits, proxy=Quick(), seed=0, latency=device)
    return WholeLatencies(evaluator, store, Clock(None, before=0.0, stopped=lambda: stopped))


@pytest.mark.parametrize(
    ("times", "count", "slow"),
    [
        ((0.0040, 0.0050, 0.0045, 0.0049, 0.0051), TIMINGS, False),  # clear, though one is above the limit
        ((0.0060, 0.0070, 0.0055, 0.0056, 0.0058), TIMINGS, True),
        ((0.0050, 0.0060), MOST_TIMINGS, False),  # eight of the shorter
        ((0.0060, 0.0050), MOST_TIMINGS, True),  # eight of the longer
        ((0.0070, 0.0070, *7 * (0.0050,)), 9, False),  # clear once two are few
    ],
)
def test_a_network_is_timed_until_it_is_clear_on_which_side_it_is(
    times: tuple[float, ...], count: int, slow: bool
) -> None:
    device = Device({CANDIDATE.key: times})
    found = wholes(device, Store())
    assert bool(found.fault(CANDIDATE)) == slow == bool(found.fault(CANDIDATE))
    assert len(device.asked) == count
    measured = [times[i % len(times)] for i in range(count)]
    lower, middle, upper = np.percentile(measured, [25, 50, 75])
    (told,) = found.timed
    assert told.seconds == pytest.approx(middle) and told.spread == pytest.approx((upper - lower) / middle)
    assert told.within == (middle <= 0.005 * (1 + TOLERANCE)) and told.timings == count


def test_an_interruption_keeps_the_timings_so_far() -> None:
    device, store = Device(), Store()
    with pytest.raises(Interrupted):
        wholes(device, store, stopped=True).fault(CANDIDATE)
    store.set_note(f"seconds of {CANDIDATE.key}, timed whole", "[0.001, 0.001]")
    assert wholes(device, store).fault(CANDIDATE) == "" and len(device.asked) == TIMINGS - 2


@pytest.mark.parametrize("text", ["no json", "{}", '["a"]', "[-1.0, 2.0]", "[NaN]", "[1e999]"])
def test_damaged_timings_are_told(text: str) -> None:
    store = Store()
    store.set_note(f"seconds of {CANDIDATE.key}, timed whole", text)
    with pytest.raises(RunFolderError, match=r"timed whole.*must be as it was written"):
        wholes(Device(), store).fault(CANDIDATE)


@pytest.mark.parametrize("wrong", [{"seconds": -1.0}, {"spread": float("nan")}, {"timings": 0}])
def test_a_latency_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    fields = {"number": 1, "seconds": 1.0, "spread": 0.0, "timings": 5, "within": True}
    with pytest.raises(ValueError, match="a latency must be finite"):
        WholeLatency(**(fields | wrong))  # type: ignore[arg-type]
