from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from vkdnw_search.errors import RankingError
from vkdnw_search.ranking.metrics import kendall, ndcg_at, precision_at, regret_at, spearman

# Accuracies in the order of the scores, and KT, SPR, nDCG to two digits, as published with VKDNW.
PUBLISHED = [
    ([80, 70, 100, 90, 60, 50, 40, 30, 20, 10], 0.82, 0.90, 0.50),
    ([100, 90, 80, 70, 60, 50, 10, 20, 30, 40], 0.73, 0.88, 1.00),
]

small = st.integers(0, 5)  # few values, so that ties are common
rankings = st.lists(st.tuples(small, st.integers(0, 100)), min_size=2, max_size=6).map(
    lambda rows: tuple(zip(*rows, strict=True))
)
METRICS = {
    "kendall": kendall,
    "spearman": spearman,
    "ndcg": lambda s, a: ndcg_at(s, a, P=3),
    "regret": lambda s, a: regret_at(s, a, k=2),
    "precision": lambda s, a: precision_at(s, a, k=2),
}


@pytest.mark.parametrize(("accuracies", "kt", "spr", "ndcg"), PUBLISHED)
def test_the_published_examples_come_out(accuracies, kt, spr, ndcg):
    scores = np.arange(10, 0, -1)
    assert round(kendall(scores, accuracies), 2) == kt
    assert round(spearman(scores, accuracies), 2) == spr
    assert round(ndcg_at(scores, accuracies, P=1000), 2) == ndcg


def test_ndcg_by_hand_for_three_networks():
    # In the order of scores: gains 1, 3, 0; discounts 1, 1/log2(3), 1/2.
    expected = (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3))
    assert ndcg_at([3, 2, 1], [1, 2, 0]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("P", [1, 3, 10, 40, 1000])
def test_ndcg_agrees_with_sklearn_with_and_without_ties(P):
    rng = np.random.default_rng(P)
    for levels in (3, 10**6):
        scores, accuracies = rng.integers(0, levels, 40), rng.uniform(0, 30, 40)
        reference = ndcg_score([2.0**accuracies - 1], [scores.astype(float)], k=P)
        assert ndcg_at(scores, accuracies, P=P) == pytest.approx(reference, rel=1e-12)


def test_ndcg_does_not_overflow():
    assert ndcg_at([1, 2, 3], [98.0, 99.0, 100.0]) == 1
    assert ndcg_at([3, 2], [4000.0, 5000.0]) == pytest.approx(1 / math.log2(3))


def test_ndcg_of_networks_that_know_nothing_is_one():
    assert ndcg_at([1, 2], [0, 0]) == 1


@settings(deadline=None)
@given(rankings, st.randoms())
def test_no_metric_depends_on_the_order_of_the_networks(ranking, random):
    scores, accuracies = ranking
    order = list(range(len(scores)))
    random.shuffle(order)
    for metric in METRICS.values():
        moved = metric([scores[i] for i in order], [accuracies[i] for i in order])
        assert moved == pytest.approx(metric(scores, accuracies), nan_ok=True, abs=1e-12)


@settings(deadline=None)
@given(rankings)
def test_no_metric_changes_under_a_monotone_map_of_the_scores(ranking):
    scores, accuracies = ranking
    for metric in METRICS.values():
        mapped = metric([math.exp(s) - 7 for s in scores], accuracies)
        assert mapped == pytest.approx(metric(scores, accuracies), nan_ok=True, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=2, max_size=30, unique=True))
def test_the_perfect_order_is_perfect_and_the_reverse_is_worst_for_the_correlations(accuracies):
    n = len(accuracies)
    ranks = np.argsort(np.argsort(accuracies))
    assert kendall(ranks, accuracies) == pytest.approx(1)
    assert spearman(ranks, accuracies) == pytest.approx(1)
    assert ndcg_at(ranks, accuracies, P=n) == pytest.approx(1)
    assert regret_at(ranks, accuracies, k=1) == 0
    assert precision_at(ranks, accuracies, k=2) == 1
    assert kendall(-ranks, accuracies) == pytest.approx(-1)
    assert spearman(-ranks, accuracies) == pytest.approx(-1)


@settings(deadline=None)
@given(rankings)
def test_tied_scores_count_as_the_mean_over_their_orders(ranking):
    """Against enumeration: every permutation that respects the scores, with ranks as untied scores."""
    scores, accuracies = ranking
    n = len(scores)
    everything = itertools.permutations(range(n))
    orders = [o for o in everything if all(scores[i] >= scores[j] for i, j in itertools.pairwise(o))]
    for name in ("ndcg", "regret", "precision"):
        metric = METRICS[name]
        values = [metric([-order.index(i) for i in range(n)], accuracies) for order in orders]
        assert metric(scores, accuracies) == pytest.approx(np.mean(values), abs=1e-9)


def test_kendall_is_tau_b_by_counting_pairs():
    scores, accuracies = [1, 1, 2, 3, 3, 4], [5, 6, 6, 4, 9, 9]
    pairs = list(itertools.combinations(range(6), 2))
    sign = [np.sign(scores[i] - scores[j]) * np.sign(accuracies[i] - accuracies[j]) for i, j in pairs]
    untied = [sum(x[i] != x[j] for i, j in pairs) for x in (scores, accuracies)]
    assert kendall(scores, accuracies) == pytest.approx(sum(sign) / math.sqrt(untied[0] * untied[1]), rel=1e-12)


@pytest.mark.parametrize("unusable", [-math.inf, math.nan])
def test_an_unusable_score_is_worth_the_smallest_finite_one(unusable):
    accuracies = [10.0, 50, 20, 40]
    for metric in METRICS.values():
        assert metric([1.0, unusable, 3, 2], accuracies) == metric([1.0, 1.0, 3, 2], accuracies)


def test_without_any_order_a_correlation_is_undefined():
    for metric in (kendall, spearman):
        assert math.isnan(metric([1, 1, 1], [1, 2, 3]))
        assert math.isnan(metric([1, 2, 3], [1, 1, 1]))
        assert math.isnan(metric([-math.inf] * 3, [1, 2, 3]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: kendall([1, 2], [1, 2, 3]), "shapes"),
        (lambda: spearman([1], [1]), "at least 2"),
        (lambda: kendall([1, 2], [1, math.nan]), "number 1 is nan"),
        (lambda: kendall([math.inf, 2], [1, 2]), "number 0 is inf"),
        (lambda: ndcg_at([1, 2], [-1, 2]), "smallest is -1"),
        (lambda: ndcg_at([1, 2], [1, 2], P=0), "P: must be at least 1"),
        (lambda: regret_at([1, 2], [1, 2], k=3), "from 1 to the number of networks, 2"),
        (lambda: precision_at([1, 2], [1, 2], k=0), "but is 0"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(call, words):
    with pytest.raises(RankingError, match=words):
        call()
