"""The winner by other measures: percentiles, what is kept, and the sentences a user reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import percentileofscore
from torch import nn

from search_spaces.mobilenet import MobileNet
from tests.support.golden import MOBILENETS
from tests.support.quick import Quick, trained
from vkdnw_search import Result, search
from vkdnw_search.contracts import Probe
from vkdnw_search.determinism import seed_from
from vkdnw_search.engine.second_opinion import (
    SAMPLE,
    OtherMeasures,
    StageChannels,
    _compared,
    _waist,
    by_sizes,
)
from vkdnw_search.errors import DegenerateNetwork
from vkdnw_search.proxies.az_nas import Expressivity, Trainability
from vkdnw_search.proxies.jacov import Jacov
from vkdnw_search.recipe.recipe import load_recipe
from vkdnw_search.records import Cost, Evaluation, Gene, Genome, Score, Status
from vkdnw_search.runs.judgement import Judgement, SecondOpinion
from vkdnw_search.runs.store import Store

RECIPE: dict[str, Any] = {
    "space": {"use": "nasbench201", "channels": 4, "cells": 1, "resolution": 16},
    "limits": {"flops": {"max": "300k"}},
    "optimizer": {"use": "random", "children": 10, "repair_tries": 0},
    "executor": "inline",
    "finalists": 2,
    "stop": {"evaluations": 60},
}
PROBE = Probe((3, 16, 16), 10, 0)


@pytest.fixture(autouse=True)
def leave_out_what_others_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a run as it is, but for trials of training, checks of exports and reports."""
    monkeypatch.setattr("vkdnw_search.output.module._must_equal", lambda modules, check: None)
    monkeypatch.setattr("vkdnw_search.engine.gate.try_training", trained)
    monkeypatch.setattr("vkdnw_search.output.report.write_report", lambda *_, **__: None)


@pytest.fixture(scope="module")
def result() -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vkdnw_search.engine.gate.try_training", trained)
        return search(RECIPE, proxy=Quick())


def opinion_of(result: Result) -> SecondOpinion:
    assert result.judgement is not None and result.judgement.second_opinion is not None
    return result.judgement.second_opinion


# --------------------------------------------------------------------------------------------------------- percentiles


def test_sizes_are_placed_among_all_visited_networks_within_the_limits(result: Result) -> None:
    assert result.best is not None
    others = [e for e in result.evaluations() if e.status.is_usable and e.key != result.best.key]
    assert any(not e.status.is_feasible for e in result.evaluations()) and len(others) > SAMPLE
    flops, parameters = opinion_of(result).sizes
    assert (flops.measure, parameters.measure) == ("FLOPs", "parameters")
    assert (flops.value, flops.others) == (result.best.cost.flops, len(others))
    for standing, name in ((flops, "flops"), (parameters, "parameters")):
        sizes, own = [getattr(e.cost, name) for e in others], getattr(result.best.cost, name)
        assert standing.percentile == pytest.approx(percentileofscore(sizes, own, kind="mean"))


def test_other_scores_are_placed_among_a_sample_as_each_proxy_alone_says(result: Result) -> None:
    assert result.best is not None
    seed = seed_from(0, "second opinion", "measures", 0)
    keys = [e.key for e in result.evaluations() if e.key != result.best.key]
    sampled = [key for key in keys if result.store.extra_score(key, seed) is not None]
    assert len(sampled) == SAMPLE
    probe = Probe((3, 16, 16), 10, seed)

    def alone(proxy: Callable[[nn.Module, Probe], Score], key: str) -> float | None:
        try:
            with torch.random.fork_rng():
                return proxy(result.space.build(result.space.parse(key)), probe).value  # type: ignore[attr-defined]
        except DegenerateNetwork:
            return None

    proxies = {
        "expressivity": Expressivity(images=16), "trainability": Trainability(images=16), "Jacov": Jacov(images=16)
    }  # fmt: skip
    measures = {s.measure: s for s in opinion_of(result).measures}
    assert measures
    for name, proxy in proxies.items():
        own, values = alone(proxy, result.best.key), [alone(proxy, key) for key in sampled]
        there = [value for value in values if value is not None]
        if own is None or not there:
            assert name not in measures
            continue
        assert measures[name].value == pytest.approx(own, rel=1e-5) and measures[name].others == len(there)
        assert measures[name].percentile == pytest.approx(percentileofscore(there, own, kind="mean"), abs=1e-9)


