"""Cells and lines of the Markdown tables of a study."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vkdnw_search.ranking.metrics import Quality

__all__ = ["line", "number", "with_spread"]


def with_spread(quality: Quality, form: str) -> str:
    """A mean ± its standard deviation where that is known, both in this form; a dash for no mean."""
    spread = "" if math.isnan(quality.deviation) else f" ± {form.format(quality.deviation)}"
    return number(quality.mean, form) + spread


def number(value: float, form: str) -> str:
    """A number in this form; a dash for NaN."""
    return "–" if math.isnan(value) else form.format(value)


def line(cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"
