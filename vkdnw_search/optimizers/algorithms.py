"""Propose genomes and learn from their scores: evolution, aging evolution, random search, score against FLOPs.

Nothing here is ever pickled: the same tells, or a state in plain data, bring any of these optimizers back.
"""

# mypy: disallow-subclassing-any=False
# (pymoo ships no types)
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

from annotated_types import Interval
from pymoo.algorithms.base.genetic import GeneticAlgorithm
from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.crossover import Crossover
from pymoo.core.population import Population
from pymoo.operators.crossover.ux import UX
from pymoo.operators.selection.tournament import TournamentSelection
from pymoo.util.optimum import filter_optimum

from vkdnw_search.contracts import Problem
from vkdnw_search.optimizers.ask_tell import (
    AskTellOptimizer,
    Children,
    CrossoverShare,
    Initial,
    Moves,
    Proposals,
    RepairTries,
    Survivors,
)
from vkdnw_search.optimizers.pymoo_operators import Niches, Tournament
from vkdnw_search.optimizers.pymoo_optimizer import PymooOptimizer
from vkdnw_search.options import strict_options
from vkdnw_search.records import Cost, Evaluation, Genome

__all__ = ["AgingEvolution", "Evolution", "Nsga2", "RandomSearch"]


PROPOSALS = 4
"""Number of children bred for each that is asked, where bands share the candidates."""


@strict_options()
class RandomSearch(AskTellOptimizer):
    """Random candidates without replacement: the baseline any search has to beat."""

    def __init__(self, problem: Problem, *, children: Children = 32, repair_tries: RepairTries = 200) -> None:
        super().__init__(problem, repair_tries=repair_tries)
        self._children = children

    def threshold(self, cost: Cost) -> float:
        """The threshold is infinite: no score changes what is drawn next."""
        return math.inf

    def _propose(self) -> list[Genome]:
        return self._opening(self._children)

    def _learn(self, evaluations: Sequence[Evaluation]) -> None:
        pass


@strict_options()
class Evolution(PymooOptimizer):
    """Evolution in which the best of parents and children survive: pymoo's GA with μ + λ survival.

    Parents win a tournament of two, are mixed gene by gene or copied, and every child is mutated; one whose upper bound
    is below the last survivor is not asked. Where the recipe has bands, each keeps an equal share of the population,
    every child is brought into one of them, and of four children the one is asked that resembles good ones most, of all
    bands (:mod:`vkdnw_search.optimizers.preselection`). A small population finds sooner: in NAS-Bench-201, 32 with 16
    children needed half as many candidates as 64 with 32 (tests/benchmarks/search_quality.py).
    """

    def __init__(
        self,
        problem: Problem,
        *,
        population: Survivors = 32,
        children: Children = 16,
        crossover: CrossoverShare = 0.9,
        moves: Moves = 1.0,
        repair_tries: RepairTries = 200,
        proposals: Proposals = None,
        initial: Initial = None,
    ) -> None:
        if proposals is None:
            proposals = PROPOSALS if problem.bands else 1
        bands = max(1, len(problem.bands))
        self._survivors = max(2, population // bands)  # of each band
        self._niches = niches = Niches(problem.bands, self._survivors)
        super().__init__(
            problem,
            GA,
            population=self._survivors * bands,
            children=children,
            selection=Tournament(2, niches),
            crossover=UX(prob=crossover),
            moves=moves,
            repair_tries=repair_tries,
            proposals=proposals,
            initial=initial,
            survival=niches,
        )

    def threshold(self, cost: Cost) -> float:
        """The least score among the survivors (of its band, where there are bands), if all are scored and none is
        missing: nothing below survives. −inf once fitness was changed by ``refit``.
        """
        members = self._niches.members(self._members(), cost)
        full = len(members) == self._survivors and all(member.data["status"].has_score for member in members)
        if not full or self._fitness:
            return -math.inf
        return min(float(member.data["value"]) for member in members)


class _KeepNewest(GeneticAlgorithm):
    """A pymoo algorithm with survival by age; its optimum is the best candidate ever, which may have died."""

    pop: Any
    opt: Any

    def _advance(self, infills: Any = None, **_: Any) -> None:
        self.pop = Population.merge(self.pop, infills)[-self.pop_size :]

    def _set_optimum(self) -> None:
        self.opt = filter_optimum(Population.merge(self.opt, self.off), least_infeasible=True)


@strict_options()
class AgingEvolution(PymooOptimizer):
    """Regularized evolution: the oldest die, whatever their score (Real et al. 2019, arXiv 1802.01548, algorithm 1).

    A parent is the best of ``sample`` members drawn with replacement, a child its mutation. Here ``children`` are
    born at once, so that they can be scored in parallel; the paper's is ``children=1``.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        population: Survivors = 100,
        sample: Annotated[int, Interval(ge=1, le=100_000), "members among which the best becomes a parent"] = 25,
        children: Children = 16,
        moves: Moves = 1.0,
        repair_tries: RepairTries = 200,
    ) -> None:
        super().__init__(
            problem,
            _KeepNewest,
            population=population,
            children=children,
            selection=Tournament(sample),
            crossover=Crossover(1, 1, prob=0.0),  # copies; pymoo's NoCrossover hands out the parents themselves
            moves=moves,
            repair_tries=repair_tries,
        )

    def _opening(self, count: int) -> list[Genome]:
        """As of any optimizer; but random ones make room for those that were given, which would die first of all."""
        return super()._opening(max(count - len(self._given), 0))


@strict_options()
class Nsga2(PymooOptimizer):
    """Score against FLOPs: NSGA-II (Deb et al. 2002, doi 10.1109/4235.996017) for the whole Pareto front at once.

    ``Result.front`` is the Pareto front of all candidates ever scored.
    """

    _objectives = 2

    def __init__(
        self,
        problem: Problem,
        *,
        population: Survivors = 64,
        children: Children = 32,
        crossover: CrossoverShare = 0.9,
        moves: Moves = 1.0,
        repair_tries: RepairTries = 200,
    ) -> None:
        super().__init__(
            problem,
            NSGA2,
            population=population,
            children=children,
            selection=TournamentSelection(func_comp=binary_tournament),
            crossover=UX(prob=crossover),
            moves=moves,
            repair_tries=repair_tries,
        )