def test_fewer_networks_than_a_sample_are_all_measured_and_one_alone_is_compared_with_none() -> None:
    few = opinion_of(search(RECIPE, ["stop.evaluations=12", "limits={}"], proxy=Quick()))
    assert few.sizes[0].others == 11 and all(s.others <= 11 for s in few.measures)
    alone = opinion_of(search(RECIPE, ["stop.evaluations=1", "limits={}"], proxy=Quick()))
    assert alone.standings == () and alone.channels


def test_without_finalists_only_what_costs_nothing_is_told() -> None:
    opinion = opinion_of(search(RECIPE, ["finalists=0"], proxy=Quick()))
    assert opinion.sizes and not opinion.measures and not opinion.channels


def test_the_stages_of_a_cell_network_have_the_channels_of_its_cells(result: Result) -> None:
    """Stem, cell, reduction, cell, reduction, cell, with 4, 8 and 16 channels."""
    assert opinion_of(result).channels == (4, 4, 8, 8, 16, 16)


@pytest.mark.slow
def test_workers_say_what_this_process_says(result: Result) -> None:
    there = search(RECIPE, ["executor={use: processes, workers: 2}"], proxy=Quick())
    assert opinion_of(there) == opinion_of(result) and opinion_of(result).measures


# ----------------------------------------------------------------------------------------------------- what is kept


FEW = 6


