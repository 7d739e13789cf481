from __future__ import annotations

import math
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vkdnw_search.contracts import HasRelativeFitness, Probe
from vkdnw_search.errors import DegenerateNetwork, ScoreError
from vkdnw_search.proxies.aggregate import (
    LogRankSum,
    RankSum,
    make_az_nas,
    make_te_nas,
    make_vkdnw_agg,
)
from vkdnw_search.proxies.az_nas import AzNasTerms
from vkdnw_search.proxies.consensus import Consensus, make_consensus
from vkdnw_search.proxies.jacov import Jacov
from vkdnw_search.proxies.saliency import SynFlow
from vkdnw_search.proxies.size import Flops, Parameters
from vkdnw_search.records import Cost, Score

PROBE = Probe(input_shape=(3, 8, 8), num_classes=4, seed=0)


class Unit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return torch.relu(self.conv(x)) + x


def network(width: int = 6) -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width))
    return nn.Sequential(stem, Unit(width), Unit(width), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


def scores(**columns: list[float]) -> list[Score]:
    return [Score(value=0.0, terms=dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def test_the_sums_of_a_hand_worked_example():
    """Ranks by a: 3, 1, 2; by b: 1.5, 1.5, 3 (a tie)."""
    proxies = {"a": Flops(), "b": Parameters()}
    seen = scores(a=[9.0, 1.0, 5.0], b=[2.0, 2.0, 7.0])
    log = [math.log(3 * 1.5 / 9), math.log(1 * 1.5 / 9), math.log(2 * 3 / 9)]
    assert LogRankSum(proxies=proxies).fitness(seen) == pytest.approx(log, rel=1e-15)
    assert RankSum(proxies=proxies).fitness(seen) == pytest.approx([1.5, 2.5 / 3, 5 / 3], rel=1e-15)
    assert RankSum(proxies=proxies, terms=("a",)).fitness(seen) == pytest.approx([1, 1 / 3, 2 / 3], rel=1e-15)


def test_weights_multiply_the_terms_of_a_sum():
    proxies = {"a": Flops(), "b": Parameters()}
    seen = scores(a=[9.0, 1.0, 5.0], b=[2.0, 2.0, 7.0])
    weighted = LogRankSum(proxies=proxies, weights=(2, 0.5)).fitness(seen)
    assert weighted == pytest.approx(
        [2 * math.log(a / 3) + 0.5 * math.log(b / 3) for a, b in ((3, 1.5), (1, 1.5), (2, 3))]
    )
    assert RankSum(proxies=proxies, weights=(0, 1)).fitness(seen) == pytest.approx([0.5, 0.5, 1])


@pytest.mark.parametrize("kind", [RankSum, LogRankSum])
def test_terms_given_as_columns_have_the_fitness_of_the_scores_they_are_the_terms_of(kind):
    columns = {"a": [9.0, 1.0, 5.0, 5.0], "b": [2.0, 2.0, 7.0, -1.0], "unused": [0.0, 1.0, 2.0, 3.0]}
    proxy = kind(proxies={"a": Flops(), "b": Parameters()}, weights=(2, 0.5))
    arrays = {name: np.array(values) for name, values in columns.items()}
    assert proxy.combined(arrays).tolist() == proxy.fitness(scores(**columns)).tolist()
    with pytest.raises(ScoreError, match="must have the term 'b', but one has only a"):
        proxy.combined({"a": arrays["a"]})


@pytest.mark.parametrize("weights", [(1.0,), (1.0, -1.0), (1.0, math.inf), (math.nan, 1.0)])
def test_weights_that_do_not_fit_the_terms_are_refused(weights):
    with pytest.raises(ScoreError, match=r"weights: must be (one number for each of a, b|a list, each of it a number)"):
        LogRankSum(proxies={"a": Flops(), "b": Parameters()}, weights=weights)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=12))
def test_the_fitness_agrees_with_ranks_counted_pair_by_pair(rows):
    a, b = (list(map(float, column)) for column in zip(*rows, strict=True))
    n = len(rows)

    def rank(values, i):
        return sum(v < values[i] for v in values) + (sum(v == values[i] for v in values) + 1) / 2

    fitness = LogRankSum(proxies={"a": Flops(), "b": Flops()}).fitness(scores(a=a, b=b))
    assert fitness.dtype == np.float64
    assert fitness == pytest.approx([math.log(rank(a, i) / n) + math.log(rank(b, i) / n) for i in range(n)], rel=1e-12)


def test_nobody_seen_gives_no_fitness():
    assert LogRankSum(proxies={"flops": Flops()}).fitness([]).shape == (0,)


def test_a_missing_term_is_named():
    with pytest.raises(ScoreError, match=r"'flosp'.*only flops.*mean 'flops'"):
        LogRankSum(proxies={"flops": Flops()}, terms=("flosp",)).fitness(scores(flops=[1.0]))


def test_without_proxies_there_is_nothing_to_sum():
    with pytest.raises(ScoreError, match="at least one"):
        LogRankSum(proxies={})


def test_every_proxy_sees_the_network_as_it_came():
    """SynFlow takes the batch norms away and makes weights positive; what comes after it must not notice."""
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    both = LogRankSum(proxies={"synflow": SynFlow(), "jacov": Jacov(images=4)})(model, PROBE).terms
    assert both == {"synflow": SynFlow()(network(), PROBE).value, "jacov": Jacov(images=4)(network(), PROBE).value}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_sum_needs_no_weights_where_none_of_its_proxies_does():
    assert make_consensus().draws_weights and make_vkdnw_agg().draws_weights
    assert not LogRankSum(proxies={"synflow": SynFlow(), "jacov": Jacov()}).draws_weights
    assert not LogRankSum(proxies={"jacov": Jacov(initialization="as_built")}).draws_weights


def test_each_proxy_is_computed_once_and_gives_all_its_terms():
    calls = []

    @dataclass(frozen=True)
    class Twice:
        def __call__(self, model, probe):
            calls.append(model)
            return Score(value=1.0, terms={"x": 1.0, "y": 2.0})

    score = LogRankSum(proxies={"twice": Twice()}, terms=("x", "y"))(network(), PROBE)
    assert score.terms == {"twice": 1.0, "x": 1.0, "y": 2.0} and len(calls) == 1


def test_two_values_under_one_name_are_refused():
    @dataclass(frozen=True)
    class Other:
        def __call__(self, model, probe):
            return Score(value=1.0, terms={"flops": 1.0})

    with pytest.raises(ScoreError, match="'flops' has two values"):
        LogRankSum(proxies={"flops": Flops(), "other": Other()})(network(), PROBE)


def test_flops_come_from_the_cost_where_it_is_known():
    cost = Cost(flops=123, macs=1, parameters=1, layers=1, tensors=1, modules=1)
    probe = Probe(input_shape=(3, 8, 8), num_classes=4, seed=0, cost=cost)
    assert make_az_nas(images=4)(network(), probe).terms["flops"] == 123


def test_a_degenerate_term_makes_the_network_degenerate():
    dead = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 1), nn.Threshold(1e9, 0)), nn.Flatten())
    with pytest.raises(DegenerateNetwork):
        make_az_nas(images=4)(dead, PROBE)


