"""The operators as pymoo calls them, and children that were never asked before. Genomes go in and out as arrays."""

# mypy: disallow-subclassing-any=False
# (pymoo ships no types)
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mating import Mating
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.repair import Repair
from pymoo.core.sampling import Sampling
from pymoo.core.selection import Selection
from pymoo.core.survival import Survival

from vkdnw_search.contracts import HasMutation, Problem
from vkdnw_search.operators import mutate, repair
from vkdnw_search.records import Genome
from vkdnw_search.unseen import Unseen

__all__ = ["Breeding", "Niches", "RandomSampling", "Tournament", "genomes_of"]

MATINGS = 25
"""Rounds of mating for one generation; where they leave it incomplete, immigrants fill it."""


class RandomSampling(Sampling):
    """pymoo's door to :meth:`Unseen.draw`."""

    def __init__(self, unseen: Unseen) -> None:
        super().__init__()
        self._unseen = unseen

    def _do(self, problem: Any, n_samples: int, **_: Any) -> Any:
        return np.array(self._unseen.draw(n_samples))


class Niches(Survival):
    """Those of each band survive that are the best of it, as many of each as there are; as a pymoo survival.

    Args:
        edges: most FLOPs of each band, ascending; none: the best of all survive.
    """

    def __init__(self, edges: Sequence[int]) -> None:
        super().__init__(filter_infeasible=True)
        self._edges = np.array(edges)

    def places(self, pop: Population) -> Any:
        """Each member's place within its band by its objective, 0 for the best, equals alike. Shape (members,)."""
        objective = pop.get("F")[:, 0]
        if not len(self._edges):
            return objective
        flops = np.array([member.data["flops"] for member in pop])
        band = np.searchsorted(self._edges, flops)
        return ((band[:, None] == band) & (objective < objective[:, None])).sum(axis=1)

    def _do(self, problem: Any, pop: Population, *args: Any, n_survive: int | None = None, **kwargs: Any) -> Population:
        return pop[np.lexsort((pop.get("F")[:, 0], self.places(pop)))[:n_survive]]


class Tournament(Selection):
    """Each parent is the best of ``size`` members drawn with replacement; equals are ordered at random.

    With niches a member is as good as its place within its own.
    """

    def __init__(self, size: int, niches: Niches | None = None) -> None:
        super().__init__()
        self._size = size
        self._niches = niches or Niches(())

    def _do(self, problem: Any, pop: Population, n_select: int, n_parents: int, *, random_state: Any, **_: Any) -> Any:
        order = np.lexsort((random_state.random(len(pop)), self._niches.places(pop), pop.get("CV")[:, 0]))
        places = random_state.integers(len(pop), size=(n_select, n_parents, self._size))
        return order[places.min(axis=-1)]  # (n_select, n_parents)


class Breeding(Mating):
    """Children never asked before: selection, crossover, mutation, repair; random immigrants where these run out.

    Args:
        problem: whose space mutates, by its own ``mutate`` if it has one, else by :func:`mutate`.
        unseen: which genomes are new, and where immigrants come from.
        selection: pymoo's.
        crossover: pymoo's.
        moves: genes changed by the general mutation, on average.
        repair_tries: violations a repair may count.
    """

    def __init__(
        self,
        problem: Problem,
        unseen: Unseen,
        *,
        selection: Selection,
        crossover: Crossover,
        moves: float,
        repair_tries: int,
    ) -> None:
        space = problem.space
        mutation = space.mutate if isinstance(space, HasMutation) else partial(mutate, genes=space.genes, moves=moves)
        super().__init__(
            selection,
            crossover,
            _Mutation(mutation),
            repair=_Repair(problem, repair_tries),
            eliminate_duplicates=_OnlyNew(unseen),
            n_max_iterations=MATINGS,
        )
        self._unseen = unseen

    def do(self, problem: Any, pop: Population, n_offsprings: int, **kwargs: Any) -> Population:
        """``n_offsprings`` children; fewer when the space is exhausted."""
        children = super().do(problem, pop, n_offsprings, **kwargs)
        immigrants = self._unseen.draw(n_offsprings - len(children), besides=genomes_of(children))
        return Population.merge(children, Population.new(X=np.array(immigrants))) if immigrants else children


class _Mutation(Mutation):
    def __init__(self, change: Callable[[Genome, np.random.Generator], Genome]) -> None:
        super().__init__()
        self._change = change

    def _do(self, problem: Any, X: Any, *, random_state: Any, **_: Any) -> Any:
        return np.array([self._change(tuple(x), random_state) for x in X.tolist()])


class _Repair(Repair):
    def __init__(self, problem: Problem, tries: int) -> None:
        super().__init__()
        self._problem = problem
        self._tries = tries

    def _do(self, problem: Any, X: Any, *, random_state: Any, **_: Any) -> Any:
        repaired = []
        for x in X.tolist():
            problem = self._problem
            if problem.bands:  # each gets its share of the children
                band = problem.bands[random_state.integers(len(problem.bands))]
                problem = replace(problem, violation=band.violation)
            repaired.append(repair(tuple(x), problem, random_state, self._tries))
        return np.array(repaired)


class _OnlyNew(DuplicateElimination):
    def __init__(self, unseen: Unseen) -> None:
        super().__init__()
        self._unseen = unseen

    def do(self, pop: Population, *others: Population, **_: Any) -> Population:
        return pop[self._unseen.new(genomes_of(pop), besides=genomes_of(others[-1]))]


def genomes_of(pop: Population) -> list[Genome]:
    """pymoo's individuals as genomes of plain integers."""
    return [tuple(individual.X.tolist()) for individual in pop]
