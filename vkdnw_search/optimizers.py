"""Propose genomes and learn from their scores: evolution, aging evolution, random search, score against FLOPs.

pymoo selects, crosses over and decides who survives; this file takes turns with the search and translates. Nothing
here is ever pickled: the same tells bring any of these optimizers back to the same state.
"""

# mypy: disallow-subclassing-any=False
# (pymoo ships no types)
from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from pymoo.algorithms.base.genetic import GeneticAlgorithm
from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.config import Config
from pymoo.core.crossover import Crossover
from pymoo.core.population import Population
from pymoo.core.problem import Problem as PymooProblem
from pymoo.core.selection import Selection
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.ux import UX
from pymoo.operators.selection.tournament import TournamentSelection
from pymoo.util.optimum import filter_optimum

from vkdnw_search.breeding import Breeding, Niches, RandomSampling, Tournament, genomes_of
from vkdnw_search.contracts import Problem
from vkdnw_search.records import Evaluation, Genome
from vkdnw_search.seeding import seed_from
from vkdnw_search.turns import Children, CrossoverShare, Moves, RepairTries, Survivors, TakesTurns

__all__ = ["AgingEvolution", "Evolution", "Nsga2", "RandomSearch"]

FAILED = 1.0
"""Violation of a candidate within the limits but without a usable score: as bad as a limit exceeded twofold."""


class RandomSearch(TakesTurns):
    """Random candidates without replacement: the baseline any search has to beat."""

    def __init__(self, problem: Problem, *, children: Children = 32, repair_tries: RepairTries = 200) -> None:
        super().__init__(problem, repair_tries=repair_tries)
        self._children = children

    def threshold(self) -> float:
        """Infinite: no score changes what is drawn next."""
        return math.inf

    def _propose(self) -> list[Genome]:
        return self._unseen.draw(self._children)

    def _learn(self, evaluations: Sequence[Evaluation]) -> None:
        pass


class _Evolves(TakesTurns):
    """A pymoo algorithm behind ask and tell."""

    _objectives = 1

    def __init__(
        self,
        problem: Problem,
        algorithm: type[GeneticAlgorithm],
        *,
        population: int,
        children: int,
        selection: Selection,
        crossover: Crossover,
        moves: float,
        repair_tries: int,
        **options: Any,
    ) -> None:
        super().__init__(problem, repair_tries=repair_tries)
        Config.warnings["not_compiled"] = False  # pymoo would print it on stdout
        breeding = Breeding(
            problem, self._unseen, selection=selection, crossover=crossover, moves=moves, repair_tries=repair_tries
        )
        self._algorithm = algorithm(
            pop_size=population,
            n_offsprings=children,
            sampling=RandomSampling(self._unseen),
            mating=breeding,
            eliminate_duplicates=False,  # Unseen and Breeding do it, against the whole history
            **options,
        )
        genes = problem.space.genes
        last = np.array([len(gene.choices) - 1 for gene in genes])
        self._algorithm.setup(
            PymooProblem(n_var=len(genes), n_obj=self._objectives, n_ieq_constr=1, xl=0 * last, xu=last, vtype=int),
            termination=NoTermination(),
            seed=seed_from(problem.seed, "optimizer", type(self).__name__),
        )
        self._offspring = Population.empty()
        self._fitness: Mapping[str, float] = {}

    def survivors(self) -> list[str]:
        """Keys of the present population."""
        return [member.data["key"] for member in self._members()]

    def refit(self, values: Mapping[str, float]) -> None:
        """Take over changed fitness, key → value, for the population and for what the next ``tell`` brings."""
        self._fitness = values
        for member in self._members():
            if member.data["key"] in values:
                self._fit(member, values[member.data["key"]])

    def _members(self) -> Sequence[Any]:
        return () if self._algorithm.pop is None else self._algorithm.pop

    def _propose(self) -> list[Genome]:
        offspring = self._algorithm.ask()
        self._offspring = Population.empty() if offspring is None else offspring  # None: nothing new is left
        return genomes_of(self._offspring)

    def _learn(self, evaluations: Sequence[Evaluation]) -> None:
        told = self._offspring[: len(evaluations)]
        for member, evaluation in zip(told, evaluations, strict=True):
            score = evaluation.score.value if evaluation.score is not None else math.nan
            usable = evaluation.status in ("scored", "bounded")
            member.data.update(key=evaluation.key, flops=evaluation.cost.flops, status=evaluation.status)
            value = self._fitness.get(evaluation.key, score) if usable else math.nan
            self._fit(member, value, evaluation.violation)
        self._algorithm.tell(infills=told)

    def _fit(self, member: Any, value: float, violation: float = 0.0) -> None:
        """Give a pymoo individual its objectives and its constraint, all finite; pymoo minimises."""
        member.data["value"] = value
        if math.isfinite(value):
            excess = 0.0
        else:
            value, excess = 0.0, min(violation, sys.float_info.max) if violation > 0 else FAILED
        member.F = np.array([-value, member.data["flops"]], dtype=float)[: self._objectives]
        member.G = member.CV = np.array([excess])


class Evolution(_Evolves):
    """Evolution in which the best of parents and children survive: pymoo's GA with μ + λ survival.

    Parents win a tournament of two, are mixed gene by gene or copied, and every child is mutated. Where the recipe has
    bands, each keeps a share of the population, and every child is brought into one of them.
    """

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
        niches = Niches([band.at_most for band in problem.bands])
        super().__init__(
            problem,
            GA,
            population=population,
            children=children,
            selection=Tournament(2, niches),
            crossover=UX(prob=crossover),
            moves=moves,
            repair_tries=repair_tries,
            survival=niches,
        )
        self._population, self._banded = population, bool(problem.bands)

    def threshold(self) -> float:
        """The least score in the population, if it is full of scored candidates: nothing below survives.

        −inf once fitness was changed by ``refit``, and with bands.
        """
        members = self._members()
        full = len(members) == self._population and all(member.data["status"] == "scored" for member in members)
        if not full or self._fitness or self._banded:
            return -math.inf
        return min(float(member.data["value"]) for member in members)


class _KeepNewest(GeneticAlgorithm):
    """Survival by age, as a pymoo algorithm; its optimum is the best ever, which may have died."""

    pop: Any
    opt: Any

    def _advance(self, infills: Any = None, **_: Any) -> None:
        self.pop = Population.merge(self.pop, infills)[-self.pop_size :]

    def _set_optimum(self) -> None:
        self.opt = filter_optimum(Population.merge(self.opt, self.off), least_infeasible=True)


class AgingEvolution(_Evolves):
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


class Nsga2(_Evolves):
    """Score against FLOPs: NSGA-II (Deb et al. 2002, doi 10.1109/4235.996017), for the whole front at once.

    ``Result.front`` is that of all candidates ever scored.
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
