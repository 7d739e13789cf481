from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from vkdnw_search.engine.best_scores import BestScores
from vkdnw_search.records import Cost, Evaluation, Score, Status


def scored(value: float, flops: int = 1) -> Evaluation:
    cost = Cost(flops, flops, 1, 1, 1, 1)
    return Evaluation(0, 0, (0,), "network", cost, 0.0, Status.SCORED, "", Score(value))


@given(st.lists(st.floats(-10, 10), max_size=40), st.integers(1, 8))
def test_the_least_is_the_last_of_the_best(values: list[float], count: int) -> None:
    standing = BestScores(count)
    standing.add([scored(value) for value in values])
    expected = sorted(values, reverse=True)[count - 1] if len(values) >= count else -math.inf
    assert standing.least(scored(0).cost) == expected


def test_the_winner_matters_even_where_no_finalist_is_asked_for() -> None:
    standing = BestScores(0)
    standing.add([scored(1.0), scored(3.0), scored(2.0)])
    assert standing.least(scored(0).cost) == 3.0


def test_each_band_has_a_standing_of_its_own_its_upper_edge_included() -> None:
    standing = BestScores(1, bands=[100, 200])
    standing.add([scored(1.0, flops=100), scored(5.0, flops=101), scored(9.0, flops=300)])
    assert [standing.least(scored(0, flops).cost) for flops in (50, 100, 150, 200, 201)] == [1.0, 1.0, 5.0, 5.0, 9.0]


def test_only_scores_count() -> None:
    standing = BestScores(1)
    bounded = replace(scored(7.0), status=Status.BOUNDED)
    standing.add([bounded])
    assert standing.least(bounded.cost) == -math.inf
