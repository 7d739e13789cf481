"""FLOPs budgets, as shares of the largest network of a study or as numbers: ``35%``, ``150M``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vkdnw_search.errors import RankingError
from vkdnw_search.quantities import compact, suggestion, whole

__all__ = ["Budget", "read_budgets"]

SMALLEST = 1000
"""FLOPs. No network has fewer, so that a smaller number is meant as percents."""


@dataclass(frozen=True, slots=True)
class Budget:
    """At most so many FLOPs.

    Attributes:
        amount: FLOPs, or percent of the largest FLOPs of the networks that are ranked.
        is_share: whether it is in percent.

    Raises:
        RankingError: a share is not above 0 % and at most 100 %, a number is below a thousand.
    """

    amount: float
    is_share: bool = False

    def __post_init__(self) -> None:
        low, high = (0.0, 100.0) if self.is_share else (SMALLEST, math.inf)
        if not (low <= self.amount <= high and 0 < self.amount < math.inf):
            raise RankingError(_wrong(f"{self.amount:g}{'%' * self.is_share}"))

    def __str__(self) -> str:
        return f"{self.amount:g}%" if self.is_share else compact(self.amount)

    def flops(self, largest: float) -> float:
        """The most FLOPs within the budget, ``largest`` being those of the largest network."""
        return largest * self.amount / 100 if self.is_share else self.amount


def read_budgets(text: str) -> tuple[Budget, ...]:
    """Budgets separated by commas, in this order, each once.

    Raises:
        RankingError: one is not of the form ``35%`` or ``150M``.

    >>> [str(budget) for budget in read_budgets("25%,150M,25.0%,2e8")]
    ['25%', '150M', '200M']
    """
    return tuple(dict.fromkeys(_budget(part.strip()) for part in text.split(",")))


def _budget(text: str) -> Budget:
    share = text.endswith("%")
    number = whole(text)
    try:
        amount = float(number if isinstance(number, int) else text.removesuffix("%"))
    except ValueError:
        raise RankingError(_wrong(text)) from None
    return Budget(amount, is_share=share)


def _wrong(text: str) -> str:
    nearly = f"{text}%" if text.isdecimal() and 0 < int(text) <= 100 else suggestion(text)
    return (
        "budgets: must be shares of the largest FLOPs such as 35%, or FLOPs such as 150M, separated by commas, but one "
        f"is {text!r}.{f' Did you mean {nearly!r}?' if nearly and nearly != text else ''}"
    )
