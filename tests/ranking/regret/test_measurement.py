from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vkdnw_search.ranking.metrics import Quality, accuracy_of_first, regret_at
from vkdnw_search.ranking.regret import measurement
from vkdnw_search.ranking.regret.budgets import Budget, read_budgets
from vkdnw_search.ranking.regret.measurement import Limit, Ranking, Subsamples, references, regrets

NAN = math.nan
EVERY = Budget(100, is_share=True)


@pytest.fixture
def few(monkeypatch):
    """So few networks may be judged that a person can."""
    monkeypatch.setattr(measurement, "LEAST", 3)


def by_hand(within: list[list[int]], halves: list[list[int]]) -> Subsamples:
    """Budgets and halves as lists of zeros and ones."""
    limits = tuple(Limit(EVERY, 0.0, sum(row)) for row in within)
    return Subsamples(limits, 0.0, np.array(within, dtype=bool), np.array(halves, dtype=bool))


def of(scores: list[float]) -> Ranking:
    return Ranking(np.array(scores).__getitem__, np.ones(len(scores), dtype=bool))


def spread(*values: float) -> Quality:
    mean = sum(values) / len(values)
    return Quality(mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)))


def close(found: Quality, expected: Quality) -> bool:
    pairs = ((found.mean, expected.mean), (found.deviation, expected.deviation))
    return all(a == pytest.approx(b, abs=1e-12, nan_ok=True) for a, b in pairs)


@pytest.mark.parametrize(
    ("scores", "accuracy"),
    [
        ([1.0, 3.0, 2.0], 90),  # the second is first
        ([3.0, 3.0, 2.0], (70 + 90) / 2),  # the first two are tied
        ([1.0, 1.0, 1.0], (70 + 90 + 80) / 3),  # all are
        ([1.0, NAN, 1.0], (70 + 80) / 2),  # who has no score is not chosen
        ([-math.inf, NAN, -5.0], 80),
        ([NAN, -math.inf, NAN], 80),  # nobody has one: any network is as good as another
    ],
)
def test_the_accuracy_of_the_first_by_hand(scores, accuracy):
    found = accuracy_of_first(np.array(scores), np.array([[70.0, 7.0], [90.0, 9.0], [80.0, 8.0]]))
    assert found == pytest.approx([accuracy, accuracy / 10])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 100)), min_size=2, max_size=8))
def test_the_accuracy_of_the_first_is_the_best_less_the_regret_of_one(rows):
    scores, accuracies = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    first = accuracy_of_first(scores, accuracies[:, None])
    assert accuracies.max() - first[0] == pytest.approx(regret_at(scores, accuracies, k=1))


