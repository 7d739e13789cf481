"""Compare a ranking by scores with the accuracies: Kendall's τ, Spearman's ρ, nDCG, regret, precision, the first.

Everywhere ``scores`` and ``accuracies`` are two sequences of the same n ≥ 2 networks in the same order, and higher
is better in both. The rules that all metrics share:

* A score of −inf or NaN means "no usable score". It takes the value of the smallest finite score, as in the
  published evaluation; +inf is an error. Accuracies must be finite.
* Networks with equal scores are not told apart: a metric that depends on their order is its mean over all orders of
  the tied networks, each equally likely. So no metric depends on the order of the input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from vkdnw_search.errors import RankingError

__all__ = ["Quality", "accuracy_of_first", "kendall", "ndcg_at", "precision_at", "regret_at", "spearman"]

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Quality:
    """A metric's mean and standard deviation over repetitions; the latter NaN for one, both for none."""

    mean: float
    deviation: float


def kendall(scores: ArrayLike, accuracies: ArrayLike) -> float:
    """Kendall's τ-b in [−1, 1]; NaN if all scores or all accuracies are equal, for then there is no order.

    τ-b = (concordant − discordant pairs) / √((pairs not tied in score) (pairs not tied in accuracy)), Kendall 1945.
    """
    s, a = _checked(scores, accuracies)
    return float("nan") if _constant(s) or _constant(a) else float(stats.kendalltau(s, a, variant="b").statistic)


def spearman(scores: ArrayLike, accuracies: ArrayLike) -> float:
    """Spearman's ρ in [−1, 1], the correlation of average ranks; NaN if all scores or all accuracies are equal."""
    s, a = _checked(scores, accuracies)
    return float("nan") if _constant(s) or _constant(a) else float(stats.spearmanr(s, a).statistic)


def ndcg_at(scores: ArrayLike, accuracies: ArrayLike, *, P: int = 1000) -> float:
    """Normalised discounted cumulative gain of the P best-scored networks, in [0, 1].

    nDCG_P = (1/Z) Σ_{j≤P} (2^{acc_{k_j}} − 1) / log₂(1 + j), with k_j the network in place j by the score, accuracies
    in percent, and Z the same sum in the order of the accuracies (VKDNW, arXiv 2502.04975). Where all accuracies are
    0 every order is ideal, and the value is 1. ``P`` above n counts all networks.

    The gains 2^acc − 1 are divided by 2^max(acc), which cancels in the ratio, so no accuracy can overflow. Most of
    the sum is decided by the few most accurate networks: 1 percent point of accuracy doubles the gain.

    Raises:
        RankingError: for negative accuracies, which have no gain, or P < 1.
    """
    s, a = _checked(scores, accuracies)
    if a.min() < 0:
        raise RankingError(f"nDCG, accuracies: must be percents, at least 0, but the smallest is {a.min():g}")
    if P < 1:
        raise RankingError(f"nDCG, P: must be at least 1, but is {P}")
    gains = np.exp2(a - a.max()) - np.exp2(-a.max())  # (n,): (2^acc − 1) / 2^max
    place = np.arange(1, len(s) + 1)
    discounts = np.where(place <= P, 1 / np.log2(1 + place), 0.0)  # (n,)
    ideal = float(np.sort(gains)[::-1] @ discounts)
    return float(gains @ _mean_over_ties(s, discounts)) / ideal if ideal > 0 else 1.0


def regret_at(scores: ArrayLike, accuracies: ArrayLike, *, k: int = 1) -> float:
    """Accuracy lost by training only the k best-scored networks: best accuracy of all − best among those k, ≥ 0.

    In the unit of the accuracies. Raises RankingError unless 1 ≤ k ≤ n.
    """
    s, a = _checked(scores, accuracies)
    chosen, tied, places = _top(s, k)
    best = float(a[chosen].max(initial=-np.inf))
    candidates = np.sort(a[tied])[::-1]  # (t,): of these, `places` are drawn without replacement
    expected, left = 0.0, 1.0  # left: probability that none of the better candidates was drawn
    for i, accuracy in enumerate(candidates):
        if left <= 0:
            break
        drawn = left * places / (len(candidates) - i)
        expected += drawn * max(best, float(accuracy))
        left -= drawn
    return max(float(a.max()) - expected, 0.0)


def accuracy_of_first(scores: Vector, accuracies: NDArray[np.float64]) -> Vector:
    """Accuracies of the network with the highest score, of each kind; networks that share that score have their mean.

    For a choice that is made thousands of times: nothing is checked. Unlike in the other metrics a network without a
    usable score is not chosen as long as there is one with a score. Where there is none, any network is as good as
    another.

    Args:
        scores: (n,), n ≥ 1.
        accuracies: (n, kinds).

    Returns:
        Shape (kinds,).
    """
    usable = np.isfinite(scores)
    if not usable.any():
        return np.asarray(accuracies.mean(axis=0))
    return np.asarray(accuracies[scores == scores[usable].max()].mean(axis=0))


def precision_at(scores: ArrayLike, accuracies: ArrayLike, *, k: int) -> float:
    """Share of the k best-scored networks that are among the k most accurate, in [0, 1].

    Networks as accurate as the k-th most accurate one all count. Raises RankingError unless 1 ≤ k ≤ n.
    """
    s, a = _checked(scores, accuracies)
    chosen, tied, places = _top(s, k)
    relevant = a >= np.sort(a)[-k]  # (n,)
    return float(relevant[chosen].sum() + places * relevant[tied].mean()) / k


def _checked(scores: ArrayLike, accuracies: ArrayLike) -> tuple[Vector, Vector]:
    """Both as float64 vectors, unusable scores replaced. Shapes (n,), (n,)."""
    s, a = np.array(scores, dtype=np.float64), np.array(accuracies, dtype=np.float64)
    if s.ndim != 1 or s.shape != a.shape or len(s) < 2:
        raise RankingError(
            f"ranking: scores and accuracies must be two sequences of equal length, at least 2, but have shapes "
            f"{s.shape} and {a.shape}"
        )
    if not np.isfinite(a).all():
        where = int(np.flatnonzero(~np.isfinite(a))[0])
        raise RankingError(f"ranking: accuracies must be finite, but number {where} is {a[where]}; leave it out")
    if np.isposinf(s).any():
        where = int(np.flatnonzero(np.isposinf(s))[0])
        raise RankingError(f"ranking: a score must be finite, −inf or NaN, but number {where} is inf")
    usable = np.isfinite(s)
    s[~usable] = s[usable].min() if usable.any() else 0.0
    return s, a


def _constant(values: Vector) -> bool:
    return bool((values == values[0]).all())


def _mean_over_ties(scores: Vector, by_place: Vector) -> Vector:
    """For each network the mean of ``by_place`` over the places its tie group takes, best score first. Shape (n,)."""
    _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    sums = np.add.reduceat(by_place, ends - sizes)
    means: Vector = (sums / sizes)[group]
    return means


def _top(scores: Vector, k: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_], int]:
    """Who is surely among the k best, who is tied with the k-th, and how many places the tied share (≥ 1)."""
    if not 1 <= k <= len(scores):
        raise RankingError(f"ranking, k: must be from 1 to the number of networks, {len(scores)}, but is {k}")
    threshold = np.sort(scores)[-k]
    chosen = scores > threshold
    return chosen, scores == threshold, k - int(chosen.sum())
