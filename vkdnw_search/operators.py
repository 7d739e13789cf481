"""Make genomes: random ones, mutated ones, ones brought within the limits, and never one that was asked before.

First functions from genome to genome; then :class:`Unseen`, the memory that keeps a search from asking the same
network twice; last the thin classes through which pymoo calls them. All randomness is a Generator handed in.
"""

# mypy: disallow-subclassing-any=False
# (pymoo ships no types)
from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache, partial
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

from vkdnw_search.contracts import HasMutation, Problem
from vkdnw_search.records import Gene, Genome
from vkdnw_search.seeding import seed_from

__all__ = ["Unseen", "mutate", "random_genome", "repair"]

NEAR = 2 / 3
"""Share of one-choice steps when an ordered gene mutates; each further step is 1 − NEAR times as likely."""

WALK_LIMIT = 2**20
"""Up to so many genomes a space is walked through in random order; a larger one is sampled."""

PATIENCE = 1000
"""A sampled space counts as exhausted after so many draws in a row that were all known."""

MATINGS = 25
"""Rounds of mating for one generation; where they leave it incomplete, immigrants fill it."""

REFUSALS = 16
"""After so many infeasible draws in a row the least infeasible one is repaired: random candidates stay uniform
among the feasible ones unless these are rare, and rare ones are found in tens of counts, not tens of thousands."""


def random_genome(genes: Sequence[Gene], rng: np.random.Generator) -> Genome:
    """Each gene's choice uniform and independent."""
    return tuple(rng.integers(0, [len(gene.choices) for gene in genes]).tolist())


def mutate(genome: Genome, rng: np.random.Generator, *, genes: Sequence[Gene], moves: float) -> Genome:
    """A copy with at least one gene changed, and ``moves`` on average (a little more, as none is not allowed).

    An ordered gene goes k = 1, 2, … choices up or down, with probability NEAR · (1 − NEAR)^(k − 1) and no further
    than its last choice; an unordered one goes to any other choice. A gene with one choice has nowhere to go.
    """
    movable = _movable(genes)
    if not movable:
        return genome
    draws = rng.random(len(movable)) * len(movable)
    moved = [i for i, draw in zip(movable, draws, strict=True) if draw < moves] or [movable[rng.integers(len(movable))]]
    return _move(genome, moved, genes, rng, step=lambda count: int(rng.geometric(NEAR)))


def repair(genome: Genome, problem: Problem, rng: np.random.Generator, tries: int) -> Genome:
    """The genome a stochastic descent on ``problem.violation`` reaches: feasible, if ``tries`` counts were enough.

    Each try changes one or two genes, an ordered one by a step whose logarithm is uniform (from one choice to all of
    them), an unordered one to any other choice, and is kept unless it exceeds the limits by more. A feasible genome
    is returned as it is.
    """
    violation = problem.violation(genome)
    if violation <= 0:
        return genome
    genes = problem.space.genes
    movable = _movable(genes)
    for _ in range(tries if movable else 0):
        moved = {movable[rng.integers(len(movable))] for _ in range(rng.integers(1, 3))}
        changed = _move(genome, moved, genes, rng, step=lambda count: int((count - 1) ** rng.random()))
        if (changed_violation := problem.violation(changed)) <= violation:
            genome, violation = changed, changed_violation
        if violation <= 0:
            break
    return genome


def _movable(genes: Sequence[Gene]) -> list[int]:
    return [i for i, gene in enumerate(genes) if len(gene.choices) > 1]


Step = Callable[[int], int]
"""Number of choices of an ordered gene → how many of them to go, at least 1."""


def _move(genome: Genome, moved: Iterable[int], genes: Sequence[Gene], rng: np.random.Generator, step: Step) -> Genome:
    """Each of the genes ``moved`` goes elsewhere: an ordered one by ``step``, an unordered one anywhere."""
    child = list(genome)
    for i in moved:
        count = len(genes[i].choices)
        if genes[i].ordered:
            up = child[i] == 0 or (child[i] < count - 1 and rng.random() < 0.5)
            child[i] = min(child[i] + step(count), count - 1) if up else max(child[i] - step(count), 0)
        else:
            other = int(rng.integers(count - 1))
            child[i] = other + (other >= child[i])
    return tuple(child)


