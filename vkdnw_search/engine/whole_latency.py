"""A would-be winner is timed whole: the latency that it was searched by is a sum of parts, which may flatter it.

Who takes the best of many networks just within a limit also takes those whose sum is too small. So the source of the
run times a network whole, several times, before it may win. That is done while no worker is busy, and what was timed
stays with the run: a later session comes to the same winner.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from statistics import quantiles

from vkdnw_search.contracts import HasNeeds, LatencySource, TimesNetworks
from vkdnw_search.cost.latency import LatencyTable
from vkdnw_search.engine.clock import Clock
from vkdnw_search.engine.evaluator import Evaluator
from vkdnw_search.errors import LatencyUnknown
from vkdnw_search.quantities import amounts
from vkdnw_search.records import Evaluation
from vkdnw_search.runs.judgement import WholeLatency, read_record
from vkdnw_search.runs.notes import read_note
from vkdnw_search.runs.store import Store

LOGGER = logging.getLogger(__name__)

TOLERANCE = 0.05
"""The share by which a network may exceed the limit when it is timed whole: two timings of one network on one machine
may differ by as much."""

TIMINGS, MOST_TIMINGS = 5, 15
"""Number of timings of a network, and of one whose quartiles lie on both sides of what is allowed."""


class WholeLatencies:
    """Tells which networks are too slow when they are timed whole, each timed once in the life of a run folder.

    Nothing is timed where no limit asks for it, nor by a source that knows parts alone, such as a table.

    Args:
        evaluator: of the run, whose source of latencies times them.
        store: where timings are kept.
        clock: when the run must end before it is done.
    """

    def __init__(self, evaluator: Evaluator, store: Store, clock: Clock) -> None:
        self._space, self._limit = evaluator.space, evaluator.limits.latency.maximum
        table = evaluator.latencies
        self._source = table.source if table is not None and _times_networks(table.source) else None
        self._store, self._clock = store, clock
        self._known: dict[int, WholeLatency] = {}
        self._unknown: dict[int, str] = {}

    @property
    def timed(self) -> tuple[WholeLatency, ...]:
        """What was asked for so far, by the numbers of the networks."""
        return tuple(self._known[number] for number in sorted(self._known))

    @property
    def refused(self) -> frozenset[int]:
        """The numbers of the networks that were found too slow, or could not be timed."""
        slow = {number for number, found in self._known.items() if not found.within}
        return frozenset({*slow, *self._unknown})

    def fault(self, candidate: Evaluation) -> str:
        """Why a candidate is too slow, in words; empty if it is not. A latency that is not known is too long.

        Raises:
            Interrupted: the run must end. The timings so far are kept.
            RunFolderError: what is kept of it is damaged.
        """
        if self._limit is None or self._source is None:
            return ""
        number = candidate.number
        if number not in self._known and number not in self._unknown:
            try:
                self._known[number] = _summary(number, self._times(candidate), self._limit)
            except LatencyUnknown as error:
                self._unknown[number] = f"it cannot be timed whole: {error}"
        if number in self._unknown:
            return self._unknown[number]
        found = self._known[number]
        shown, limit = amounts("latency", 1e6 * found.seconds, self._limit)
        return "" if found.within else f"whole it takes {shown}, above the limit {limit}"

    def _times(self, candidate: Evaluation) -> list[float]:
        """The seconds of each timing of ``candidate``, as they were kept, and new ones as long as it takes more."""
        times = read_note(self._store, _note(candidate.key), _seconds) or []
        architecture = self._space.decode(candidate.genome)
        assert self._limit is not None, "nothing is timed without a limit"
        while _takes_more(times, self._limit):
            self._clock.check()
            LOGGER.info("timing network %d whole (%d)", candidate.number, len(times) + 1)
            times.append(LatencyTable(self._space, self._source).whole(architecture))  # a new table remembers nothing
            self._store.set_note(_note(candidate.key), json.dumps(times))
        return times


def _seconds(text: str) -> list[float]:
    """The timings that were kept. Raises ValueError where ``text`` is none."""
    times = read_record(list[float], text)
    if not all(math.isfinite(seconds) and seconds >= 0 for seconds in times):
        raise ValueError(f"seconds must be finite and not negative, but are {times}")
    return times


def _times_networks(source: LatencySource) -> bool:
    return isinstance(source, TimesNetworks) and not isinstance(source, HasNeeds)


def _takes_more(times: Sequence[float], limit: float) -> bool:
    """Whether another timing is needed to tell if a network keeps a limit in microseconds."""
    if len(times) < TIMINGS:
        return True
    lower, _, upper = _quartiles(times)
    return len(times) < MOST_TIMINGS and lower <= _allowed(limit) < upper


def _summary(number: int, times: Sequence[float], limit: float) -> WholeLatency:
    lower, middle, upper = _quartiles(times)
    spread = (upper - lower) / middle if middle else 0.0
    return WholeLatency(number, middle, spread, len(times), within=middle <= _allowed(limit))


def _quartiles(times: Sequence[float]) -> list[float]:
    return quantiles(times, n=4, method="inclusive")


def _allowed(limit: float) -> float:
    """The most seconds of a network that keeps a limit in microseconds."""
    return (1 + TOLERANCE) * limit / 1e6


def _note(key: str) -> str:
    """The name of the note that keeps the timings of a network."""
    return f"seconds of {key}, timed whole"
