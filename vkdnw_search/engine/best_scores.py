"""The best so far, in whatever the end of a run asks for: what a candidate must score to matter there."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Sequence

from vkdnw_search.records import Cost, Evaluation


class BestScores:
    """The ``count`` highest scores, of all candidates or of each band.

    Args:
        count: how many of the best matter, such as the number of finalists; at least the winner does.
        bands: upper end of each band, ascending; the best of every band matter. Empty: one band for all.
        of: the field of :class:`Cost` that the bands are ranges of.
    """

    def __init__(self, count: int, bands: Sequence[int] = (), of: str = "flops") -> None:
        self._count = max(count, 1)
        self._bands, self._of = list(bands), of
        self._best: list[list[float]] = [[] for _ in range(len(self._bands) + 1)]  # heaps

    def add(self, evaluations: Sequence[Evaluation]) -> None:
        """Take the scored ones of ``evaluations`` into account."""
        for evaluation in evaluations:
            if evaluation.status.has_score and evaluation.score is not None:
                heap = self._heap(evaluation.cost)
                heapq.heappush(heap, evaluation.score.value)
                if len(heap) > self._count:
                    heapq.heappop(heap)

    def least(self, cost: Cost) -> float:
        """The least score that is among the best at this cost; −inf while there are fewer than ``count``."""
        heap = self._heap(cost)
        return heap[0] if len(heap) == self._count else -math.inf

    def _heap(self, cost: Cost) -> list[float]:
        return self._best[bisect_left(self._bands, getattr(cost, self._of))]
