"""Latency: had from its source once for each kind of part at a grid of widths, and added up for a candidate.

The time of a part is about linear in each of its widths, so between the widths of the grid it is interpolated, and a
candidate costs a look-up for each of its parts. What it leaves out is the same for all candidates or nearly so:
additions of shortcuts, and weights that a whole network does not find in the cache; a correction fitted to whole
networks takes in most of that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from itertools import product
from statistics import median
from typing import Any, Generic

from torch import nn

from vkdnw_search.contracts import A, HasParts, LatencySource, Make, SearchSpace, TimesNetworks, input_shape_of
from vkdnw_search.cost.correction import Correction, fitted
from vkdnw_search.errors import BudgetError, LatencyUnknown
from vkdnw_search.latencies.pytorch import TorchLatency
from vkdnw_search.records import Part, Timing

__all__ = ["LatencyTable", "measured"]

NARROWEST = 8
"""The width below which every width is measured itself; from here on the grid has the powers of two."""

MEMO = 2**16
"""Number of interpolated parts that are remembered."""

Keep = Callable[[str], None]


def measured(model: nn.Module, input_shape: Sequence[int]) -> float:
    """Measure the median seconds of a forward pass for one input, on one thread of the CPU, after a warm-up.

    Args:
        model: is put in evaluation mode.
        input_shape: of one input without the batch, e.g. (3, 224, 224).
    """
    return TorchLatency().of(model, input_shape).seconds


class LatencyTable(Generic[A]):
    """A table of the latencies of parts, from which the seconds of any candidate of a search space follow.

    Args:
        space: if it has ``parts``, their times are interpolated and added; otherwise each network is timed whole.
        source: where times come from; by default PyTorch on this machine.
        text: a table that was kept before, from the same source.
        keep: called with the table as text whenever a time came in.

    Raises:
        BudgetError: ``text`` is no such table.
    """

    def __init__(
        self,
        space: SearchSpace[A],
        source: LatencySource | None = None,
        *,
        text: str | None = None,
        keep: Keep = lambda text: None,
    ) -> None:
        self._space, self._keep = space, keep
        self.source: LatencySource = source or TorchLatency()
        whole = isinstance(self.source, TimesNetworks) and self.source.whole
        self._parts = space.parts if isinstance(space, HasParts) and not whole else None
        self._timings, self.correction = ({}, None) if text is None else _read(text)
        self._unknown: dict[str, str] = {}
        self._interpolated = lru_cache(MEMO)(self._interpolate)

    def seconds(self, architecture: A) -> float:
        """The latency of one candidate, timed or interpolated.

        Raises:
            LatencyUnknown: the source cannot tell that of one of its parts. It is not asked again.
        """
        if self._parts is None:
            return self.whole(architecture)
        total = self.sum(architecture)
        return total if self.correction is None else self.correction(total)

    def microseconds(self, architecture: A) -> int | None:
        """The same as a whole number of microseconds; None where the source cannot tell it."""
        try:
            return round(1e6 * self.seconds(architecture))
        except LatencyUnknown:
            return None

    def fault(self, architecture: A) -> str:
        """Why the source cannot tell the latency of a candidate; empty where it can."""
        try:
            self.seconds(architecture)
        except LatencyUnknown as error:
            return str(error)
        return ""

    def sum(self, architecture: A) -> float:
        """The seconds of the parts of one candidate, added up without a correction."""
        assert self._parts is not None, "a space without parts is timed whole"
        parts = self._parts(architecture)
        return self._kept(lambda: sum(self._interpolated(part) for part in parts))

    def whole(self, architecture: A) -> float:
        """The seconds of a network that is timed whole."""
        return self._kept(lambda: self._at(architecture.key, self._making_whole(architecture)))

    def other(self, key: str, name: str, make: Make) -> float:
        """The seconds of a network that need not be of the space, timed whole.

        Args:
            key: by which the timing is kept, another for another network.
            name: by which the source is asked.
            make: makes the network with the shape of its input.

        Raises:
            LatencyUnknown: the source cannot tell it.
        """
        return self._kept(lambda: self._at(key, make, name))

    def correct(self, architectures: Iterable[A]) -> None:
        """Fit the sums of parts to these networks, timed whole, and keep the correction.

        Those whose latency the source cannot tell are left out.

        Raises:
            ValueError: too few are left, or the whole networks do not take longer as their parts do.
        """
        pairs = []
        for architecture in architectures:
            try:
                pairs.append((self.sum(architecture), self.whole(architecture)))
            except LatencyUnknown:
                continue
        self.correction = fitted([total for total, _ in pairs], [whole for _, whole in pairs])
        self._keep(self.text())

    def modules(self, architecture: A) -> dict[str, Make]:
        """Name → what makes it, of everything that the source is asked for where this candidate's latency is."""
        if self._parts is None:
            return {architecture.key: self._making_whole(architecture)}
        nodes = (
            (p, tuple(w for w, _ in c)) for p in self._parts(architecture) for c in product(*map(_around, p.widths))
        )
        return {_name(part, widths): _making(part, widths) for part, widths in nodes}

    @property
    def spread(self) -> float:
        """The median of the spreads of all timings so far."""
        return median(t.spread for t in self._timings.values()) if self._timings else 0.0

    @property
    def timed(self) -> int:
        """The number of timings so far."""
        return len(self._timings)

    def text(self) -> str:
        """The whole table, in the form that the constructor takes as ``text``."""
        timings = {name: [t.seconds, t.spread] for name, t in self._timings.items()}
        correction = None if self.correction is None else asdict(self.correction)
        return json.dumps({"timings": timings, "correction": correction})

    def _interpolate(self, part: Part) -> float:
        """The seconds of ``part``, interpolated between the nodes around its widths: linear in each width."""
        return math.fsum(
            math.prod(share for _, share in corner) * self._node(part, tuple(width for width, _ in corner))
            for corner in product(*map(_around, part.widths))
        )

    def _making_whole(self, architecture: A) -> Make:
        return lambda: (self._space.build(architecture), input_shape_of(self._space, architecture))

    def _node(self, part: Part, widths: tuple[int, ...]) -> float:
        return self._at(_name(part, widths), _making(part, widths))

    def _kept(self, find: Callable[[], float]) -> float:
        """What ``find`` gives; new timings are kept, also where it fails."""
        before = len(self._timings)
        try:
            return find()
        finally:
            if len(self._timings) > before:
                self._keep(self.text())

    def _at(self, key: str, make: Make, name: str | None = None) -> float:
        """The seconds kept under ``key``, by which the source is asked unless it knows the module by a ``name``."""
        if key in self._unknown:
            raise LatencyUnknown(self._unknown[key])
        if key not in self._timings:
            try:
                self._timings[key] = self.source.timing(name or key, make)
            except LatencyUnknown as error:
                self._unknown[key] = f"{name or key}: {error}"
                raise LatencyUnknown(self._unknown[key]) from error
        return self._timings[key].seconds


