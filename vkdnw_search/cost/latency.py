"""Latency on this machine: measured once for each kind of part at a grid of widths, and added up for a candidate.

The time of a part is about linear in each of its widths, so between the widths of the grid it is interpolated, and a
candidate costs a look-up for each of its parts. What it leaves out is the same for all candidates or nearly so:
additions of shortcuts, and weights that a whole network does not find in the cache.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from statistics import median
from time import perf_counter
from typing import Any, Generic

import torch
from torch import nn

from vkdnw_search.contracts import A, HasParts, SearchSpace
from vkdnw_search.determinism import forked_generators, one_thread
from vkdnw_search.errors import BudgetError
from vkdnw_search.records import Part

__all__ = ["LatencyTable", "measured"]

NARROWEST = 8
"""The width below which every width is measured itself; from here on the grid has the powers of two."""

WARM_UP, LEAST_RUNS, MOST_RUNS = 3, 11, 101
LONG_ENOUGH = 0.005
"""Seconds of measuring after which ``LEAST_RUNS`` runs will do."""

MEMO = 2**16
"""Number of interpolated parts that are remembered."""

Keep = Callable[[str], None]


def measured(model: nn.Module, input_shape: Sequence[int]) -> float:
    """Measure the median seconds of a forward pass for one input, on one thread of the CPU, after a warm-up.

    Args:
        model: is put in evaluation mode.
        input_shape: of one input without the batch, e.g. (3, 224, 224).
    """
    with one_thread(), forked_generators(), torch.inference_mode():
        return _median(model.eval(), torch.zeros(1, *input_shape))


def _median(model: nn.Module, x: torch.Tensor) -> float:
    for _ in range(WARM_UP):
        model(x)
    runs: list[float] = []
    while len(runs) < MOST_RUNS and (len(runs) < LEAST_RUNS or sum(runs) < LONG_ENOUGH):
        started = perf_counter()
        model(x)
        runs.append(perf_counter() - started)
    return median(runs)


class LatencyTable(Generic[A]):
    """A table of the latencies of parts, from which the seconds of any candidate of a search space follow.

    Args:
        space: if it has ``parts``, their times are interpolated and added; otherwise each network is measured whole.
        text: a table that was kept before, on this machine.
        keep: called with the table as text whenever something was measured.

    Raises:
        BudgetError: ``text`` is no such table.
    """

    def __init__(self, space: SearchSpace[A], *, text: str | None = None, keep: Keep = lambda text: None) -> None:
        self._space, self._keep = space, keep
        self._parts = space.parts if isinstance(space, HasParts) else None
        self._seconds = {} if text is None else _read(text)
        self._interpolated = lru_cache(MEMO)(self._interpolate)

    def seconds(self, architecture: A) -> float:
        """The latency of one candidate, measured or interpolated."""
        before = len(self._seconds)
        if self._parts is None:
            total = self._at(architecture.key, lambda: (self._space.build(architecture), self._space.input_shape))
        else:
            total = sum(self._interpolated(part) for part in self._parts(architecture))
        if len(self._seconds) > before:
            self._keep(self.text())
        return total

    def text(self) -> str:
        """The whole table, in the form that the constructor takes as ``text``."""
        return json.dumps(self._seconds)

    def _interpolate(self, part: Part) -> float:
        """The seconds of ``part``, interpolated between the nodes around its widths: linear in each width."""
        return math.fsum(
            math.prod(share for _, share in corner) * self._node(part, tuple(width for width, _ in corner))
            for corner in product(*map(_around, part.widths))
        )

    def _node(self, part: Part, widths: tuple[int, ...]) -> float:
        return self._at(f"{part.kind!r} {widths!r}", lambda: part.make(*widths))

    def _at(self, name: str, make: Callable[[], tuple[nn.Module, Sequence[int]]]) -> float:
        if name not in self._seconds:
            with forked_generators():  # building draws weights
                self._seconds[name] = measured(*make())
        return self._seconds[name]


def _around(width: int) -> list[tuple[int, float]]:
    """The two widths of the grid beside ``width``, each with its weight in the interpolation."""
    low = 2 ** (width.bit_length() - 1)
    if width < NARROWEST or low == width:
        return [(width, 1.0)]
    share = (width - low) / low
    return [(low, 1 - share), (2 * low, share)]


def _read(text: str) -> dict[str, float]:
    try:
        table: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BudgetError(f"latency table of the run: must be as it was written, but is no JSON: {error}") from error
    usable = isinstance(table, Mapping) and all(
        isinstance(value, float) and math.isfinite(value) and value >= 0 for value in table.values()
    )
    if not usable:
        raise BudgetError("latency table of the run: must be as it was written, seconds of each part, but is not")
    return dict(table)
