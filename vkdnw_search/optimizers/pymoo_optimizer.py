"""A pymoo algorithm behind ask and tell.

pymoo selects, crosses over and decides who survives; this file takes turns with the search and translates.
"""

# mypy: disallow-subclassing-any=False
# (pymoo ships no types)
from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pymoo.algorithms.base.genetic import GeneticAlgorithm
from pymoo.config import Config
from pymoo.core.crossover import Crossover
from pymoo.core.population import Population
from pymoo.core.problem import Problem as PymooProblem
from pymoo.core.selection import Selection
from pymoo.core.termination import NoTermination

from vkdnw_search.contracts import Problem
from vkdnw_search.determinism import seed_from
from vkdnw_search.optimizers.ask_tell import AskTellOptimizer
from vkdnw_search.optimizers.preselection import Preselection
from vkdnw_search.optimizers.pymoo_operators import Breeding, FirstCandidates, genomes_of
from vkdnw_search.records import Cost, Evaluation, Genome

__all__ = ["PymooOptimizer"]

BROOD = 2
"""Number of children bred at a time, so that the first of a generation are scored while the others are bred."""

FAILED = 1.0
"""Violation of a candidate within the limits but without a usable score: as bad as a limit exceeded twofold."""


class PymooOptimizer(AskTellOptimizer):
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
        proposals: int = 1,
        initial: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(problem, repair_tries=repair_tries)
        Config.warnings["not_compiled"] = False  # pymoo would print it on stdout
        self._preselection = preselection = Preselection(problem)
        self._may_reach = problem.may_reach
        self._children = children
        self._brood = BROOD if proposals == 1 else children  # pre-selection compares all of a generation
        breeding = Breeding(
            problem,
            self._unseen,
            hopeful=self._hopeful,
            selection=selection,
            crossover=crossover,
            moves=moves,
            repair_tries=repair_tries,
            proposals=proposals,
            best=lambda genomes, count: preselection.best(genomes, count, self._fitness),
        )
        self._algorithm = algorithm(
            pop_size=population,
            n_offsprings=self._brood,
            sampling=FirstCandidates(self._opening, count=initial or population),
            mating=breeding,
            eliminate_duplicates=False,  # UnvisitedSampler and Breeding do it, against the whole history
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
        """The keys of the present population."""
        return [member.data["key"] for member in self._members()]

    def threshold(self, cost: Cost) -> float:
        """The threshold is −inf: any score may change what is asked."""
        return -math.inf

    def refit(self, values: Mapping[str, float]) -> None:
        """Take over changed fitness, key → value, for the population and for what the next ``tell`` brings."""
        self._fitness = values
        for member in self._members():
            if member.data["key"] in values:
                self._fit(member, values[member.data["key"]])

    def state(self) -> dict[str, Any]:
        """What the next asks depend on besides the evaluations told, as plain data.

        A survivor is the number of its evaluation, with rank and crowding distance where survival has set them.
        """
        survivors = [
            (member.data["number"], *(_plain(member.get(name)) for name in ("rank", "crowding")))
            for member in self._members()
        ]
        random = self._algorithm.random_state.bit_generator.state
        known = self._preselection.known
        return {**super().state(), "random": random, "survivors": survivors, "known": known}

    def restore(self, state: Mapping[str, Any], told: Iterable[Evaluation]) -> None:
        """Become the optimizer that gave ``state`` once it had been told ``told``, all evaluations from the first
        on.
        """
        survivors: list[tuple[int, int | None, float | None]] = state["survivors"]
        chosen = dict[int, Evaluation]()
        known: list[int] = state.get("known", [])  # not there in snapshots of earlier versions
        super().restore(state, _noted(told, {*known, *(number for number, *_ in survivors)}, chosen))
        self._preselection.learn([chosen[number] for number in known])
        members = Population.new(X=np.array([chosen[number].genome for number, *_ in survivors]))
        for member, (number, rank, crowding) in zip(members, survivors, strict=True):
            self._judge(member, chosen[number])
            member.data.update(rank=rank, crowding=crowding)
        self._algorithm.pop, self._algorithm.n_iter, self._algorithm.is_initialized = members, 1, True
        self._algorithm.random_state.bit_generator.state = state["random"]

    def _members(self) -> Population:
        return Population.empty() if self._algorithm.pop is None else self._algorithm.pop

    def _propose(self) -> Iterator[Genome]:
        self._offspring = Population.empty()
        while (left := self._children - len(self._offspring)) > 0:
            self._algorithm.n_offsprings = brood = min(self._brood, left)
            bred = self._algorithm.ask()  # the first time, a whole population
            if bred is None:  # nothing new is left
                return
            self._offspring = Population.merge(self._offspring, bred)
            yield from genomes_of(bred)
            if len(bred) < brood or not self._algorithm.is_initialized:
                return

    def _learn(self, evaluations: Sequence[Evaluation]) -> None:
        # ignore candidates that may be skipped, so that skipping them cannot change what is asked
        self._preselection.learn([e for e in evaluations if self._hopeful(e.genome)])
        told = self._offspring[: len(evaluations)]
        for member, evaluation in zip(told, evaluations, strict=True):
            self._judge(member, evaluation)
        self._algorithm.tell(infills=told)
        if len(self._members()) > self._algorithm.pop_size:  # the first generation, which pymoo keeps whole
            self._algorithm._advance()

    def _hopeful(self, genome: Genome) -> bool:
        """Whether the genome may survive, as far as its upper bound tells."""
        return self._may_reach(genome, self.threshold)

    def _judge(self, member: Any, evaluation: Evaluation) -> None:
        """Tell a pymoo individual what came of it."""
        score = evaluation.score.value if evaluation.score is not None else math.nan
        usable = evaluation.status.is_usable
        number, key, cost = evaluation.number, evaluation.key, evaluation.cost
        member.data.update(number=number, key=key, cost=cost, status=evaluation.status)
        self._fit(member, self._fitness.get(key, score) if usable else math.nan, evaluation.violation)

    def _fit(self, member: Any, value: float, violation: float = 0.0) -> None:
        """Give a pymoo individual its objectives and its constraint, all finite; pymoo minimises."""
        member.data["value"] = value
        if math.isfinite(value):
            excess = 0.0
        else:
            value, excess = 0.0, min(violation, sys.float_info.max) if violation > 0 else FAILED
        member.F = np.array([-value, member.data["cost"].flops], dtype=float)[: self._objectives]
        member.G = member.CV = np.array([excess])


def _plain(value: Any) -> Any:
    """A NumPy number as a Python number; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def _noted(told: Iterable[Evaluation], numbers: set[int], chosen: dict[int, Evaluation]) -> Iterator[Evaluation]:
    """Yield all evaluations of ``told``, and put those with the given numbers into ``chosen`` as they pass."""
    for evaluation in told:
        if evaluation.number in numbers:
            chosen[evaluation.number] = evaluation
        yield evaluation
