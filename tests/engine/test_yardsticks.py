"""Networks of the user's stand beside the winner: counted, scored as finalists are, compared, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from torch import nn

from tests.support.quick import Quick, Recording, leave_out_the_end
from tests.support.tiny_space import Tiny
from vkdnw_search import Result, search
from vkdnw_search.contracts import Probe
from vkdnw_search.cost.counter import count
from vkdnw_search.determinism import seed_from
from vkdnw_search.engine import named_networks
from vkdnw_search.engine.finalists import FRESH
from vkdnw_search.errors import DegenerateNetwork, LatencyUnknown, YardstickError
from vkdnw_search.proxies.aggregate import LogRankSum
from vkdnw_search.proxies.size import Flops, Parameters
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.records import Score, Timing
from vkdnw_search.runs.judgement import Yardstick

NB201: dict[str, Any] = {
    "space": {"use": "nasbench201", "cells": 1, "channels": 4, "resolution": 16},
    "executor": "inline",
    "finalists": 2,
    "stop": {"evaluations": 20},
}
TINY: dict[str, Any] = {"executor": "inline", "finalists": 2, "stop": {"evaluations": 24}}
RESNET = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
REAL = VkdnwSingle(images=16, parameters=8, directions=1)

MINE = """
from torch import nn

class Network(nn.Sequential):
    def __init__(self, num_classes=3):
        end = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes)]
        super().__init__(nn.Conv2d(3, 8, 3), *end)

class Two(Network):
    def forward(self, x):
        return {"label": super().forward(x), "depth": super().forward(x)}

class Grey(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(1, 8, 3), nn.Flatten())