class Unseen:
    """Random candidates without replacement, and the keys of all that were ever asked.

    Up to WALK_LIMIT genomes the space is walked through in a random order, so every network comes exactly once and
    the end is certain. Larger spaces are sampled. In both a network is met by the first of its genomes, so one with
    many genomes tends to come early. Within limits: feasible genomes are taken as they come; what is infeasible
    waits to the end of the walk (it is asked only when nothing feasible is left), or is repaired (see REFUSALS).

    Args:
        problem: what is searched; ``problem.seed`` fixes the order.
        repair_tries: violations a repair may count; 0 takes genomes as they come, feasible or not.
    """

    def __init__(self, problem: Problem, *, repair_tries: int) -> None:
        self.key = lru_cache(maxsize=4096)(problem.key)
        self._problem = problem
        self._tries = repair_tries
        self._rng = np.random.default_rng(seed_from(problem.seed, "optimizer", "unseen"))
        self._asked: set[str] = set()
        self._walks = math.prod(len(gene.choices) for gene in problem.space.genes) <= WALK_LIMIT
        self._source = self._feasible_first() if repair_tries else self._genomes()

    def mark(self, genomes: Iterable[Genome]) -> None:
        """These are asked now and will never be new again."""
        self._asked.update(map(self.key, genomes))

    def new(self, genomes: Sequence[Genome], *, besides: Collection[Genome] = ()) -> list[int]:
        """Positions of the genomes that were never asked and are not among ``besides`` or before in the list."""
        taken = set(map(self.key, besides))
        positions = []
        for position, key in enumerate(map(self.key, genomes)):
            if key not in self._asked and key not in taken:
                taken.add(key)
                positions.append(position)
        return positions

    def draw(self, count: int, *, besides: Collection[Genome] = ()) -> list[Genome]:
        """Up to ``count`` random genomes never asked, distinct, not among ``besides``; fewer when no more are left.

        What is drawn does not come again: it has to be asked.
        """
        taken = set(map(self.key, besides))
        drawn: list[Genome] = []
        known = 0
        while len(drawn) < count and (self._walks or known < PATIENCE):
            genome = next(self._source, None)
            if genome is None:
                break
            key = self.key(genome)
            known += 1
            if key not in self._asked and key not in taken:
                taken.add(key)
                drawn.append(genome)
                known = 0
        return drawn

    def _genomes(self) -> Iterator[Genome]:
        """The whole space once in a random order; or, if it is large, random genomes for ever."""
        genes = self._problem.space.genes
        if self._walks:
            sizes = [len(gene.choices) for gene in genes]
            yield from (_digits(number, sizes) for number in self._rng.permutation(math.prod(sizes)))
        while not self._walks:
            yield random_genome(genes, self._rng)

    def _feasible_first(self) -> Iterator[Genome]:
        """The same, but what is infeasible is repaired from time to time and comes as it is only at the end."""
        violation = self._problem.violation
        refused: list[Genome] = []
        for genome in self._genomes():
            if violation(genome) <= 0:
                refused.clear()
                yield genome
                continue
            refused.append(genome)
            if len(refused) == REFUSALS:
                yield repair(min(refused, key=violation), self._problem, self._rng, self._tries)
                refused.clear()
        yield from self._genomes()


def _digits(number: int, sizes: Sequence[int]) -> Genome:
    """``number`` in the mixed radix ``sizes``: counts through all genomes."""
    digits = []
    for size in sizes:
        number, digit = divmod(int(number), size)
        digits.append(digit)
    return tuple(digits)


class RandomSampling(Sampling):
    """pymoo's door to :meth:`Unseen.draw`."""

    def __init__(self, unseen: Unseen) -> None:
        super().__init__()
        self._unseen = unseen

    def _do(self, problem: Any, n_samples: int, **_: Any) -> Any:
        return np.array(self._unseen.draw(n_samples))


class Tournament(Selection):
    """Each parent is the best of ``size`` members drawn with replacement; equals are ordered at random."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def _do(self, problem: Any, pop: Population, n_select: int, n_parents: int, *, random_state: Any, **_: Any) -> Any:
        objective, violation = pop.get("F", "CV")  # (members, 1) each
        order = np.lexsort((random_state.random(len(pop)), objective[:, 0], violation[:, 0]))
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
        return np.array([repair(tuple(x), self._problem, random_state, self._tries) for x in X.tolist()])


class _OnlyNew(DuplicateElimination):
    def __init__(self, unseen: Unseen) -> None:
        super().__init__()
        self._unseen = unseen

    def do(self, pop: Population, *others: Population, **_: Any) -> Population:
        return pop[self._unseen.new(genomes_of(pop), besides=genomes_of(others[-1]))]


def genomes_of(pop: Population) -> list[Genome]:
    """pymoo's individuals as genomes of plain integers."""
    return [tuple(individual.X.tolist()) for individual in pop]
