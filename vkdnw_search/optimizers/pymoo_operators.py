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

from vkdnw_search.contracts import Band, HasMutation, Problem
from vkdnw_search.optimizers.sampling import UnvisitedSampler
from vkdnw_search.optimizers.variation import mutate, repair
from vkdnw_search.records import Cost, Genome

__all__ = ["Breeding", "FirstCandidates", "Niches", "Tournament", "genomes_of", "places_within"]

MATINGS = 25
"""Number of rounds of mating for one generation; where they leave it incomplete, immigrants fill it."""


class FirstCandidates(Sampling):
    """Gives pymoo the first generation.

    Args:
        draw: gives so many random genomes, after those that the search is to begin with.
        count: how many, whatever the size of the population that survives.
    """

    def __init__(self, draw: Callable[[int], list[Genome]], *, count: int) -> None:
        super().__init__()
        self._draw, self._count = draw, count

    def _do(self, problem: Any, n_samples: int, **_: Any) -> Any:
        return np.array(self._draw(self._count))


class Niches(Survival):
    """A pymoo survival by which the best members of each band survive.

    Args:
        bands: ascending, all of one cost; none: all members are in one.
        survivors: how many of each band survive.
    """

    def __init__(self, bands: Sequence[Band], survivors: int) -> None:
        super().__init__(filter_infeasible=True)
        self._edges, self._survivors = np.array([band.at_most for band in bands]), survivors
        self._of = bands[0].of if bands else "flops"

    def members(self, pop: Population, cost: Cost) -> Population:
        """The members that are in the band of ``cost``."""
        return pop[self._bands(pop) == np.searchsorted(self._edges, getattr(cost, self._of))]

    def places(self, pop: Population) -> Any:
        """The place of each member within its band by its objective, 0 for the best; equals share one. Shape
        (members,).
        """
        return places_within(self._bands(pop), pop.get("F")[:, 0])

    def _bands(self, pop: Population) -> Any:
        """The number of each member's band. Shape (members,)."""
        return np.searchsorted(self._edges, [getattr(member.data["cost"], self._of) for member in pop])

    def _do(self, problem: Any, pop: Population, *args: Any, **kwargs: Any) -> Population:
        best_first = pop[np.argsort(pop.get("F")[:, 0], kind="stable")]
        bands = self._bands(best_first)
        chosen = [np.flatnonzero(bands == band)[: self._survivors] for band in np.unique(bands)]
        return best_first[np.concatenate(chosen)]


def places_within(bands: Any, objective: Any) -> Any:
    """The place of each member within its band by its objective, 0 for the least; equals share one. All of shape
    (n,).
    """
    return ((bands[:, None] == bands) & (objective < objective[:, None])).sum(axis=1)


class Tournament(Selection):
    """Each parent is the best of ``size`` members drawn with replacement; equals are ordered at random.

    With niches a member is as good as its place within its own.
    """

    def __init__(self, size: int, niches: Niches | None = None) -> None:
        super().__init__()
        self._size, self._niches = size, niches

    def _do(self, problem: Any, pop: Population, n_select: int, n_parents: int, *, random_state: Any, **_: Any) -> Any:
        objective = pop.get("F")[:, 0] if self._niches is None else self._niches.places(pop)
        order = np.lexsort((random_state.random(len(pop)), objective, pop.get("CV")[:, 0]))
        places = random_state.integers(len(pop), size=(n_select, n_parents, self._size))
        return order[places.min(axis=-1)]  # (n_select, n_parents)


class Breeding(Mating):
    """Breeds children that were never asked: selection, crossover, mutation, repair; immigrants where these run out.

    Args:
        problem: whose space mutates, by its own ``mutate`` if it has one, else by :func:`mutate`.
        unseen: which genomes are new, and where immigrants come from.
        hopeful: whether a child may survive; one that cannot is not born.
        selection: the pymoo operator that chooses parents.
        crossover: the pymoo operator that mixes two of them.
        moves: genes changed by the general mutation, on average.
        repair_tries: violations a repair may count.
        proposals: children bred for each that is asked.
        best: (genomes, count) → positions of the genomes that are asked.
    """

    def __init__(
        self,
        problem: Problem,
        unseen: UnvisitedSampler,
        *,
        hopeful: Callable[[Genome], bool],
        selection: Selection,
        crossover: Crossover,
        moves: float,
        repair_tries: int,
        proposals: int,
        best: Callable[[Sequence[Genome], int], list[int]],
    ) -> None:
        space = problem.space
        mutation = space.mutate if isinstance(space, HasMutation) else partial(mutate, genes=space.genes, moves=moves)
        super().__init__(
            selection,
            crossover,
            _Mutation(mutation),
            repair=_Repair(problem, repair_tries, hopeful),
            eliminate_duplicates=_NewAndHopeful(unseen, hopeful),
            n_max_iterations=MATINGS,
        )
        self._unseen, self._proposals, self._best = unseen, proposals, best

    def do(self, problem: Any, pop: Population, n_offsprings: int, **kwargs: Any) -> Population:
        """Breed ``n_offsprings`` children; fewer when the space is exhausted."""
        bred = super().do(problem, pop, n_offsprings * self._proposals, **kwargs)
        children = bred[self._best(genomes_of(bred), n_offsprings)]
        immigrants = self._unseen.draw(n_offsprings - len(children), besides=genomes_of(children))
        return Population.merge(children, Population.new(X=np.array(immigrants))) if immigrants else children


class _Mutation(Mutation):
    def __init__(self, change: Callable[[Genome, np.random.Generator], Genome]) -> None:
        super().__init__()
        self._change = change

    def _do(self, problem: Any, X: Any, *, random_state: Any, **_: Any) -> Any:
        return np.array([self._change(tuple(x), random_state) for x in X.tolist()])


class _Repair(Repair):
    def __init__(self, problem: Problem, tries: int, hopeful: Callable[[Genome], bool]) -> None:
        super().__init__()
        self._problem, self._tries, self._hopeful = problem, tries, hopeful

    def _do(self, problem: Any, X: Any, *, random_state: Any, **_: Any) -> Any:
        genomes = [tuple(x) for x in X.tolist()]
        return np.array([self._repaired(genome, random_state) for genome in genomes])

    def _repaired(self, genome: Genome, rng: np.random.Generator) -> Genome:
        problem = self._problem
        if problem.bands:  # each gets its share of the children
            band = problem.bands[rng.integers(len(problem.bands))]
            problem = replace(problem, violation=band.violation)
        if not self._hopeful(genome):  # a repair seldom makes it so
            return genome
        return repair(genome, problem, rng, self._tries)


class _NewAndHopeful(DuplicateElimination):
    def __init__(self, unseen: UnvisitedSampler, hopeful: Callable[[Genome], bool]) -> None:
        super().__init__()
        self._unseen, self._hopeful = unseen, hopeful

    def do(self, pop: Population, *others: Population, **_: Any) -> Population:
        genomes = genomes_of(pop)
        new = self._unseen.new(genomes, besides=genomes_of(others[-1]))
        return pop[[i for i in new if self._hopeful(genomes[i])]]


def genomes_of(pop: Population) -> list[Genome]:
    """pymoo's individuals as genomes of plain integers."""
    return [tuple(individual.X.tolist()) for individual in pop]
