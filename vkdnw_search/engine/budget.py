"""Does a search use the budget that it may? Of networks of one kind the larger are often the more accurate.

A score that does not ask for size leaves it unused, and its user should know: before a run from a few random candidates
(doctor.py), after it from the winner (second_opinion.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.records import Cost

SPENT = 0.7
"""The share of a limit that is used at least, or a user is warned."""
TOP = 0.25
"""The share of the candidates that count as those of the highest scores."""
FEWEST = 8
"""Number of scored candidates below which nothing is said of them: two of the highest scores are the least."""
SIZES = ("flops", "macs", "parameters", "layers")
"""The sizes whose limits are a budget."""


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """What share of the FLOPs allowed random candidates within the limits use.

    Attributes:
        networks: number of candidates.
        top: median share of the quarter with the highest scores.
        largest: the highest share of any.
        correlation: Spearman's ρ of the score with FLOPs; NaN where one of them does not vary.
    """

    networks: int
    top: float
    largest: float
    correlation: float

    def warning(self) -> str:
        """What to do about a score that would leave the budget unused, in words; empty if it would use it."""
        reasons = [
            f"the highest scores go with {self.top:.0%} of limits.flops.max (median)" if self.top < SPENT else "",
            f"the score falls with FLOPs (ρ = {self.correlation:.2f})" if self.correlation < 0 else "",
        ]
        if not any(reasons):
            return ""
        mend = "set limits.flops.min=90%"
        if self.largest < SPENT:
            mend = f"none uses more than {self.largest:.0%}: {mend} if the space has larger ones, or lower the maximum"
        return f"{' and '.join(filter(None, reasons))}, so the winner may leave much of the budget: {mend}"


def budget_use(costs: Sequence[Cost], fitness: Sequence[float], recipe: Recipe) -> BudgetUse | None:
    """How candidates use the FLOPs allowed; None where there is nothing to warn of.

    That is without a maximum, with bands of FLOPs, which each have a winner, with a minimum that sees to it, and with
    fewer candidates than tell anything.

    Args:
        costs: of candidates within the limits.
        fitness: of the same, higher is better.
        recipe: with the limits.
    """
    if len(costs) < FEWEST or not is_at_stake(recipe):
        return None
    assert recipe.limits.flops is not None and recipe.limits.flops.max is not None
    flops, values = np.array([cost.flops for cost in costs]), np.array(fitness)
    shares = flops / recipe.limits.flops.max
    best = np.argsort(-values, kind="stable")[: math.ceil(TOP * len(values))]
    varied = np.ptp(flops) > 0 and np.ptp(values) > 0
    rho = float(stats.spearmanr(values, flops).statistic) if varied else math.nan
    return BudgetUse(len(costs), float(np.median(shares[best])), float(shares.max()), rho)


def is_at_stake(recipe: Recipe) -> bool:
    """Whether there is a budget of FLOPs that one winner may leave unused."""
    has_budget = recipe.limits.flops is not None and recipe.limits.flops.max is not None
    has_winner_of_each = bool(recipe.bands) and recipe.bands_of == "flops"
    return has_budget and not has_winner_of_each and not is_spent(recipe)


def is_spent(recipe: Recipe) -> bool:
    """Whether there is a budget of FLOPs that a minimum makes every candidate use."""
    limit = recipe.limits.flops
    return limit is not None and limit.max is not None and (limit.least or 0) >= SPENT * limit.max


def unspent(winner: Cost, visited: Mapping[str, NDArray[np.float64]], recipe: Recipe) -> Iterator[str]:
    """A sentence about each limit with a maximum of which the winner leaves much.

    Args:
        winner: what it costs.
        visited: size → that of the other visited networks within the limits.
        recipe: with the limits.
    """
    for name in SIZES:
        limit, used = getattr(recipe.limits, name), getattr(winner, name)
        if limit is None or limit.max is None or used >= SPENT * limit.max:
            continue
        most = float(visited[name].max(initial=used)) / limit.max
        yield (
            f"the winner uses {used:,} of limits.{name}.max = {limit.max:,} and leaves {1 - used / limit.max:.0%}: "
            "larger networks are often more accurate; "
            + (
                f"set limits.{name}.min to search among these"
                if most >= SPENT
                else f"if the space has any (no visited one uses more than {most:.0%}), set limits.{name}.min"
            )
        )
