"""What a person sees of a search while it runs: a bar on a terminal, a line a minute elsewhere, and its steps."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Self

from tqdm import tqdm

from vkdnw_search.cost.limits import Limits
from vkdnw_search.records import Evaluation

STEPS = "vkdnw_search.run"
"""The logger that tells the steps of a search."""

SPACING = 60.0
"""Seconds from one line to the next where no bar can be shown."""


class Progress:
    """A bar on stderr: candidates of how many, best score, its share of each limit, share feasible, time left.

    Where there is no terminal for a bar, a line a minute says the same.

    Args:
        total: number of candidates, at most.
        limits: on what they cost.
        shown: whether bar and lines are shown.
        steps: whether what the search is at is shown, a line each, and a line a minute.
        listener: called with each candidate, too.
        now: tells the seconds.
    """

    def __init__(
        self,
        total: int,
        limits: Limits,
        *,
        shown: bool,
        steps: bool,
        listener: Callable[[Evaluation], None] = lambda evaluation: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._limits, self._listener, self._now = total, limits, listener, now
        self._steps = _Steps() if steps else logging.Filter()
        self._bar: tqdm[Any] = tqdm(
            total=total, unit=" networks", disable=None if shown else True, dynamic_ncols=True, file=sys.stderr
        )
        self._lines = shown and steps and self._bar.disable
        self._visited = self._feasible = 0
        self._best: Evaluation | None = None
        self._told = (now(), 0)

    def __enter__(self) -> Self:
        logger = logging.getLogger(STEPS)
        self._level = logger.level
        if isinstance(self._steps, _Steps):
            logger.setLevel(logging.INFO)
        logger.addFilter(self._steps)
        return self

    def __exit__(self, *_: object) -> None:
        logger = logging.getLogger(STEPS)
        logger.removeFilter(self._steps)
        logger.setLevel(self._level)
        self._bar.close()

    def update(self, evaluation: Evaluation) -> None:
        """Take one more candidate into account."""
        self._visited += 1
        self._feasible += evaluation.status.is_feasible
        if evaluation.status.has_score and _value(evaluation) > _value(self._best):
            self._best = evaluation
        if not self._bar.disable:
            self._bar.set_postfix_str(self._summary(), refresh=False)
            self._bar.update()
        elif self._lines:
            self._line()
        self._listener(evaluation)

    def _line(self) -> None:
        """Write where the search is, if a minute has gone by since the last line."""
        (then, before), now = self._told, self._now()
        if now - then >= SPACING:
            left = (self._total - self._visited) * (now - then) / (self._visited - before)
            rest = f"about {left / 60:.0f} min left" if left >= SPACING else "less than a minute left"
            sys.stderr.write(f"{self._visited} of {self._total} candidates, {self._summary()}, {rest}\n")
            self._told = now, self._visited

    def _summary(self) -> str:
        feasible = f"feasible {self._feasible / self._visited:.0%}"
        if self._best is None:
            return feasible
        used = self._limits.used(self._best.cost)
        shares = [f"{share:.0%} of {name}" for name, share in used.items()]
        size = ", ".join(shares) or f"{quantity(self._best.cost.flops)}FLOPs"
        value = _value(self._best)
        return f"best {f'{value:.3f}' if abs(value) < 1e5 else f'{value:.6g}'} at {size}, {feasible}"


class _Steps(logging.Filter):
    """Shows what is logged, above the bar, and lets through what would have been logged without."""

    def filter(self, record: logging.LogRecord) -> bool:
        tqdm.write(record.getMessage(), file=sys.stderr)
        above = logging.getLogger(STEPS).parent
        return above is None or record.levelno >= above.getEffectiveLevel()


def _value(evaluation: Evaluation | None) -> float:
    return float("-inf") if evaluation is None or evaluation.score is None else evaluation.score.value


def quantity(value: float) -> str:
    """Three to four digits and a unit: ``"598.2 M"``."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:g} "
