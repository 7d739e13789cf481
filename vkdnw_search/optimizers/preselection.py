"""Which of the children bred are asked: those that would score best, by what the run has seen so far.

More children are bred than are scored, and a cheap model picks among them: pre-selection (Emmerich, Giannakoglou &
Naujoks 2006, doi 10.1109/TEVC.2005.859463; Jin 2011, doi 10.1016/j.swevo.2011.05.001).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np

from vkdnw_search.contracts import Problem
from vkdnw_search.optimizers.pymoo_operators import places_within
from vkdnw_search.optimizers.surrogate import predict
from vkdnw_search.records import Evaluation, Genome

__all__ = ["Preselection"]

MEMORY = 512
"""Number of latest scores that count. Half as many predicted the order of children a little worse, more no better."""


class Preselection:
    """Chooses the most promising of several genomes, by a Gaussian process over the latest scores.

    Args:
        problem: what is searched. Where it has bands, each gets an equal share.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._known: deque[Evaluation] = deque(maxlen=MEMORY)

    @property
    def known(self) -> list[int]:
        """The numbers of the evaluations that count."""
        return [evaluation.number for evaluation in self._known]

    def learn(self, evaluations: Sequence[Evaluation]) -> None:
        """Take these evaluations into account, where they have scores."""
        self._known.extend(evaluation for evaluation in evaluations if evaluation.status.has_score)

    def best(self, genomes: Sequence[Genome], count: int, fitness: Mapping[str, float]) -> list[int]:
        """Positions of the ``count`` most promising genomes, ascending: all if there are no more, the first if
        nothing is known.

        Args:
            genomes: may be outside the limits; those that are come last.
            count: how many.
            fitness: key → value in place of the score, where it was changed.
        """
        if len(genomes) <= count or not self._known:
            return list(range(min(count, len(genomes))))
        values = [fitness.get(e.key, math.nan if e.score is None else e.score.value) for e in self._known]
        promise = predict(self._problem.space.genes, [e.genome for e in self._known], values, genomes)
        bands = np.array([self._band(genome) for genome in genomes])
        outside = bands == len(self._problem.bands)  # all are, where there are none: then it orders nothing
        chosen = np.lexsort((-promise, places_within(bands, -promise), outside))[:count]
        return sorted(chosen.tolist())

    def _band(self, genome: Genome) -> int:
        """The number of the band that ``genome`` is in; the number of bands where it is in none."""
        inside = (number for number, band in enumerate(self._problem.bands) if band.violation(genome) <= 0)
        return next(inside, len(self._problem.bands))