def test_regret_by_hand_of_two_budgets_and_two_halves(few):
    """Six networks. The first half holds networks 0, 1, 2, the second 3, 4, 5; the tight budget leaves out 1 and 4."""
    accuracies = {"a": np.array([50.0, 90.0, 60.0, 70.0, 95.0, 80.0])}
    places = by_hand([[1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1]], [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    found = regrets([of([3, 5, 2, 1, 1, 1])], accuracies, places)["a"]
    # tight, first half: 50 is put first, 60 is best; second: 70 and 80 are tied, 80 is best
    # loose, first half: 90 is put first and best; second: 70, 95 and 80 are tied, 95 is best
    third = (70 + 95 + 80) / 3
    assert close(found.lost[0], spread(10, 5)) and close(found.accuracy[0], spread(50, 75))
    assert close(found.lost[1], spread(0, 95 - third)) and close(found.accuracy[1], spread(90, third))
    assert close(found.mean, spread((10 + 0) / 2, (5 + 95 - third) / 2))


def test_in_each_half_repetitions_count_by_their_mean(few):
    accuracies = {"a": np.array([10.0, 20.0, 40.0]), "b": np.array([3.0, 2.0, 1.0])}
    places = by_hand([[1, 1, 1]], [[1, 1, 1], [1, 1, 0]])
    found = regrets([of([1, 2, 3]), of([3, 2, 1])], accuracies, places)
    assert close(found["a"].lost[0], spread((0 + 30) / 2, (0 + 10) / 2))
    assert close(found["b"].accuracy[0], spread((1 + 3) / 2, (2 + 3) / 2))
    assert close(found["a"].mean, found["a"].lost[0])  # of a single budget


def test_a_ranking_that_depends_on_the_others_is_asked_about_each_set_by_itself(few):
    """Who is nearest the mean number among those that are there: not what it is among all."""
    places = by_hand([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], [[1, 1, 1, 0, 1], [0, 1, 1, 1, 1]])
    asked: list[list[int]] = []

    def central(chosen):
        asked.append(chosen.tolist())
        return -np.abs(chosen - chosen.mean())

    accuracies = {"a": np.array([1.0, 2.0, 3.0, 4.0, 9.0])}
    found = regrets([Ranking(central, np.ones(5, dtype=bool))], accuracies, places)["a"]
    assert asked == [[0, 1, 2], [1, 2, 3], [0, 1, 2, 4], [1, 2, 3, 4]]
    assert close(found.accuracy[0], spread(2, 3))
    assert close(found.accuracy[1], spread(3, 3.5))  # nearest 1.75 is number 2; 2 and 3 are as near 2.5


def test_a_method_is_asked_only_about_networks_it_may_be_asked_about(few):
    accuracies = {"a": np.array([1.0, 2.0, 3.0, 4.0])}
    places = by_hand([[1, 1, 1, 1]], [[1, 1, 1, 1]])
    seen = np.array([False, True, True, True])
    scores = np.array([NAN, 5.0, 1.0, 2.0])
    found = regrets([Ranking(scores.__getitem__, seen)], accuracies, places)["a"]
    assert found.accuracy[0].mean == 2 and found.lost[0].mean == 2 and math.isnan(found.lost[0].deviation)
    found = regrets([Ranking(scores.__getitem__, np.array([False, True, True, False]))], accuracies, places)["a"]
    assert math.isnan(found.lost[0].mean)  # two are too few


def test_a_budget_with_too_few_networks_is_not_judged_and_does_not_count_in_the_mean(few):
    accuracies = {"a": np.array([1.0, 2.0, 3.0, 4.0])}
    places = by_hand([[1, 1, 0, 0], [1, 1, 1, 1]], [[1, 1, 0, 0], [0, 1, 1, 0]])
    found = regrets([of([2, 1, 0, 0])], accuracies, places)["a"]
    assert math.isnan(found.lost[0].mean) and math.isnan(found.accuracy[0].deviation)
    assert close(found.lost[1], spread(1, 1)) and close(found.mean, spread(1, 1))
    none = regrets([of([2, 1, 0, 0])], accuracies, by_hand([[1, 1, 0, 0]], [[1, 1, 0, 0]]))["a"]
    assert math.isnan(none.mean.mean) and math.isnan(none.mean.deviation)


def test_a_half_without_any_network_within_the_budget_is_left_out(few):
    accuracies = {"a": np.array([1.0, 2.0, 3.0, 9.0, 9.0])}
    places = by_hand([[1, 1, 1, 0, 0]], [[1, 0, 1, 0, 0], [0, 0, 0, 1, 1]])
    found = regrets([of([2, 1, 0, 0, 0])], accuracies, places)["a"]
    assert found.lost[0] == Quality(2.0, pytest.approx(NAN, nan_ok=True))


def test_the_best_choice_loses_nothing_and_a_random_one_has_the_mean_accuracy(few):
    accuracies = {"a": np.array([10.0, 20.0, 60.0]), "b": np.array([3.0, 2.0, 1.0])}
    found = references(accuracies, by_hand([[1, 1, 1]], [[1, 1, 1], [1, 1, 0]]))
    assert close(found["best"]["a"].accuracy[0], spread(60, 20)) and close(found["best"]["b"].accuracy[0], spread(3, 3))
    assert found["best"]["a"].lost[0] == found["best"]["b"].mean == Quality(0, 0)
    assert close(found["random"]["a"].accuracy[0], spread(30, 15))
    assert close(found["random"]["a"].lost[0], spread(30, 5))


def test_budgets_are_shares_of_the_largest_network_or_numbers_both_included():
    flops = np.array([10e6, 20e6, 30e6, 40e6])
    found = Subsamples.drawn(read_budgets("50%,25M,100%"), flops, ["a", "b", "c", "d"])
    assert found.within.tolist() == [[True, True, False, False], [True, True, False, False], [True] * 4]
    assert [(limit.flops, limit.networks) for limit in found.limits] == [(20e6, 2), (25e6, 2), (40e6, 4)]


def test_halves_are_halves_differ_and_do_not_depend_on_the_order_of_the_networks():
    keys = [f"network{i}" for i in range(31)]
    halves = Subsamples.drawn([EVERY], np.ones(31), keys).halves
    assert halves.shape == (measurement.HALVES, 31) and (halves.sum(axis=1) == 15).all()
    assert len({half.tobytes() for half in halves}) == measurement.HALVES
    expected, deviation = 200 * 15 / 31, math.sqrt(200 * 15 * 16) / 31
    assert (np.abs(halves.sum(axis=0) - expected) < 4 * deviation).all()  # how often each network is in a half
    order = np.random.default_rng(0).permutation(31)
    moved = Subsamples.drawn([EVERY], np.ones(31), [keys[i] for i in order]).halves
    assert (moved == halves[:, order]).all()


def test_over_many_halves_regret_is_that_of_the_metric_in_each():
    rng = np.random.default_rng(5)
    n = 90
    scores, accuracies, flops = rng.integers(0, 9, n).astype(float), rng.uniform(0, 100, n), rng.uniform(1e6, 2e6, n)
    places = Subsamples.drawn(read_budgets("75%,1.8M"), flops, [str(i) for i in range(n)])
    found = regrets([of(scores.tolist())], {"a": accuracies}, places)["a"]
    for number, most in enumerate((0.75 * flops.max(), 1.8e6)):
        sets = [np.flatnonzero(half & (flops <= most)) for half in places.halves]
        lost = [regret_at(scores[chosen], accuracies[chosen], k=1) for chosen in sets]
        assert close(found.lost[number], Quality(float(np.mean(lost)), float(np.std(lost, ddof=1))))