@pytest.mark.parametrize(
    ("make", "terms"),
    [
        (make_az_nas, {"expressivity", "progressivity", "trainability", "flops"}),
        (make_te_nas, {"ntk_condition", "linear_regions"}),
        (make_vkdnw_agg, {"vkdnw_single", "jacov", "expressivity", "trainability", "flops"}),
    ],
)
def test_the_named_sums_rank_their_terms(make, terms):
    proxy = make(images=8)
    assert set(proxy.terms) == terms
    assert isinstance(proxy, HasRelativeFitness)
    assert pickle.loads(pickle.dumps(proxy)) == proxy


@pytest.mark.parametrize("make", [make_az_nas, make_te_nas])
def test_the_published_sums_tell_networks_apart(make):
    proxy = make(images=8)
    seen = [proxy(network(width), PROBE) for width in (4, 6, 12)]
    assert all(score.value == 0 for score in seen)
    assert len(set(proxy.fitness(seen))) > 1
    if make is make_az_nas:
        assert seen[1].terms["expressivity"] == AzNasTerms(images=8)(network(6), PROBE).value


def test_the_consensus_sees_each_term_and_jacov_twice():
    proxy = make_consensus(images=64, jacov_images=4, parameters=16)
    score = proxy(network(), PROBE)
    first, second = (score.terms[name] for name in ("jacov_1", "jacov_2"))
    assert first != second and score.terms["jacov"] == pytest.approx((first + second) / 2)
    assert score.terms["parameters"] == sum(p.numel() for p in network().parameters())
    assert pickle.loads(pickle.dumps(proxy)) == proxy and isinstance(proxy, HasRelativeFitness)
    assert proxy.ranked == ("flops", "vkdnw_single", "jacov", "parameters")


