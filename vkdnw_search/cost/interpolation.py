"""Whole numbers that are linear in each of several widths: known everywhere from the corners of a box."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from itertools import product
from operator import mul

import numpy as np

from vkdnw_search.errors import BudgetError

__all__ = ["CORNERS", "Counts", "Multilinear"]

CORNERS = (8, 16)
"""The two values of each width that a kind of part is measured at: small, so fast; divisible by usual group sizes."""

Counts = tuple[int, ...]


class Multilinear:
    """Functions that are linear in each of n widths and take given values at the 2ⁿ corners of ``CORNERS``.

    A count is Σ c_S Π_{i ∈ S} w_i over all subsets S of the widths. On one axis with values a, b at l, h:
    (h − l) · f(w) = (h·a − l·b) + (b − a)·w, so coefficients times ``scale`` = (h − l)ⁿ are whole numbers; what they
    have in common is divided out, which mostly leaves a scale of 1.
    """

    def __init__(self, kind: Hashable, corners: Sequence[Counts]) -> None:
        low, high = CORNERS
        n = len(corners).bit_length() - 1
        table = np.array(corners, dtype=object).reshape((2,) * n + (-1,))  # an axis for each width, then the counts
        for axis in range(n):
            a, b = np.moveaxis(table, axis, 0)
            table = np.stack([high * a - low * b, b - a], axis)
        common = math.gcd((high - low) ** n, *table.flat)
        self.kind = kind
        self.scale = (high - low) ** n // common
        rows: list[list[int]] = (table // common).reshape(2**n, -1).T.tolist()  # (counts, 2ⁿ)
        self.coefficients = [row if any(row[1:]) else row[:1] for row in rows]  # half of the counts are constant

    def __call__(self, widths: tuple[int, ...]) -> Counts:
        """The counts at ``widths``."""
        monomials = [1]
        for width in widths:
            monomials = [m * power for m in monomials for power in (1, width)]
        scaled = [sum(map(mul, row, monomials)) for row in self.coefficients]
        if self.scale == 1:
            return tuple(scaled)
        if any(value % self.scale for value in scaled):
            raise BudgetError(f"part {self.kind}: counts must be whole numbers, but at widths {widths} they are not")
        return tuple(value // self.scale for value in scaled)

    @classmethod
    def fitted(
        cls, kind: Hashable, widths: tuple[int, ...], measure: Callable[[tuple[int, ...]], Counts]
    ) -> Multilinear | None:
        """The functions through what ``measure`` gives at the corners; None if ``measure`` differs from them at
        ``widths``.
        """
        corners = [measure(corner) for corner in product(CORNERS, repeat=len(widths))]
        formula = cls(kind, corners) if len(set(map(len, corners))) == 1 else None
        return formula if formula is not None and formula(widths) == measure(widths) else None