class Calls:
    """Counts how often networks are measured; the sample is small."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr("vkdnw_search.engine.second_opinion.SAMPLE", FEW)
        self.count, measure = 0, OtherMeasures.__call__

        def counted(proxy: OtherMeasures, model: nn.Module, probe: Probe) -> Score:
            self.count += 1
            return measure(proxy, model, probe)

        patch.setattr(OtherMeasures, "__call__", counted)


def test_a_run_that_goes_on_measures_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    first = search(RECIPE, proxy=Quick(), out=tmp_path / "run")
    assert calls.count == FEW + 1
    again = search(RECIPE, proxy=Quick(), out=tmp_path / "run")
    assert calls.count == FEW + 1 and opinion_of(again) == opinion_of(first)
    search(RECIPE, ["stop.evaluations=64"], proxy=Quick(), out=tmp_path / "run")
    assert calls.count <= FEW + 1 + 5, "four more candidates change the sample by four at most, and the winner"


@pytest.mark.parametrize("measured", [0, 1, 4])
def test_a_stop_among_the_measures_keeps_what_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: int
) -> None:
    calls = Calls(monkeypatch)
    whole = search(RECIPE, proxy=Quick(), out=tmp_path / "whole")
    total, calls.count = calls.count, 0
    compared = False

    def after_the_sizes(*words: Any) -> Judgement:
        nonlocal compared
        compared = True
        return by_sizes(*words)

    with monkeypatch.context() as patch:
        patch.setattr("vkdnw_search.run.by_sizes", after_the_sizes)
        part = search(
            RECIPE, proxy=Quick(), out=tmp_path / "part", stopped=lambda: compared and calls.count >= measured
        )
    assert part.unfinished == "interrupted before the winner was measured in other ways" and calls.count == measured
    assert opinion_of(part).sizes == opinion_of(whole).sizes and not opinion_of(part).measures
    rest = search(RECIPE, proxy=Quick(), out=tmp_path / "part")
    assert calls.count == total, "nothing was measured twice"
    assert rest.unfinished == "" and rest.judgement == whole.judgement


# --------------------------------------------------------------------------------- networks that measures do not suit


@dataclass(frozen=True)
class Widths:
    key: str
    width: int


class OneSize:
    """Networks that accept images of 96 by 96 alone, as those with an embedding of positions do."""

    name, input_shape, num_classes = "one_size", (3, 96, 96), 4
    genes = (Gene("width", tuple(range(2, 14)), ordered=True),)

    def decode(self, genome: Genome) -> Widths:
        width = int(self.genes[0].choices[genome[0]])
        return Widths(f"w{width}", width)

    def build(self, architecture: Widths) -> nn.Module:
        width = architecture.width
        stages = [nn.Conv2d(3, width, 3, stride=8), nn.Conv2d(width, 2 * width, 3, padding=1)]
        return nn.Sequential(*stages, nn.Flatten(), nn.Linear(2 * width * 144, 4))

    def source(self, architecture: Widths) -> str:
        return ""


class Vectors(OneSize):
    """Networks of vectors, which have no stages; their names are of no account."""

    name, input_shape = "vectors", (12,)  # type: ignore[assignment]  # not images

    def build(self, architecture: Widths) -> nn.Module:
        return nn.Sequential(nn.Linear(12, architecture.width), nn.ReLU(), nn.Linear(architecture.width, 4))


SMALL: dict[str, Any] = {"executor": "inline", "finalists": 2, "stop": {"evaluations": 12}}


def test_networks_that_accept_one_size_are_measured_at_it() -> None:
    opinion = opinion_of(search(SMALL, space=OneSize(), proxy=Quick()))
    assert {s.measure for s in opinion.measures} >= {"expressivity", "Jacov"}
    assert len(opinion.channels) == 2


def test_a_measure_that_does_not_suit_the_networks_is_left_out_and_ends_no_run() -> None:
    result = search(SMALL, space=Vectors(), proxy=Quick())
    opinion = opinion_of(result)
    assert result.unfinished == "" and opinion.channels == ()
    assert [s.measure for s in opinion.measures] == ["Jacov"]


class Raising(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise TypeError("not on such a day")


def test_a_network_that_nothing_suits_has_no_measures_rather_than_a_traceback() -> None:
    for proxy in (OtherMeasures(resolution=None), StageChannels(resolution=None)):
        with pytest.raises(DegenerateNetwork):
            proxy(Raising(), PROBE)


def test_a_lack_of_memory_is_no_verdict_on_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> Score:
        raise MemoryError

    monkeypatch.setattr(Jacov, "__call__", exhausted)
    with pytest.raises(MemoryError):
        OtherMeasures(resolution=None)(OneSize().build(Widths("w2", 2)), Probe((3, 96, 96), 4, 0))


def test_a_measure_that_the_winner_lacks_and_others_have_is_told() -> None:
    own = Score(0.0, terms={"jacov": 1.0})
    others = [Score(0.0, terms={"jacov": float(i), "expressivity": 1.0}) for i in range(12)]
    standings, warnings = _compared(own, others)
    assert [(s.measure, s.others) for s in standings] == [("Jacov", 12)]
    assert standings[0].percentile == pytest.approx(100 * 1.5 / 12)
    (warning,) = warnings
    assert warning.startswith("expressivity cannot be computed for the winner, but for 12 of 12 other visited networks")
    assert _compared(own, others[:4])[1] == []


# ----------------------------------------------------------------------------------------------------------- warnings


def judged(sizes: Sequence[int], own: int, **limits: object) -> tuple[str, ...]:
    """The warnings of a run that visited networks of these FLOPs, where the winner is that of ``own``."""
    recipe = load_recipe({"space": "nasbench201", "score": "flops", "limits": limits})
    store = Store()
    everyone = [
        Evaluation(i, 0, (i,), f"n{i}", Cost(flops, flops, 1, 1, 1, 1), 0.0, Status.SCORED, "", Score(0.0))
        for i, flops in enumerate([own, *sizes])
    ]
    store.add(everyone, seconds={}, now=0.0)
    empty = Judgement(0, (), (), (), {}, ("one from before",))
    return by_sizes(empty, everyone[0], store, recipe).warnings


def test_a_winner_below_the_twentieth_percentile_is_warned_of() -> None:
    assert judged(range(100, 200), own=121) == ("one from before",)
    before, warning = judged(range(100, 200), own=119)
    assert before == "one from before"
    assert warning.startswith("the winner is low among 100 other visited networks by FLOPs (percentile 19)")
    assert "(percentile 3)" in judged(range(100, 200), own=103)[-1]


def test_few_flops_are_not_warned_of_where_every_candidate_uses_the_budget() -> None:
    spent = {"min": "70%", "max": 143}
    assert judged(range(100, 144), own=103, flops=spent) == ("one from before",)
    assert "(percentile 7)" in judged(range(100, 144), own=103, flops={"min": "60%", "max": 143})[-1]


def test_of_few_networks_no_percentile_is_warned_of() -> None:
    assert len(judged(range(100, 109), own=1)) == 1
    assert len(judged(range(100, 110), own=1)) == 2


def test_a_waist_is_where_much_fewer_channels_lie_between_many() -> None:
    assert list(_waist([16, 32, 64, 32, 64, 128])) == [], "half is not below half"
    (warning,) = _waist([16, 128, 8, 8, 440, 256, 440])
    assert "has a waist: stage 3 of 7 has 8 channels, between 128 before and 440 after it" in warning
    assert "(2 stages are narrow)" in warning
    for fine in ([], [5], [64, 8], [8, 64], [8, 16, 32], [64, 32, 16], [64, 32, 32, 8, 8]):
        assert list(_waist(fine)) == []


def test_the_last_convolution_alone_makes_a_waist_only_of_a_quarter() -> None:
    assert list(_waist([240, 112, 112, 2048])) == []
    assert len(list(_waist([240, 59, 2048]))) == 1 and list(_waist([240, 60, 2048])) == []


def test_no_published_winner_has_a_waist_and_one_that_was_squeezed_has() -> None:
    space, texts = MobileNet(), [network["structure"] for network in MOBILENETS]
    squeezed = (
        "SuperConvK3BNRELU(3,16,2,1)SuperResIDWE1K3(16,128,2,64,1)SuperResIDWE1K3(128,8,2,8,1)"
        "SuperResIDWE1K3(8,440,2,64,1)SuperConvK1BNRELU(440,2048,1,1)"
    )
    found = {}
    for text in (*texts, squeezed):
        model = space.build(space.parse(text))
        score = StageChannels(resolution=32)(model, Probe((3, 224, 224), 1000, 0))
        found[text] = list(_waist([int(value) for value in score.terms.values()]))
    assert len(texts) >= 4 and [found[text] for text in texts] == [[]] * len(texts)
    (warning,) = found[squeezed]
    assert "has 8 channels, between 128 before and 2048 after it" in warning


def test_a_waist_of_the_winner_is_among_the_warnings_of_its_run() -> None:
    class Squeezed(OneSize):
        def build(self, architecture: Widths) -> nn.Module:
            width = architecture.width
            convs = [nn.Conv2d(a, b, 3, stride=2) for a, b in ((3, 64), (64, width), (width, 64))]
            return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4))

    result = search(SMALL, ["stop.evaluations=3"], space=Squeezed(), proxy=Quick())
    assert result.best is not None and result.judgement is not None
    width = int(result.best.key[1:])
    told = [warning for warning in result.judgement.warnings if "waist" in warning]
    assert told and f"stage 2 of 3 has {width} channels, between 64 before and 64 after it" in told[0]


def test_a_judgement_with_a_second_opinion_comes_back_from_its_text(result: Result) -> None:
    assert result.judgement is not None and opinion_of(result).measures
    assert Judgement.from_json(result.judgement.to_json()) == result.judgement
    assert np.isfinite([s.value for s in opinion_of(result).standings]).all()