def test_a_term_counts_as_far_as_it_can_be_repeated():
    """Ranks of two repetitions by hand: ρ = 1 − 6 Σ d² / (n (n² − 1)) = 1 − 6 · 2 / 24 = 1/2, so r = 2/3."""
    proxy = Consensus(proxies={"a": Flops(), "b": Parameters()}, repetitions={"b": ("b1", "b2")}, weights=(2, 3))
    columns = {"a": [1.0, 2.0, 3.0], "b": [1.5, 2.5, 2.0], "b1": [1.0, 2.0, 3.0], "b2": [2.0, 3.0, 1.0]}
    opposed = {**columns, "b2": [3.0, 2.0, 1.0]}
    alike = {**columns, "b2": [10.0, 20.0, 30.0]}
    columns["b2"] = [1.0, 3.0, 2.0]
    ranks = np.array([1, 2, 3]), np.array([1, 3, 2])
    for weight, seen in ((4 / 9, columns), (0, opposed), (1, alike)):
        expected = 2 * np.log(ranks[0] / 3) + 3 * weight * np.log(ranks[1] / 3)
        assert proxy.fitness(scores(**seen)) == pytest.approx(expected)
    with pytest.raises(ScoreError, match="repetitions: must be of a, b, but name 'c'"):
        Consensus(proxies={"a": Flops(), "b": Parameters()}, repetitions={"c": ("c1", "c2")})


def test_a_size_counts_by_its_logarithm_and_not_by_its_rank():
    """Of sizes 90, 99 and 100 the ranks are thirds; their logarithms hardly differ, so that the other term decides."""
    sizes, other = [90.0, 100.0, 99.0, 400.0], [3.0, 1.0, 2.0, 0.0]
    proxy = Consensus(proxies={"a": Flops(), "b": Parameters()}, sizes=("a",), weights=(0.5, 1), reference=3)
    ranks = (3, 1, 2, 0.5)
    expected = [0.5 * math.log(size / 100) + math.log(rank / 3) for size, rank in zip(sizes, ranks, strict=True)]
    assert proxy.fitness(scores(a=sizes, b=other)) == pytest.approx(expected)
    assert proxy.fitness([]).shape == (0,)
    with pytest.raises(ScoreError, match="sizes: must be of a, b, but name 'c'"):
        Consensus(proxies={"a": Flops(), "b": Parameters()}, sizes=("c",))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=12), st.integers(1, 14))
def test_ranks_among_a_reference_do_not_change_as_more_are_seen(rows, reference):
    a, b = (list(map(float, column)) for column in zip(*rows, strict=True))
    proxy = LogRankSum(proxies={"a": Flops(), "b": Flops()}, reference=reference)
    fitness = proxy.fitness(scores(a=a, b=b))
    known = LogRankSum(proxies=proxy.proxies).fitness(scores(a=a[:reference], b=b[:reference]))
    assert fitness[:reference] == pytest.approx(known)
    if len(rows) > reference:
        assert proxy.fitness(scores(a=a[:-1], b=b[:-1])).tolist() == fitness[:-1].tolist()
        n, below = reference, sum(v < a[-1] for v in a[:reference])
        place = below + (sum(v == a[-1] for v in a[:reference]) + 1) / 2
        other = LogRankSum(proxies={"a": Flops()}, reference=reference).fitness(scores(a=a))[-1]
        if a[-1] <= max(a[:reference]):
            assert other == pytest.approx(math.log(min(place, n) / n))


def test_beyond_the_best_of_the_reference_more_is_still_better_but_by_little():
    """The reference 0, 1, 2, 6: its median is 1.5, 4.5 below its largest; 10.5 and 6 + 4.5 (e − 1) are beyond it."""
    seen = scores(a=[0.0, 1.0, 2.0, 6.0, 10.5, 6.0 + 4.5 * (math.e - 1), 6.0, -1.0])
    fitness = LogRankSum(proxies={"a": Flops()}, reference=4).fitness(seen)
    ranks = [1, 2, 3, 4, 4 + math.log(2), 5, 4, 0.5]
    assert fitness == pytest.approx([math.log(rank / 4) for rank in ranks])
    alike = scores(a=[1.0, 1.0, 3.0])
    assert LogRankSum(proxies={"a": Flops()}, reference=2).fitness(alike)[2] == 0, "no distance to measure by"


def test_two_classes_take_more_images():
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)) for _ in range(32)))
    model = nn.Sequential(model, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    probe = Probe(input_shape=(3, 8, 8), num_classes=2, seed=0, cost=Cost(1, 1, 1, 1, 1, 1))
    with pytest.raises(ScoreError, match="Raise images"):
        make_vkdnw_agg()(model, probe)
    assert math.isfinite(make_vkdnw_agg(images=128)(model, probe).terms["vkdnw_single"])
