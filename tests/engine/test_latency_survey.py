"""Latencies in a search, by sources that are made up: corrections, unknown parts, what is kept, and tables."""

import json
from dataclasses import dataclass, field

import pytest

from search_spaces.nasbench201 import NasBench201
from tests.support.quick import leave_out_the_end
from vkdnw_search import load_recipe, search
from vkdnw_search.contracts import LatencyContext
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.cost.latency import LatencyTable
from vkdnw_search.cost.limits import Limits, Range
from vkdnw_search.engine.latency_survey import networks_to_correct, survey
from vkdnw_search.engine.part_files import list_parts
from vkdnw_search.errors import LatencyError, LatencyUnknown, RunFolderError
from vkdnw_search.latencies.table import MeasuredTable
from vkdnw_search.records import Status, Timing
from vkdnw_search.runs.reader import RunReader

SPACE = NasBench201(cells=1)
RECIPE = {
    "space": {"use": "nasbench201", "cells": 1},
    "limits": {"latency": "9000s"},
    "score": {"use": "flops"},
    "optimizer": {"use": "evolution", "population": 8, "children": 4},
    "executor": "inline",
    "finalists": 0,
    "stop": {"evaluations": 12},
}


def pretended(name: str) -> float:
    """Milliseconds of a part by its name."""
    return 1.0 + sum(map(ord, name)) % 7


@dataclass
class Fake:
    """A device on which a whole network takes 2 ms more than 1.5 times its parts; it refuses what is in ``refused``."""

    correction: int = 0
    whole: bool = False
    refused: str = "no part at all"
    asked: list[str] = field(default_factory=list)

    def timing(self, name: str, make: object) -> Timing:
        self.asked.append(name)
        if self.refused in name:
            raise LatencyUnknown("the device is on fire")
        if name.startswith("|"):
            parts = LatencyTable(SPACE, Fake())
            return Timing(0.002 + 1.5 * parts.seconds(SPACE.parse(name)), 0.05)
        return Timing(pretended(name) / 1000, 0.1)


def test_sums_of_parts_are_corrected_by_whole_networks_and_a_later_session_times_none_again() -> None:
    kept: list[str] = []
    source = Fake(correction=8)
    table = LatencyTable(SPACE, source, keep=kept.append)
    told = survey(table, SPACE, Limits(), 0)
    cell = SPACE.parse("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|")
    assert table.seconds(cell) == pytest.approx(Fake().timing(cell.key, None).seconds)
    assert "8 whole networks: mean error 0.0%" in told and "timings by Fake, quartiles of the runs 10.0% apart" in told
    assert len(source.asked) == len(set(source.asked))
    source.asked.clear()
    again = LatencyTable(SPACE, source, text=kept[-1])
    assert survey(again, SPACE, Limits(), 1) and again.seconds(cell) == table.seconds(cell) and not source.asked


