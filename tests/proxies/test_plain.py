"""A plain function of a network is a proxy, and so is an object that gives a number, wherever a proxy is taken."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.quick import leave_out_the_end
from tests.support.studies import SPACE, table
from vkdnw_search import Result, score, search
from vkdnw_search.contracts import Probe
from vkdnw_search.errors import ConformanceError, ExecutionError, RankingError, ScoreError
from vkdnw_search.proxies.aggregate import LogRankSum
from vkdnw_search.proxies.naswot import Naswot
from vkdnw_search.proxies.plain import score_with
from vkdnw_search.proxies.size import Flops, Parameters
from vkdnw_search.ranking.plan import identity
from vkdnw_search.ranking.study import rank
from vkdnw_search.records import Cost, Score
from vkdnw_search.testing import check_proxy

RECIPE: dict[str, Any] = {
    "space": {"use": "nasbench201", "channels": 1, "cells": 1},
    "executor": "inline",
    "finalists": 2,
    "stop": {"evaluations": 6},
}
PROBE = Probe((3, 8, 8), 10, 3)


def weights(model: nn.Module) -> int:
    """The number of weights, as anyone would count them."""
    return sum(p.numel() for p in model.parameters())


def weights_by_seed(model: nn.Module, probe: Probe) -> float:
    return weights(model) + probe.seed / 2**64


def scaled(model: nn.Module, scale: float = 2.0) -> float:
    return scale * weights(model)


def drawing(model: nn.Module) -> float:
    return float(torch.rand(()))


def in_words(model: nn.Module) -> str:
    return "good"


def of_nothing() -> float:
    return 1.0


def of_three(model: nn.Module, images: int, labels: int) -> float:
    return 1.0


@dataclass(frozen=True, kw_only=True)
class Counting:
    """An object in every other respect: an option, a bound, and a number in place of the record."""

    times: int = 1

    def __call__(self, model: nn.Module, probe: Probe) -> float:
        return float(self.times * weights(model))

    def upper_bound(self, cost: Cost) -> float:
        return float(self.times * cost.parameters)

    def count(self, model: nn.Module) -> float:
        return float(self.times * weights(model))


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 10))


def sizes(result: Result) -> list[float]:
    return [float(e.cost.parameters) for e in result.evaluations()]


def found(result: Result) -> list[float]:
    return [e.score.value if e.score is not None else math.nan for e in result.evaluations()]


@pytest.mark.parametrize(
    "proxy",
    [weights, Counting(), Counting().count, partial(scaled, scale=1.0), len],
    ids=["function", "object", "method", "partial", "built-in"],
)
def test_a_search_takes_it_from_python(proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_the_end(monkeypatch)
    result = search(RECIPE, proxy=(lambda model: weights(model)) if proxy is len else proxy)
    assert found(result) == sizes(result) and len(found(result)) == 6
    assert result.judgement is not None and result.best is not None
    assert result.best.cost.parameters == max(sizes(result))


def test_worker_processes_and_the_report_take_a_function_of_a_module(tmp_path: Path) -> None:
    executor = {"use": "processes", "workers": 1}
    result = search({**RECIPE, "executor": executor, "stop": {"evaluations": 3}}, proxy=weights, out=tmp_path / "run")
    assert found(result) == sizes(result) and (tmp_path / "run/report.html").exists()


def test_worker_processes_say_why_they_do_not_take_a_lambda() -> None:
    executor = {"use": "processes", "workers": 1}
    with pytest.raises(ExecutionError, match=r"must be picklable, but: .*Define functions.*executor=inline"):
        search({**RECIPE, "executor": executor}, proxy=lambda model: 1.0)


def test_score_takes_it() -> None:
    assert score(network(), (3, 8, 8), proxy=weights) == Score(1930.0)
    assert score(network(), (3, 8, 8), proxy=weights_by_seed, seed=2**62).value == 1930.25
    assert score(network(), (3, 8, 8), proxy=Counting(times=2)).value == 3860


def test_a_sum_of_ranks_takes_it() -> None:
    sums = LogRankSum(proxies={"mine": weights, "object": Counting(times=3)})
    assert score(network(), (3, 8, 8), proxy=sums).terms == {"mine": 1930, "object": 5790}
    with pytest.raises(ScoreError, match="must be a proxy, but cannot be called"):
        LogRankSum(proxies={"mine": 3})  # type: ignore[dict-item]


def test_rank_takes_it_and_keeps_functions_apart(tmp_path: Path) -> None:
    proxies: dict[str, Any] = {"mine": weights, "twice": scaled, "thrice": partial(scaled, scale=3.0)}
    proxies |= {"bound": Counting(times=4).count, "theirs": Parameters()}
    study = rank(SPACE, table(8), proxies, out=tmp_path, figures=False)
    assert study is not None
    for name, factor in {"mine": 1, "twice": 2, "thrice": 3, "bound": 4}.items():
        assert np.array_equal(study.values[name], factor * study.values["theirs"]), name
    assert identity(weights) == "tests.proxies.test_plain.weights"
    with pytest.raises(RankingError, match=r"<lambda>: must be a function with a name in a module"):
        rank(SPACE, table(8), {"mine": lambda model: 1.0}, out=tmp_path, figures=False)


def test_it_is_held_to_the_contract() -> None:
    check_proxy(weights)
    check_proxy(weights_by_seed)
    check_proxy(Counting())
    with pytest.raises(ConformanceError, match=r"drawing breaks its contract:(?s:.*)global random generators"):
        check_proxy(drawing)
    with pytest.raises(ConformanceError, match=r"in_words: must return a number or a vkdnw_search\.records\.Score"):
        check_proxy(in_words)


@pytest.mark.parametrize(
    "number", [3, 3.0, np.float32(3), np.int64(3), np.array([3.0]), torch.tensor(3), torch.tensor([[3.0]]), Fraction(3)]
)
def test_any_number_will_do(number: Any) -> None:
    value = score_with(lambda model: number, network(), PROBE)
    assert value == Score(3.0) and type(value.value) is float


@pytest.mark.parametrize(
    ("call", "value"),
    [
        (lambda model, probe: probe.seed, 3),
        (lambda model, probe=None: probe.seed, 3),
        (lambda *both: both[1].seed, 3),
        (lambda model, power=2: 5**power, 25),
        (lambda model, *, power=3: 5**power, 125),
    ],
)
def test_what_is_called_with_the_network_alone_is_told_by_its_arguments(call: Callable[..., Any], value: int) -> None:
    assert score_with(call, network(), PROBE).value == value


WHAT = "A score, or zero-cost proxy, takes a network that has just been built and says how good it looks"


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        (in_words, "in_words: must return a number or a vkdnw_search.records.Score, but returns 'good'"),
        (lambda model: None, "must return a number or a vkdnw_search.records.Score, but returns None"),
        (lambda model: True, "but returns True"),
        (lambda model: 1j, "but returns 1j"),
        (lambda model: torch.zeros(3), r"but returns a Tensor of shape \(3,\)"),
        (lambda model: 10**400, "but returns 1000"),
        ("vkdnw_single", "'vkdnw_single': must be a proxy, but cannot be called"),
        (of_nothing, r"of_nothing: must be a proxy, but is called with \(\)"),
        (of_three, r"of_three: must be a proxy, but is called with \(model, images, labels\)"),
    ],
)
def test_what_is_no_proxy_is_told_what_one_is(proxy: Any, message: str) -> None:
    for use in (
        lambda: score_with(proxy, network(), PROBE),
        lambda: score(network(), (3, 8, 8), proxy=proxy),
        lambda: search(RECIPE, proxy=proxy),
    ):
        with pytest.raises(ScoreError, match=f"{message}.*{WHAT}"):
            use()


def test_a_class_is_not_an_instance_of_it() -> None:
    with pytest.raises(ScoreError, match=r"Naswot: must be a proxy, but is a class. Give an instance: Naswot\(…\)"):
        search(RECIPE, proxy=Naswot)  # type: ignore[arg-type]


def test_what_cannot_be_a_proxy_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="of_three: must be a proxy"):
        search(RECIPE, proxy=of_three, out=tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_a_record_is_handed_on_as_it_is() -> None:
    given = Score(2.0, 0.5, {"part": 1.0})
    assert score_with(lambda model: given, network(), PROBE) is given
    assert score_with(Flops(), network(), PROBE).terms == {"flops": 1920.0}