class Averaged(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        return self.linear(self.conv(x).mean((2, 3)))

class Needs(nn.Module):
    def __init__(self, width):
        super().__init__()

def broken():
    raise RuntimeError("no weights here")

number = 3
"""


@pytest.fixture(autouse=True)
def leave_out_the_end_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_the_end(monkeypatch)
    monkeypatch.setattr("vkdnw_search.run.score_neighbours", lambda *_: {})


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    return file


def yardsticks(result: Result) -> dict[str, Yardstick]:
    assert result.judgement is not None
    return {y.name: y for y in result.judgement.yardsticks}


def only(result: Result) -> Yardstick:
    (yardstick,) = yardsticks(result).values()
    return yardstick


@dataclass(frozen=True, kw_only=True)
class Chance:
    """A number in [0, 1) of FLOPs and seed, and two terms like it."""

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        assert probe.cost is not None
        one, two = (seed_from(probe.cost.flops, probe.seed, term) % 9973 / 9973 for term in ("one", "two"))
        return Score(one, terms={"one": one, "two": two})


@dataclass(frozen=True, kw_only=True)
class Noting(Recording):
    """Appends its seed to a file for every network that it scores."""

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        return Score(float(super().__call__(model, probe).value))


@dataclass(frozen=True, kw_only=True)
class Refusing:
    """Scores networks with many parameters alone."""

    how: Callable[[], Exception]

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        assert probe.cost is not None
        if probe.cost.parameters < 300:
            raise self.how()
        return Score(float(probe.cost.parameters))


def test_a_structure_has_the_values_that_it_has_as_a_finalist() -> None:
    recipe = {**TINY, "stop": {"evaluations": 9}}
    everyone = search({**recipe, "finalists": 9}, space=Tiny(), proxy=REAL)
    assert everyone.judgement is not None
    values = {f.key: f.values for f in everyone.judgement.finalists}
    assert len(values) == 9, "all that were visited are finalists"
    few = search(recipe, space=Tiny(), proxy=REAL, baselines=[*values])
    assert few.judgement is not None and len(few.judgement.finalists) == 2
    assert {y.source: y.values for y in few.judgement.yardsticks} == values
    winner = values[few.judgement.finalists[0].key]
    for y in few.judgement.yardsticks:
        if y.source == few.judgement.finalists[0].key:
            assert y.verdict == "the winner"
        else:
            assert f"{np.mean(y.values) - np.mean(winner):+.4f}" in y.verdict
            assert f"p = {stats.ttest_rel(y.values, winner).pvalue:.2g}" in y.verdict


def test_a_file_that_defines_the_same_network_has_the_cost_and_the_values_of_the_structure(tmp_path: Path) -> None:
    space, structure = Tiny(), Tiny().parse("w8k3d2")
    file = tmp_path / "model.py"
    file.write_text(space.source(structure))
    limits = {"memory": "1M", "int8_memory": "1M", "int8_size": "1M"}
    found = yardsticks(search({**TINY, "limits": limits}, space=space, proxy=REAL, baselines=["w8k3d2", file]))
    text, module = found["w8k3d2"], found[str(file)]
    assert module.cost == text.cost and text.cost.memory and text.cost.int8_memory and text.cost.int8_size
    assert module.values == pytest.approx(text.values, rel=1e-6) and len(module.values) == FRESH
    assert module.source.startswith("model.py:Network sha256 ") and text.source == "w8k3d2"


def test_what_is_found_is_the_same_with_them_and_without(tmp_path: Path, mine: Path) -> None:
    given = ["resnet", f"{mine}:Network"]
    plain = search(NB201, proxy=Chance(), out=tmp_path / "plain")
    held = search(NB201, proxy=Chance(), out=tmp_path / "held", baselines=given)
    assert plain.judgement is not None and held.judgement is not None
    assert [y.name for y in held.judgement.yardsticks] == given
    assert replace(held.judgement, yardsticks=()) == plain.judgement
    assert (tmp_path / "plain/results.csv").read_bytes() == (tmp_path / "held/results.csv").read_bytes()
    rows, without = ((tmp_path / name / "finalists.csv").read_text().splitlines() for name in ("held", "plain"))
    assert rows[: len(without)] == without and len(rows) == len(without) + 2
    assert rows[-2].startswith("yours: resnet,,") and RESNET in rows[-2]
    assert "yardsticks" not in plain.judgement.to_json()


def test_a_network_that_does_not_keep_the_limits_is_scored_and_says_which_it_breaks(mine: Path) -> None:
    result = search(
        {**NB201, "limits": {"flops": "300k", "parameters": "8k"}}, proxy=Quick(), baselines=["resnet", mine]
    )
    resnet, small = yardsticks(result)["resnet"], yardsticks(result)[str(mine)]
    assert resnet.cost.flops > 300_000 and len(resnet.values) == FRESH and resnet.verdict
    assert resnet.outside.startswith(f"flops {resnet.cost.flops / 1000:.4g}k is above the limit 300k (by ")
    assert resnet.outside.endswith(f"; parameters {resnet.cost.parameters / 1000:.4g}k is above the limit 8k (by 38 %)")
    assert small.outside == "" and small.cost.parameters == 3 * 9 * 8 + 8 + 8 * 10 + 10
    assert result.best is not None and result.best.cost.flops <= 300_000


def test_relative_fitness_is_a_place_among_all_that_was_seen_those_judged_and_the_network() -> None:
    proxy = LogRankSum(proxies={"chance": Chance()}, terms=("one", "two"))
    everyone = search({**TINY, "finalists": 24}, space=Tiny(), proxy=proxy)
    result = search({**TINY, "stop": {"evaluations": 16}}, space=Tiny(), proxy=proxy)
    assert everyone.judgement is not None and result.judgement is not None
    visited = {e.key: e for e in result.evaluations()}
    judged = {f.key: f for f in (*result.judgement.finalists, *result.judgement.baselines)}
    others = [e.key for e in everyone.evaluations() if e.key not in judged]
    unseen = next(key for key in others if key not in visited)
    again = search({**TINY, "stop": {"evaluations": 16}}, space=Tiny(), proxy=proxy, baselines=[unseen, *judged])
    flops = {e.key: e.cost.flops for e in everyone.evaluations()}

    def terms(key: str, seed: int) -> list[float]:
        return [seed_from(flops[key], seed, term) % 9973 / 9973 for term in ("one", "two")]

    seen = [terms(key, seed_from(0, "score")) for key in visited]
    for i, value in enumerate(yardsticks(again)[unseen].values):
        seed = seed_from(0, "fresh", i)
        table = np.array([*seen, *(terms(key, seed) for key in judged), terms(unseen, seed)])  # (n, 2)
        assert value == pytest.approx(np.log(stats.rankdata(table, axis=0)[-1] / len(table)).sum())
    for key, finalist in judged.items():
        assert yardsticks(again)[key].values == finalist.values


def test_a_file_equal_to_the_winner_ties_with_it_also_by_relative_fitness(tmp_path: Path) -> None:
    proxy = LogRankSum(proxies={"flops": Flops(), "parameters": Parameters()})
    first = search(TINY, space=Tiny(), proxy=proxy)
    assert first.best is not None
    file = tmp_path / "best.py"
    file.write_text(Tiny().source(first.best.architecture))
    again = search(TINY, space=Tiny(), proxy=proxy, baselines=[file, first.best.key])
    assert [y.verdict for y in yardsticks(again).values()] == ["the same score, without any noise", "the winner"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nowhere.py", "--with nowhere.py: must be a Python file, but there is none"),
        (
            "|what~0|",
            "--with: must be resnet, a Python file (FILE.py or FILE.py:CLASS) or an architecture of nasbench201",
        ),
        ("resnett", "Did you mean 'resnet'?"),
        ("MINE:Gone", "mine.py:Gone: Gone must be a torch.nn.Module or make one, but is not there"),
        ("MINE:number", "number() must make a network without arguments, but: TypeError"),
        ("MINE:Needs", "Needs() must make a network without arguments, but: TypeError"),
        ("MINE:broken", "RuntimeError: no weights here"),
        ("MINE:Grey", "must accept an input of shape (1, 3, 16, 16)"),
        ("BAD", "cannot be imported: SyntaxError"),
    ],
)
def test_what_is_no_network_is_told_before_anything_is_written(
    text: str, says: str, mine: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def")
    text = text.replace("MINE", str(mine)).replace("BAD", str(bad))
    with pytest.raises(YardstickError) as caught:
        search(NB201, proxy=Quick(), out=tmp_path / "run", baselines=["resnet", text])
    assert says in str(caught.value) and str(caught.value).startswith("--with")
    assert not (tmp_path / "run").exists()


def test_a_space_without_text_takes_files_alone(mine: Path) -> None:
    class Mute(Tiny):
        parse = None  # type: ignore[assignment]

    assert only(search(TINY, space=Mute(), proxy=Quick(), baselines=[mine])).values
    with pytest.raises(YardstickError, match=r"w8k3d2: must be a Python file .* for tiny reads no architectures"):
        search(TINY, space=Mute(), proxy=Quick(), baselines=["w8k3d2"])


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (lambda: DegenerateNetwork("nothing reaches the output"), "nothing reaches the output"),
        (lambda: ValueError("a bug in a proxy"), "ValueError: a bug in a proxy"),
        (lambda: MemoryError(), "takes more memory than there is"),
    ],
)
def test_a_network_that_cannot_be_scored_says_why_and_the_search_goes_on(
    how: Callable[[], Exception], says: str, mine: Path
) -> None:
    recipe = {**NB201, "limits": {"parameters": {"min": 1000}}}
    result = search(recipe, proxy=Refusing(how=how), baselines=[f"{mine}:Averaged", "resnet"])
    small, resnet = yardsticks(result).values()
    assert small.cost.parameters == 3 * 9 * 8 + 8 + 8 * 5 + 5 and small.values == () and math.isnan(small.mean)
    assert small.fault == says and small.verdict == ""
    assert (
        small.note
        == "FLOPs without aten::mean, which fvcore does not count; it has 5 outputs, networks of the space 10"
    )
    assert resnet.values and result.best is not None


def test_outputs_of_which_none_is_said_to_count_are_counted_and_not_scored(mine: Path) -> None:
    two = only(search(NB201, proxy=Quick(), baselines=[f"{mine}:Two"]))
    assert two.fault.startswith("Two: must return one tensor, but returns 'label' (2, 10), 'depth' (2, 10)")
    assert two.cost.flops == 2 * count(nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                                    nn.Linear(8, 10)), (3, 16, 16)).flops  # fmt: skip


def test_a_text_whose_scoring_raises_is_told_too() -> None:
    recipe = {**TINY, "limits": {"parameters": {"min": 300}}}
    y = only(search(recipe, space=Tiny(), proxy=Refusing(how=lambda: ValueError("a bug")), baselines=["w4k1d1"]))
    assert y.fault == "scoring w4k1d1 with Refusing: ValueError: a bug" and "is below the limit 300" in y.outside


def test_without_finalists_it_is_counted_alone() -> None:
    y = only(search({**NB201, "finalists": 0}, proxy=Quick(), baselines=["resnet"]))
    assert y.cost.layers > 0 and not y.values and y.fault == "it is not scored, since finalists: 0 scores nothing anew"


def test_where_nothing_is_within_the_limits_it_is_scored_all_the_same() -> None:
    result = search({**NB201, "limits": {"flops": 1000}}, proxy=Quick(), baselines=["resnet"])
    assert result.best is None and len(only(result).values) == FRESH and only(result).verdict == ""


class Source:
    """A part takes a millisecond, mine.py 19, and what is called refused cannot be timed."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def timing(self, name: str, make: Callable[[], tuple[nn.Module, tuple[int, ...]]]) -> Timing:
        self.asked.append(name)
        if name.endswith(":Averaged"):
            raise LatencyUnknown("the device has no mean")
        if name.endswith("mine.py"):
            module, shape = make()
            assert isinstance(module, nn.Sequential) and shape == (3, 8, 8)
        return Timing(0.019 if name.endswith("mine.py") else 0.001)


def test_latencies_come_from_the_source_of_the_run(mine: Path, tmp_path: Path) -> None:
    recipe, given = {**TINY, "limits": {"latency": "10ms"}}, ["w8k3d2", mine, f"{mine}:Averaged"]
    source = Source()
    result = search(recipe, space=Tiny(), proxy=Quick(), latency=source, baselines=given, out=tmp_path / "run")
    text, whole, unknown = yardsticks(result).values()
    assert text.cost.latency == 4000 and text.outside == "", "stem, two of the body, head"
    assert whole.cost.latency == 19_000 and whole.outside == "latency 19 ms is above the limit 10 ms (by 90 %)"
    assert unknown.cost.latency is None and unknown.outside.startswith("latency is not known")
    assert "the device has no mean" in unknown.outside
    assert source.asked.count(str(mine)) == 1
    again = Source()
    search(recipe, space=Tiny(), proxy=Quick(), latency=again, baselines=given, out=tmp_path / "run")
    assert str(mine) not in again.asked, "what the run has timed is kept with it"


def test_the_same_command_scores_nothing_again_and_one_without_says_what_is_missing(
    tmp_path: Path, mine: Path, caplog: pytest.LogCaptureFixture
) -> None:
    proxy, given = Noting(file=str(tmp_path / "scored")), ["resnet", mine]
    first = search(NB201, proxy=proxy, out=tmp_path / "run", baselines=given)
    rows = (tmp_path / "run/finalists.csv").read_bytes()
    scored = len((tmp_path / "scored").read_text().splitlines())
    again = search(NB201, proxy=proxy, out=tmp_path / "run", baselines=given)
    assert again.judgement == first.judgement and (tmp_path / "run/finalists.csv").read_bytes() == rows
    assert len((tmp_path / "scored").read_text().splitlines()) == scored
    assert "stood beside the winner before" not in caplog.text
    longer = {**NB201, "stop": {"evaluations": 21}}
    without = search(longer, proxy=proxy, out=tmp_path / "run", baselines=["resnet"])
    assert list(yardsticks(without)) == ["resnet"]
    assert f"{mine} stood beside the winner before and no longer do" in caplog.text


def test_a_file_that_was_edited_is_another_network(tmp_path: Path, mine: Path) -> None:
    first = only(search(NB201, proxy=Quick(), out=tmp_path / "run", baselines=[mine]))
    mine.write_text(MINE.replace("nn.Conv2d(3, 8, 3)", "nn.Conv2d(3, 8, 5)"))
    second = only(search(NB201, proxy=Quick(), out=tmp_path / "run", baselines=[mine]))
    assert second.source != first.source and second.cost.flops > first.cost.flops


def test_a_file_that_is_edited_while_the_search_lasts_is_not_scored(mine: Path) -> None:
    def edit(_: object) -> None:
        mine.write_text(f"{MINE}\n# edited")

        named_networks._loaded.cache_clear()  # as if another process were to read it

    y = only(search(TINY, space=Tiny(), proxy=Chance(), baselines=[mine], listener=edit))
    assert not y.values and y.fault.endswith("must be the code that the search began with, but is other code here")


def test_a_network_that_is_given_twice_stands_there_once_and_one_needs_no_list() -> None:
    assert only(search(NB201, proxy=Quick(), baselines=["resnet", RESNET])).name == "resnet"
    assert only(search(NB201, proxy=Quick(), baselines="resnet")).name == "resnet"


def test_a_search_that_is_stopped_among_them_goes_on_from_there(tmp_path: Path, mine: Path) -> None:
    proxy, given = Noting(file=str(tmp_path / "scored")), ["resnet", mine]

    def scored() -> int:
        return len((tmp_path / "scored").read_text().splitlines()) if (tmp_path / "scored").exists() else 0

    whole = search(NB201, proxy=proxy, baselines=given)
    needed = scored()
    stopped = search(
        NB201, proxy=proxy, out=tmp_path / "run", baselines=given, stopped=lambda: scored() >= 2 * needed - 5
    )
    assert stopped.unfinished.endswith("before the networks given by --with were scored") and scored() < 2 * needed
    assert yardsticks(stopped) == {}
    again = search(NB201, proxy=proxy, out=tmp_path / "run", baselines=given)
    assert again.judgement == whole.judgement and scored() == 2 * needed


@pytest.mark.slow
def test_workers_read_the_file_and_find_the_same(mine: Path) -> None:
    given = ["resnet", mine]
    inline = search(NB201, proxy=Quick(), baselines=given)
    workers = search({**NB201, "executor": {"use": "processes", "workers": 1}}, proxy=Quick(), baselines=given)
    assert inline.judgement == workers.judgement
