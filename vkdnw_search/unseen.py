"""What was asked already, and random candidates that were not: sampling without replacement."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np

from vkdnw_search.contracts import Problem
from vkdnw_search.operators import random_genome, repair
from vkdnw_search.records import Genome
from vkdnw_search.seeding import seed_from

__all__ = ["Unseen"]

WALK_LIMIT = 2**20
"""Up to so many genomes a space is walked through in random order; a larger one is sampled."""

PATIENCE = 1000
"""A sampled space counts as exhausted after so many draws in a row that were all known."""

REFUSALS = 16
"""After so many infeasible draws in a row the least infeasible one is repaired: random candidates stay uniform
among the feasible ones unless these are rare, and rare ones are found in tens of counts, not tens of thousands."""


class Unseen:
    """Random candidates without replacement, and the keys of all that were ever asked.

    Up to WALK_LIMIT genomes the space is walked through in a random order, so every network comes exactly once and
    the end is certain. Larger spaces are sampled. In both a network is met by the first of its genomes, so one with
    many genomes tends to come early. Under limits, feasible genomes are taken as they come, infeasible ones are left
    out or repaired (see REFUSALS); a walk returns to them when nothing feasible is left.

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
        """The same without infeasible ones, of which some come repaired; at the end of a walk they come as they are."""
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
