"""A linear correction of summed latencies: what lies between the parts of a network is about proportional, or fixed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["LEAST", "Correction", "fitted"]

LEAST = 4
"""Number of whole networks below which a line is not fitted."""

NEGLIGIBLE = 0.05
"""The share of the median latency below which a network is left out of a fit. A runtime leaves out what the outputs do
not depend on, all of a cell without a path through it, and relative errors of what is left, next to nothing, would
decide the fit."""


@dataclass(frozen=True, slots=True)
class Correction:
    """The latency of a whole network as offset + factor · Σ parts.

    Attributes:
        offset: in seconds.
        factor: positive.
        networks: number of whole networks it was fitted to.
        error: mean relative error for one of these, left out of the fit.
        rank: Spearman's ρ of sums and whole networks; NaN where either is constant.
    """

    offset: float
    factor: float
    networks: int
    error: float
    rank: float

    def __post_init__(self) -> None:
        finite = math.isfinite(self.offset) and math.isfinite(self.error)
        if not (finite and 0 < self.factor < math.inf and self.networks >= LEAST):
            raise ValueError(f"a correction must grow with the parts, but is {self}")

    def __call__(self, seconds: float) -> float:
        """The seconds of a network whose parts take so many."""
        return max(self.offset + self.factor * seconds, 0.0)

    def __str__(self) -> str:
        rank = "" if math.isnan(self.rank) else f", ρ {self.rank:.3f}"
        return (
            f"{1000 * self.offset:.3g} ms + {self.factor:.3g} Σ parts, fitted to {self.networks} whole networks: mean "
            f"error {self.error:.1%} (each left out of its fit){rank}"
        )


def fitted(sums: Sequence[float], wholes: Sequence[float]) -> Correction:
    """The correction that minimises Σ ((offset + factor · sum − whole) / whole)², the squared relative errors.

    Networks that take next to no time are left out.

    Args:
        sums: seconds of the parts of each network, added up.
        wholes: seconds of the same networks, timed whole.

    Raises:
        ValueError: there are fewer than ``LEAST``, or the whole networks do not take longer as their parts do.
    """
    x, y = np.array(sums, dtype=float), np.array(wholes, dtype=float)
    counted = y > NEGLIGIBLE * np.median(y) if len(y) else y > 0
    x, y = x[counted], y[counted]
    if len(x) < LEAST:
        raise ValueError(
            f"a correction takes at least {LEAST} whole networks, each with a time, but there are {len(x)}"
        )
    offset, factor = _line(x, y)
    others = (np.arange(len(x)) != place for place in range(len(x)))
    lines = [_line(x[kept], y[kept]) for kept in others]
    errors = [abs(a + b * x[i] - y[i]) / y[i] for i, (a, b) in enumerate(lines)]
    return Correction(offset, factor, len(x), float(np.mean(errors)), _rank_correlation(x, y))


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Offset and factor by least squares, each row divided by y."""
    rows = np.stack([1 / y, x / y], axis=1)  # (n, 2)
    (offset, factor), *_ = np.linalg.lstsq(rows, np.ones(len(y)), rcond=None)
    return float(offset), float(factor)


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    from scipy.stats import spearmanr  # a second to import

    return float(spearmanr(x, y).statistic) if len(set(x)) > 1 and len(set(y)) > 1 else math.nan