def test_the_networks_of_a_correction_are_the_same_for_all_seeds_and_within_the_other_limits_first() -> None:
    drawn = networks_to_correct(SPACE, Limits(), 400)
    flops = {a.key: CostCounter(SPACE).cost(a).flops for a in drawn}
    half = sorted(flops.values())[len(flops) // 2]
    chosen = networks_to_correct(SPACE, Limits(flops=Range(maximum=half), latency=Range(maximum=1)), 400)
    within = [a for a in drawn if flops[a.key] <= half]
    assert chosen[: len(within)] == within and sorted(flops) == sorted(a.key for a in chosen)


def test_a_source_may_time_every_network_whole() -> None:
    source = Fake(whole=True)
    cell = SPACE.decode((1,) * 6)
    assert LatencyTable(SPACE, source).seconds(cell) == Fake().timing(cell.key, None).seconds
    assert source.asked == [cell.key]


def test_a_table_from_before_there_were_spreads_is_read() -> None:
    old = json.dumps(dict.fromkeys(LatencyTable(SPACE).modules(SPACE.decode((1,) * 6)), 0.5))
    assert LatencyTable(SPACE, Fake(refused=""), text=old).seconds(SPACE.decode((1,) * 6)) > 0


def test_candidates_with_a_part_that_cannot_be_timed_are_outside_the_limits_and_the_search_goes_on(
    tmp_path, monkeypatch
) -> None:
    leave_out_the_end(monkeypatch)
    source = Fake(refused="nor_conv_3x3")
    with search(RECIPE, out=tmp_path / "run", latency=source) as result:
        found, best = {e.key: e for e in result.evaluations()}, result.best
    assert len(found) == 12 and Status.SCORED in {e.status for e in found.values()}
    for key, evaluation in found.items():
        unknown = "nor_conv_3x3" in key
        assert (evaluation.cost.latency is None) == unknown == (evaluation.status is Status.INFEASIBLE)
        assert not unknown or ("latency is not known" in evaluation.reason and "on fire" in evaluation.reason)
    asked = [name for name in source.asked if name != best.key]  # which is timed whole, again and again
    assert len(asked) == len(set(asked)), "what failed is not tried again"
    with RunReader(tmp_path / "run") as visited:  # without the source
        assert visited.latencies.microseconds(SPACE.parse(best.key)) == best.cost.latency
    with search(RECIPE, ["stop.evaluations=16"], out=tmp_path / "run", latency=source) as result:
        assert result.visited == 16
    with pytest.raises(RunFolderError, match=r"latency.*torch"):
        search(RECIPE, ["stop.evaluations=20"], out=tmp_path / "run")


def test_a_source_that_can_tell_nothing_ends_the_run_before_the_first_candidate(tmp_path) -> None:
    with pytest.raises(LatencyError, match=r"no latency of 200 random candidates is known.*on fire"):
        search(RECIPE, out=tmp_path / "run", latency=Fake(refused=""))


def test_a_table_of_the_parts_of_a_space_serves_a_search_and_one_that_lacks_some_is_refused(
    tmp_path, monkeypatch
) -> None:
    leave_out_the_end(monkeypatch)
    listed = list_parts(SPACE, Limits(), networks=8)
    assert listed.exact and listed.covered == 1 and len(listed.parts) == listed.kinds and len(listed.networks) == 8
    fake = Fake()
    rows = [f'"{name}",{1000 * fake.timing(name, None).seconds!r}' for name in {**listed.parts, **listed.networks}]
    recipe, measured = tmp_path / "mine.yaml", tmp_path / "measured.csv"
    changes = ["limits.latency=9000s", "latency={use: table, correction: 8}"]
    recipe.write_text(load_recipe(RECIPE, changes).to_yaml())
    measured.write_text("\n".join(["part,milliseconds", *rows]))
    with search(recipe, out=tmp_path / "run") as result:
        expected = round(1e6 * Fake().timing(result.best.key, None).seconds)
        assert result.best.cost.latency == pytest.approx(expected, abs=1)
        assert "fitted to 8 whole networks" in result.store.note("latencies in words")
    measured.write_text("\n".join(["part,milliseconds", *(row for row in rows if "avg_pool_3x3', 16" not in row)]))
    with pytest.raises(LatencyError, match=r"1 of the \d+ parts of random candidates are missing: .'avg_pool_3x3', 16"):
        search(recipe, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_commonest_parts_cover_a_share_of_the_space() -> None:
    some = list_parts(SPACE, Limits(), most=9)
    assert len(some.parts) == 9 and 0 < some.covered < 1 and some.in_words().startswith("9 of the 13 parts")
    needs = [LatencyTable(SPACE).modules(SPACE.decode(g)).keys() for g in [(0,) * 6, (1,) * 6]]
    assert needs[0] <= list_parts(SPACE, Limits()).parts.keys()


def test_a_space_without_parts_has_none_to_write() -> None:
    class Whole:
        name = "whole"

    with pytest.raises(LatencyError, match="whole: has no parts"):
        list_parts(Whole(), Limits())


def test_a_recipe_says_where_latencies_come_from_and_the_default_is_left_out_of_it() -> None:
    plain = load_recipe("nb201", ["limits.latency=20ms"])
    assert plain.latency.use == "torch" and "latency" not in plain.resolved()
    assert load_recipe(plain) == plain
    other = load_recipe("nb201", ["limits.latency=20ms", "latency.threads=2"])
    assert other.resolved()["latency"]["threads"] == 2 and load_recipe(other) == other
    assert [str(change) for change in plain.difference(other)] == ["latency.threads: 1 → 2"]
    assert isinstance(load_recipe("nb201").build_latency(LatencyContext()).timing, object)


def test_a_whole_network_of_a_table_is_named_by_its_key() -> None:
    table = LatencyTable(SPACE, MeasuredTable({"key": Timing(1.0)}, "t"))
    with pytest.raises(LatencyUnknown, match="has no row"):
        table.whole(SPACE.decode((1,) * 6))
