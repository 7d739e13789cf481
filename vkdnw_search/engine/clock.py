"""When a run must end before it is done: because its user wants it to, or because its time is over."""

from __future__ import annotations

import time
from collections.abc import Callable

INTERRUPTED = "interrupted"


class Interrupted(Exception):
    """The run must end before what it was at is done; the same command goes on from there."""


class Clock:
    """The time of a run, over all its sessions.

    Args:
        limit: seconds that the run may take; None: as long as it needs.
        before: seconds that earlier sessions took.
        stopped: True once the user wants the run to end.
    """

    def __init__(self, limit: float | None, *, before: float, stopped: Callable[[], bool]) -> None:
        self._limit, self._stopped = limit, stopped
        self._started = time.monotonic() - before

    def seconds(self) -> float:
        """Seconds the run has taken so far."""
        return time.monotonic() - self._started

    def stop_reason(self, *, reserve: float = 0.0) -> str | None:
        """Why nothing more may be begun, in words; None while it may.

        Args:
            reserve: seconds of the limit that are kept for later; at most half of it is.
        """
        if self._stopped():
            return INTERRUPTED
        if self._limit is not None and self.seconds() >= self._limit - min(reserve, self._limit / 2):
            return f"the {self._limit:g} seconds asked for are over"
        return None

    def is_over(self) -> bool:
        """Whether nothing more may be begun."""
        return self.stop_reason() is not None

    def is_interrupted(self) -> bool:
        """Whether the user wants the run to end."""
        return self._stopped()

    def check_interruption(self) -> None:
        """Raise Interrupted if the user wants the run to end."""
        if self._stopped():
            raise Interrupted(INTERRUPTED)

    def check(self) -> None:
        """Raise Interrupted if nothing more may be begun."""
        if reason := self.stop_reason():
            raise Interrupted(reason)
