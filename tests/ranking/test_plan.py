from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import rankdata

from tests.support.quick import Quick
from vkdnw_search.proxies.aggregate import LogRankSum, RankSum
from vkdnw_search.proxies.size import Flops, Parameters
from vkdnw_search.ranking.plan import VALUE, make_plan

PROXIES = {"flops": Flops(), "parameters": Parameters()}


@dataclass(frozen=True, kw_only=True)
class OfScores(LogRankSum):
    """A stranger's sum, which decides from the scores themselves."""

    def fitness(self, scores):
        return super().fitness(scores) - len(scores)


def parts_of(plan, **columns):
    """One column of values for each part, in the order of the parts."""
    return {part: {VALUE: np.array(values)} for part, values in zip(plan.parts, columns.values(), strict=True)}


def test_an_aggregate_of_some_networks_ranks_them_among_one_another():
    plan = make_plan({"sum": LogRankSum(proxies=PROXIES)})
    parts = parts_of(plan, flops=[5.0, 1.0, 4.0, 3.0], parameters=[1.0, 9.0, 1.0, 2.0])
    chosen = np.array([0, 2, 3])
    by_hand = [math.log(3 / 3) + math.log(1.5 / 3), math.log(2 / 3) + math.log(1.5 / 3), math.log(1 / 3) + math.log(1)]
    assert plan.rows[0].values(parts, chosen) == pytest.approx(by_hand)
    whole = np.log(rankdata([5, 1, 4, 3]) / 4) + np.log(rankdata([1, 9, 1, 2]) / 4)
    assert plan.rows[0].values(parts) == pytest.approx(whole.tolist())


def test_a_single_proxy_says_of_some_networks_what_it_says_of_all():
    plan = make_plan({"flops": Flops()})
    values = plan.rows[0].values(parts_of(plan, flops=[5.0, math.nan, 4.0]), np.array([1, 2]))
    assert math.isnan(values[0]) and values[1] == 4


def test_a_strangers_fitness_is_asked_and_not_the_sum_it_descends_from():
    plan = make_plan({"sum": LogRankSum(proxies=PROXIES), "strange": OfScores(proxies=PROXIES)})
    parts = parts_of(plan, flops=[5.0, 1.0, 4.0], parameters=[1.0, 9.0, 1.0])
    ours, strange = (row.values(parts) for row in plan.rows)
    assert strange.tolist() == (ours - 3).tolist()


def test_an_aggregate_without_any_value_of_a_ranked_term_among_the_chosen_networks_has_no_value():
    plan = make_plan({"sum": RankSum(proxies={"quick": Quick()}, terms=("layers",))})
    (part,) = plan.parts
    parts = {part: {VALUE: np.ones(3), "layers": np.array([math.nan, math.nan, 2.0])}}
    assert np.isnan(plan.rows[0].values(parts, np.array([0, 1]))).all()
    assert plan.rows[0].values(parts).tolist() == [2 / 3] * 3  # who lacks the term takes the lowest one there is
