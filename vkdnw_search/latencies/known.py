"""Latencies that are known from before and no others, for reading a run whose source is not at hand."""

from __future__ import annotations

from vkdnw_search.contracts import Make
from vkdnw_search.errors import LatencyUnknown
from vkdnw_search.records import Timing

__all__ = ["KnownAlone"]


class KnownAlone:
    """Tells nothing that was not kept with the run."""

    def timing(self, name: str, make: Make) -> Timing:
        """Raise LatencyUnknown."""
        raise LatencyUnknown("was not timed in the run")
