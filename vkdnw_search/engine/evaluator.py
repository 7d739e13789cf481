"""Genome → Evaluation: what it costs, whether that fits the limits, and how it scores. Each architecture once."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Self

from vkdnw_search.contracts import (
    AnyProxy,
    Architecture,
    Band,
    HasRelativeFitness,
    HasUpperBound,
    LatencyContext,
    LatencySource,
    Problem,
    SearchSpace,
)
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.cost.latency import Keep, LatencyTable
from vkdnw_search.cost.limits import Limits, Range
from vkdnw_search.determinism import seed_from
from vkdnw_search.engine.latency_survey import must_be_known, survey
from vkdnw_search.engine.tasks import Outcome, Task
from vkdnw_search.errors import ExecutionError
from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.records import Cost, Evaluation, Genome, Score, Status

MEMO = 2**16
"""Number of genomes whose cost is remembered between proposing and evaluating them."""

ROUNDING = 1e-9
"""Share by which a score may exceed its upper bound, since sums are rounded."""


class Evaluator:
    """Evaluates the candidates of one run.

    Args:
        space: the search space.
        limits: a candidate outside is recorded, never scored.
        proxy: the score; a session replaces it by a careful one where a fast way is wrong (see Audit).
        seed: of the run. All candidates are scored on the same random numbers, so that chance favours none of them
            (common random numbers; Glasserman and Yao 1992, doi 10.1287/mnsc.38.6.884).
        latency: the source of the latencies that a limit asks for; by default PyTorch on this machine.

    Raises:
        LatencyError: the source knows beforehand that it lacks what the candidates need.
    """

    def __init__(
        self,
        space: SearchSpace[Architecture],
        *,
        limits: Limits,
        proxy: AnyProxy,
        seed: int,
        latency: LatencySource | None = None,
    ) -> None:
        self.space, self.limits, self.proxy, self.seed = space, limits, proxy, seed
        self._counter = CostCounter(space, limits, LatencyTable(space, latency))
        if self._counter.latencies is not None:
            must_be_known(self._counter.latencies, space, seed)
        self._seen = lru_cache(MEMO)(self._see)

    def survey(self, text: str | None, keep: Keep, *, stopped: Callable[[], bool] = lambda: False) -> str:
        """Where a limit asks for latencies, have those that random candidates need, before workers load the machine.

        Args:
            text: latencies of an earlier session, which are not had again.
            keep: called with all latencies whenever some came in, now or later.
            stopped: asked between networks; once it is True, the survey ends.

        Returns:
            What came of it, in words; empty where no limit asks for latencies.
        """
        if self._counter.latencies is None:
            return ""
        source = self._counter.latencies.source
        self._counter.latencies = table = LatencyTable(self.space, source, text=text, keep=keep)
        return survey(table, self.space, self.limits, self.seed, stopped=stopped)

    @property
    def latencies(self) -> LatencyTable[Architecture] | None:
        """The latencies known so far; None where no limit asks for any."""
        return self._counter.latencies

    def with_proxy(self, proxy: AnyProxy) -> Self:
        """An evaluator of the same candidates by another proxy. Both count, and measure, each candidate once."""
        other = copy.copy(self)
        other.proxy = proxy
        return other

    def key(self, genome: Genome) -> str:
        """The canonical key of the architecture of ``genome``."""
        return self._seen(genome)[0]

    def violation(self, genome: Genome) -> float:
        """The amount by which ``genome`` is outside the limits; 0 if it is within."""
        return self._seen(genome)[2]

    def problem(self, edges: Sequence[int] = ()) -> Problem:
        """The problem as an optimizer sees it. Bands of FLOPs end at ``edges``, ascending; without edges there is
        one band.
        """
        return Problem(self.space, self.key, self.violation, self.seed, self._bands(edges), self.may_reach)

    def may_reach(self, genome: Genome, threshold: Callable[[Cost], float]) -> bool:
        """Whether ``genome`` may score ``threshold(cost)``, as far as its upper bound tells."""
        cost = self._seen(genome)[1]
        return self._upper_bound(cost) >= threshold(cost)

    def _bands(self, edges: Sequence[int]) -> tuple[Band, ...]:
        starts = (self.limits.flops.minimum, *(edge + 1 for edge in edges[:-1]))
        ranges = (Range(start, edge) for start, edge in zip(starts, edges, strict=False))
        limits = (replace(self.limits, flops=flops) for flops in ranges)
        return tuple(Band(edge, partial(self._outside, own)) for edge, own in zip(edges, limits, strict=True))

    def _outside(self, limits: Limits, genome: Genome) -> float:
        return limits.violation(self._seen(genome)[1])

    def prepare(
        self, genome: Genome, *, number: int, generation: int, threshold: Callable[[Cost], float]
    ) -> Evaluation | None:
        """The evaluation of a candidate that needs no score, or None for one that does.

        Args:
            threshold: a candidate of that cost whose upper bound is below need not be scored (see HasThreshold).
        """
        key, cost, violation = self._seen(genome)
        if violation > 0:
            reason = self.limits.reason(cost) + self._why_unknown(genome, cost)
            return Evaluation(number, generation, genome, key, cost, violation, Status.INFEASIBLE, reason)
        bound, least = self._upper_bound(cost), threshold(cost)
        if bound >= least:
            return None
        reason = f"scores at most {bound:.4f}, below the {least:.4f} it takes to matter"
        return Evaluation(number, generation, genome, key, cost, 0.0, Status.BOUNDED, reason, Score(bound))

    def _why_unknown(self, genome: Genome, cost: Cost) -> str:
        """Why a latency is not known, to stand behind the words that it is not; empty where it is known."""
        table = self._counter.latencies
        unknown = table is not None and cost.latency is None
        return f": {table.fault(self.space.decode(genome))}" if table and unknown else ""

    def _upper_bound(self, cost: Cost) -> float:
        if isinstance(self.proxy, HasUpperBound) and not isinstance(self.proxy, HasRelativeFitness):
            return self.proxy.upper_bound(cost)
        return math.inf

    def task(self, genome: Genome) -> Task:
        """The task of scoring ``genome``."""
        key, cost, _ = self._seen(genome)
        return Task(self.space, self.proxy, genome, key, cost, seed_from(self.seed, "score"))

    def conclude(self, outcome: Outcome, genome: Genome, *, number: int, generation: int) -> Evaluation:
        """The evaluation of a candidate that was scored.

        Raises:
            ExecutionError: the score is above its own upper bound: the proxy, or the code of a worker, is wrong.
        """
        key, cost, _ = self._seen(genome)
        if outcome.score is not None:
            self._check_bound(key, outcome.score.value, self._upper_bound(cost))
        plain = Evaluation(number, generation, genome, key, cost, 0.0, Status.FAILED, outcome.reason)
        return plain if outcome.score is None else replace(plain, status=Status.SCORED, score=outcome.score)

    def _check_bound(self, key: str, value: float, bound: float) -> None:
        if value > bound + ROUNDING * abs(bound):
            raise ExecutionError(
                f"scoring {key} with {type(self.proxy).__name__}: must give at most its upper_bound {bound:.6f}, but "
                f"gives {value:.6f}. Mend the proxy, or the code that workers run if that is another"
            )

    def _see(self, genome: Genome) -> tuple[str, Cost, float]:
        architecture = self.space.decode(genome)
        cost = self._counter.cost(architecture)
        return architecture.key, cost, self.limits.violation(cost)


def limits_of(recipe: Recipe) -> Limits:
    """The limits of a run; FLOPs above its last band are of no use to it either."""
    ranges = {name: getattr(recipe.limits, name) for name in type(recipe.limits).model_fields}
    limits = Limits(**{name: Range(r.least, r.max) for name, r in ranges.items() if r is not None})
    return replace(limits, flops=Range(limits.flops.minimum, recipe.bands[-1])) if recipe.bands else limits


def source_of(recipe: Recipe, context: LatencyContext) -> LatencySource | None:
    """The recipe's source of latencies; None where no limit asks for latencies.

    Raises:
        RecipeError: its options do not go together, or ``context`` lacks what it takes.
    """
    return None if recipe.limits.latency is None else recipe.build_latency(context)