def _name(part: Part, widths: tuple[int, ...]) -> str:
    return f"{part.kind!r} {widths!r}"


def _making(part: Part, widths: tuple[int, ...]) -> Make:
    return lambda: part.make(*widths)


def _around(width: int) -> list[tuple[int, float]]:
    """The two widths of the grid beside ``width``, each with its weight in the interpolation."""
    low = 2 ** (width.bit_length() - 1)
    if width < NARROWEST or low == width:
        return [(width, 1.0)]
    share = (width - low) / low
    return [(low, 1 - share), (2 * low, share)]


def _read(text: str) -> tuple[dict[str, Timing], Correction | None]:
    """Timings and correction of a text; one from before there were either holds the seconds of each part alone."""
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BudgetError(f"latency table of the run: must be as it was written, but is no JSON: {error}") from error
    try:
        if not isinstance(content, Mapping):
            raise TypeError("it is no mapping")
        if not isinstance(content.get("timings"), Mapping):
            return {name: Timing(_number(seconds)) for name, seconds in content.items()}, None
        timings = {name: Timing(*map(_number, timing)) for name, timing in content["timings"].items()}
        correction = content.get("correction")
        return timings, None if correction is None else Correction(**correction)
    except (TypeError, ValueError) as error:
        raise BudgetError(
            f"latency table of the run: must be as it was written, seconds of each part, but is not: {error}"
        ) from error


def _number(value: object) -> float:
    if not isinstance(value, float):
        raise TypeError(f"{value!r} must be a number of seconds")
    return value
