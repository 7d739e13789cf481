"""What a method's first choice under a FLOPs budget loses, over random halves of the networks.

A search looks at the very top under a budget, and regret is what it is judged by: the accuracy of the best network
within the budget less that of the network that a method puts first there. One network may decide that, so that it is
the mean over many random halves of the networks, the same for all methods. Halves overlap: the standard deviation over
them tells how much the choice hangs on single networks, and is no standard error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vkdnw_search.determinism import seed_from
from vkdnw_search.ranking.metrics import Quality, accuracy_of_first
from vkdnw_search.ranking.regret.budgets import Budget

__all__ = ["BEST", "HALVES", "LEAST", "RANDOM", "Limit", "Ranking", "Regret", "Subsamples", "references", "regrets"]

HALVES = 200
"""Random halves of the networks. The mean over them is uncertain by 7 % of the spread, 1/√200, for these networks."""

LEAST = 20
"""Networks within a budget, below which it is not judged: some ten are then in a half."""

BEST, RANDOM = "best", "random"
"""The choices that every method stands between: the most accurate network, and any network at all."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget in one study.

    Attributes:
        budget: as it was asked for.
        flops: the most there may be.
        networks: how many of the study are within it.
    """

    budget: Budget
    flops: float
    networks: int


@dataclass(frozen=True, slots=True, eq=False)
class Subsamples:
    """The networks among which methods choose: random halves, and in each those within a budget.

    Attributes:
        limits: the budgets.
        largest: FLOPs of the largest network, of which budgets in percent are shares.
        within: which of n networks are within each budget, (budgets, n).
        halves: which are in each half, (HALVES, n).
    """

    limits: tuple[Limit, ...]
    largest: float
    within: NDArray[np.bool_]
    halves: NDArray[np.bool_]

    @classmethod
    def drawn(cls, budgets: Sequence[Budget], flops: Vector, keys: Sequence[str]) -> Subsamples:
        """Subsamples of networks with these FLOPs, (n,), and keys. The order of the networks changes nothing."""
        largest = float(flops.max())
        within = np.array([flops <= budget.flops(largest) for budget in budgets])
        limits = [Limit(b, b.flops(largest), int(i.sum())) for b, i in zip(budgets, within, strict=True)]
        return cls(tuple(limits), largest, within, _halves(keys))


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The order in which one repetition of a method puts the networks.

    Attributes:
        values: numbers of m networks → what the method says of them beside one another, (m,); NaN: no usable score.
        networks: which of n networks it can be asked about, (n,).
    """

    values: Callable[[NDArray[np.intp]], Vector]
    networks: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Regret:
    """The worth of a method's first choice, by one kind of accuracy, for each budget.

    Attributes:
        lost: how far the accuracy of the network put first is below that of the best one, ≥ 0, in points.
        accuracy: that of the network put first.
        mean: the mean of ``lost`` over the budgets that are judged.
    """

    lost: tuple[Quality, ...]
    accuracy: tuple[Quality, ...]
    mean: Quality


def regrets(rankings: Sequence[Ranking], truths: Mapping[str, Vector], subsamples: Subsamples) -> dict[str, Regret]:
    """Accuracy column → what a method's first choices are worth: means and deviations over halves.

    Args:
        rankings: repetitions of the method; in each half their mean counts.
        truths: column → accuracies of the n networks.
        subsamples: where to choose.
    """
    accuracies = np.stack(list(truths.values()), axis=1)  # (n, columns)
    outcomes = [_outcomes(ranking, accuracies, subsamples) for ranking in rankings]
    first, best = np.mean(outcomes, axis=0)  # (budgets, halves, columns) each; NaN: not judged
    lost = np.maximum(best - first, 0.0)  # a mean of equal numbers may be above them by a rounding error
    return {column: _regret(lost[:, :, i], first[:, :, i]) for i, column in enumerate(truths)}


def references(truths: Mapping[str, Vector], subsamples: Subsamples) -> dict[str, dict[str, Regret]]:
    """Column → regret, of who knows the accuracies and of who knows nothing."""
    every = np.ones(subsamples.within.shape[1], dtype=np.bool_)
    knowing = {
        column: regrets([Ranking(truth.__getitem__, every)], {column: truth}, subsamples)[column]
        for column, truth in truths.items()
    }
    return {BEST: knowing, RANDOM: regrets([Ranking(lambda chosen: np.zeros(len(chosen)), every)], truths, subsamples)}


def _halves(keys: Sequence[str]) -> NDArray[np.bool_]:
    """Which of n networks are in each half, (HALVES, n); that follows from the set of keys alone."""
    order = np.argsort(np.array(keys, dtype=str), kind="stable")
    halves = np.zeros((HALVES, len(keys)), dtype=np.bool_)
    for number, half in enumerate(halves):
        shuffled = np.random.default_rng(seed_from("half", number)).permutation(order)
        half[shuffled[: len(keys) // 2]] = True
    return halves


def _outcomes(ranking: Ranking, accuracies: NDArray[np.float64], subsamples: Subsamples) -> NDArray[np.float64]:
    """Accuracy of the first network and of the best one, (2, budgets, halves, columns).

    NaN in the halves of a budget with too few networks, and in a half without any.
    """
    shape = (2, len(subsamples.within), len(subsamples.halves), accuracies.shape[1])
    outcomes = np.full(shape, np.nan)
    for b, within in enumerate(subsamples.within & ranking.networks):
        if within.sum() < LEAST:
            continue
        for h, half in enumerate(subsamples.halves):
            chosen = np.flatnonzero(within & half)
            if len(chosen):
                there = accuracies[chosen]
                outcomes[0, b, h] = accuracy_of_first(ranking.values(chosen), there)
                outcomes[1, b, h] = there.max(axis=0)
    return outcomes


def _regret(lost: NDArray[np.float64], first: NDArray[np.float64]) -> Regret:
    """The summary of what is lost and reached in each half, (budgets, halves) each; NaN: not judged."""
    judged = lost[np.isfinite(lost).any(axis=1)]
    mean = judged.mean(axis=0) if len(judged) else np.empty(0)
    return Regret(tuple(map(_quality, lost)), tuple(map(_quality, first)), _quality(mean))


def _quality(values: Vector) -> Quality:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Quality(math.nan, math.nan)
    return Quality(float(finite.mean()), float(finite.std(ddof=1)) if len(finite) > 1 else math.nan)
