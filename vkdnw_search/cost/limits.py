"""What a candidate may cost: a range for each quantity, and by how much a candidate is outside."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from vkdnw_search.errors import BudgetError
from vkdnw_search.quantities import amounts
from vkdnw_search.records import Cost

__all__ = ["Limits", "Range"]

UNKNOWN = 1.0
"""The violation of a limit by a value that is not known: as if it were twice what it may be."""


@dataclass(frozen=True, slots=True)
class Range:
    """What a quantity may be: ``minimum`` ≤ x ≤ ``maximum``; ``None`` is no bound.

    Raises:
        BudgetError: a bound is not positive, or the minimum is above the maximum.
    """

    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        for name in ("minimum", "maximum"):
            bound = getattr(self, name)
            if bound is not None and not 0 < bound < math.inf:
                raise BudgetError(f"{name}: must be a positive number, but is {bound!r}. Leave it out for no limit")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise BudgetError(f"minimum: must not be above the maximum {self.maximum:g}, but is {self.minimum:g}")

    def violation(self, value: float | None) -> float:
        """The share by which ``value`` is outside: (x − maximum) / maximum, (minimum − x) / minimum, or 0.

        A value that is not known counts as outside by ``UNKNOWN``.
        """
        if value is None:
            return UNKNOWN
        broken = self._broken(value)
        return abs(value - broken[1]) / broken[1] if broken else 0.0

    def reason(self, value: float | None, name: str = "") -> str:
        """How ``value`` is outside, as in "812.3M is above the limit 600M (by 35 %)", or an empty string.

        Args:
            name: of the limit, which its unit follows from.
        """
        if value is None:
            return "is not known"
        broken = self._broken(value)
        if broken is None:
            return ""
        side, bound = broken
        percent = 100 * self.violation(value)
        shown, limit = amounts(name, value, bound)
        return f"{shown} is {side} the limit {limit} (by {percent:{'.0f' if percent >= 10 else '.2g'}} %)"

    def _broken(self, value: float) -> tuple[str, float] | None:
        """The side on which ``value`` is outside, in words, and the bound there."""
        if self.maximum is not None and value > self.maximum:
            return "above", self.maximum
        if self.minimum is not None and value < self.minimum:
            return "below", self.minimum
        return None


ANYTHING = Range()

ON_DEMAND = ("memory", "latency", "int8_size", "int8_memory")
"""Fields of a cost that take longer to find, and are found only where a limit asks for them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Which networks are feasible, by the fields of a cost; by default all."""

    flops: Range = ANYTHING
    macs: Range = ANYTHING
    parameters: Range = ANYTHING
    layers: Range = ANYTHING
    memory: Range = ANYTHING
    latency: Range = ANYTHING
    int8_size: Range = ANYTHING
    int8_memory: Range = ANYTHING

    def without_on_demand(self) -> Limits:
        """The limits but those of ``ON_DEMAND``, for costs that were counted without any limit."""
        return replace(self, **dict.fromkeys(ON_DEMAND, ANYTHING))

    def violation(self, cost: Cost) -> float:
        """The sum over all limits of the share by which each is exceeded; 0 for a feasible network."""
        return sum((limit.violation(value) for _, limit, value in self._each(cost)), 0.0)

    def violations(self, cost: Cost) -> dict[str, float]:
        """Limit → the share by which it is exceeded, for the limits that are."""
        found = {name: limit.violation(value) for name, limit, value in self._each(cost)}
        return {name: share for name, share in found.items() if share > 0}

    def reason(self, cost: Cost) -> str:
        """Every limit that is violated, in words, separated by semicolons; empty for a feasible network."""
        told = ((name, limit.reason(value, name)) for name, limit, value in self._each(cost))
        return "; ".join(f"{name} {why}" for name, why in told if why)

    def used(self, cost: Cost) -> dict[str, float]:
        """Limit → the share of its maximum that ``cost`` takes, for the limits that have one."""
        each = ((name, limit.maximum, value) for name, limit, value in self._each(cost))
        return {name: value / most for name, most, value in each if most is not None and value is not None}

    def _each(self, cost: Cost) -> Iterator[tuple[str, Range, int | None]]:
        """The limits that bound anything, with their names."""
        for field in fields(self):
            limit = getattr(self, field.name)
            if limit != ANYTHING:
                yield field.name, limit, getattr(cost, field.name)
