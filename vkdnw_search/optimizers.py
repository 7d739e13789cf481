"""Propose genomes and learn from their scores: evolution, aging evolution, random search, score against FLOPs.

Nothing here is ever pickled: the same tells, or a state in plain data, bring any of these optimizers back.
"""

# mypy: disallow-subclassing-any=False
# (pymoo ships no types)
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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

from vkdnw_search.breeding import Tournament
from vkdnw_search.contracts import Problem
from vkdnw_search.evolving import Evolves
from vkdnw_search.records import Evaluation, Genome
from vkdnw_search.turns import Children, CrossoverShare, Moves, RepairTries, Survivors, TakesTurns

__all__ = ["AgingEvolution", "Evolution", "FrontPoint", "Nsga2", "RandomSearch"]

ROOM = 10_000
"""Scored candidates that are kept before those which others beat are dropped."""


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


class Evolution(Evolves):
    """Evolution in which the best of parents and children survive: pymoo's GA with μ + λ survival.

    Parents win a tournament of two, are mixed gene by gene or copied, and every child is mutated.
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
        super().__init__(
            problem,
            GA,
            population=population,
            children=children,
            selection=Tournament(2),
            crossover=UX(prob=crossover),
            moves=moves,
            repair_tries=repair_tries,
        )
        self._population = population

    def threshold(self) -> float:
        """The least score in the population, if it is full of scored candidates: nothing below survives.

        −inf once fitness was changed by ``refit``.
        """
        members = self._members()
        full = len(members) == self._population and all(member.data["status"] == "scored" for member in members)
        if not full or self._fitness:
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


class AgingEvolution(Evolves):
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


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A candidate that none beats in both score and FLOPs.

    Attributes:
        number: of its evaluation.
        key: canonical key of its architecture.
        value: score, higher is better.
        flops: of the whole network.
    """

    number: int
    key: str
    value: float
    flops: int


class Nsga2(Evolves):
    """Score against FLOPs: NSGA-II (Deb et al. 2002, doi 10.1109/4235.996017), for the whole front at once."""

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
        self._scored: list[FrontPoint] = []
        self._room = ROOM

    def front(self) -> list[FrontPoint]:
        """Of all candidates ever scored those that none beats, from the fewest FLOPs to the most.

        Each scores more than the one before; of equals only the first found is there.
        """
        points = [replace(point, value=self._fitness.get(point.key, point.value)) for point in self._scored]
        front: list[FrontPoint] = []
        for point in sorted(points, key=lambda point: (point.flops, -point.value, point.number)):
            if point.value > (front[-1].value if front else -math.inf):
                front.append(point)
        return front

    def state(self) -> dict[str, Any]:
        """As of all evolving optimizers, and whether fitness changes."""
        return {**super().state(), "refitted": bool(self._fitness)}

    def restore(self, state: Mapping[str, Any], told: Iterable[Evaluation]) -> None:
        """Be as the optimizer that gave ``state`` after ``told``, all evaluations from the first on."""
        super().restore(state, (self._recorded(e, refitted=bool(state["refitted"])) for e in told))

    def _learn(self, evaluations: Sequence[Evaluation]) -> None:
        super()._learn(evaluations)
        for evaluation in evaluations:
            self._recorded(evaluation, refitted=bool(self._fitness))

    def _recorded(self, evaluation: Evaluation, *, refitted: bool) -> Evaluation:
        """Keep what may be on the front: all that is scored where fitness changes, else only what none beats so far."""
        if evaluation.status == "scored" and evaluation.score is not None:
            number, flops = evaluation.number, evaluation.cost.flops
            self._scored.append(FrontPoint(number, evaluation.key, evaluation.score.value, flops))
        if not refitted and len(self._scored) > self._room:
            self._scored = self.front()
            self._room = ROOM + 2 * len(self._scored)
        return evaluation
