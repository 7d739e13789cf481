"""Is a budget used? Before a run as far as random candidates tell, after it by the winner."""

from __future__ import annotations

import numpy as np
import pytest

from vkdnw_search.engine.budget import SIZES, budget_use, unspent
from vkdnw_search.recipe.recipe import Recipe, load_recipe
from vkdnw_search.records import Cost


def recipe(*overrides: str) -> Recipe:
    return load_recipe({"space": "nasbench201", "score": "flops"}, overrides)


def costs(*flops: int) -> list[Cost]:
    return [Cost(f, f, f, 10, 10, 10) for f in flops]


SPREAD = costs(*range(10, 101, 10))
"""10 to 100 of 100."""


def test_a_score_that_goes_with_small_networks_is_warned_of_with_both_reasons() -> None:
    use = budget_use(SPREAD, [-c.flops for c in SPREAD], recipe("limits.flops=100"))
    assert use is not None and (use.networks, use.top, use.largest) == (10, pytest.approx(0.2), 1.0)
    assert use.correlation == pytest.approx(-1)
    told = use.warning()
    assert "go with 20% of limits.flops.max" in told and "falls with FLOPs (ρ = -1.00)" in told
    assert told.endswith("set limits.flops.min=90%")


def test_a_score_that_goes_with_size_is_not_warned_of() -> None:
    use = budget_use(SPREAD, [c.flops for c in SPREAD], recipe("limits.flops=100"))
    assert use is not None and use.top == pytest.approx(0.9) and use.warning() == ""


def test_each_reason_alone_is_enough() -> None:
    rises_and_small = budget_use(costs(*range(10, 90, 10)), list(range(8)), recipe("limits.flops=200"))
    assert rises_and_small is not None and "falls" not in (told := rises_and_small.warning()) and "go with 38%" in told
    assert "none uses more than 40%" in told, "where the space may have no larger networks, that is said"
    falls_and_large = budget_use(costs(*range(80, 90)), list(range(10, 0, -1)), recipe("limits.flops=100"))
    assert falls_and_large is not None and "go with" not in (told := falls_and_large.warning()) and "ρ = -1.00" in told


def test_a_score_that_does_not_vary_has_no_correlation() -> None:
    use = budget_use(costs(*[90] * 10), [1.0] * 10, recipe("limits.flops=100"))
    assert use is not None and np.isnan(use.correlation) and use.warning() == ""


@pytest.mark.parametrize(
    "limits",
    [
        (),
        ("limits.flops={min: 10}",),
        ("limits.flops={min: 70%, max: 100}",),
        ("limits.flops=100", "bands=[50, 100]"),
        ("limits.parameters=100",),
    ],
)
def test_without_a_maximum_or_with_a_minimum_that_sees_to_it_nothing_is_asked(limits: tuple[str, ...]) -> None:
    assert budget_use(SPREAD, [-c.flops for c in SPREAD], recipe(*limits)) is None


def test_few_candidates_tell_nothing() -> None:
    assert budget_use(SPREAD[:7], [-c.flops for c in SPREAD[:7]], recipe("limits.flops=100")) is None


def told(used: int, visited: list[int], *overrides: str) -> list[str]:
    table = {name: np.array([getattr(c, name) for c in costs(*visited)], float) for name in SIZES}
    return list(unspent(costs(used)[0], table, recipe(*overrides)))


def test_a_winner_that_leaves_much_of_a_limit_is_warned_of_with_how_much() -> None:
    assert told(70, [100], "limits.flops=100") == []
    (warning,) = told(69, [100], "limits.flops=100")
    assert warning.startswith("the winner uses 69 of limits.flops.max = 100 and leaves 31%")
    assert warning.endswith("set limits.flops.min to search among these")


def test_where_no_visited_network_uses_the_budget_the_warning_says_so() -> None:
    (warning,) = told(30, [60], "limits.flops=100")
    assert warning.endswith("if the space has any (no visited one uses more than 60%), set limits.flops.min")
    (alone,) = told(30, [], "limits.flops=100")
    assert "no visited one uses more than 30%" in alone


def test_every_limit_of_a_size_counts_and_no_other() -> None:
    limits = ("limits.macs=100", "limits.parameters=100", "limits.layers=15", "limits.memory=100M")
    names = [warning.split("limits.")[1].split(".")[0] for warning in told(50, [100], *limits)]
    assert names == ["macs", "parameters", "layers"]
    assert told(50, [100], "limits.flops={min: 10}") == []
