"""The timing of one call: after a warm-up, the median of as many runs as it takes to be long enough."""

from __future__ import annotations

from collections.abc import Callable
from statistics import quantiles
from time import perf_counter

from vkdnw_search.records import Timing

__all__ = ["timed"]

WARM_UP, LEAST_RUNS, MOST_RUNS = 3, 11, 101
LONG_ENOUGH = 0.005
"""Seconds of measuring after which ``LEAST_RUNS`` runs will do."""


def timed(run: Callable[[], object], *, clock: Callable[[], float] = perf_counter) -> Timing:
    """The median time of ``run`` and its spread, the distance of the quartiles over the median, after a warm-up."""
    for _ in range(WARM_UP):
        run()
    runs: list[float] = []
    while len(runs) < MOST_RUNS and (len(runs) < LEAST_RUNS or sum(runs) < LONG_ENOUGH):
        started = clock()
        run()
        runs.append(clock() - started)
    lower, middle, upper = quantiles(runs, n=4, method="inclusive")
    return Timing(middle, (upper - lower) / middle if middle else 0.0)
