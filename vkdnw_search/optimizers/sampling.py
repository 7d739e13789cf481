"""What was asked already, and random candidates that were not: sampling without replacement."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from vkdnw_search.contracts import Problem
from vkdnw_search.determinism import seed_from
from vkdnw_search.optimizers.variation import random_genome, repair
from vkdnw_search.records import Genome

__all__ = ["UnvisitedSampler"]

WALK_LIMIT = 2**20
"""Number of genomes up to which a space is walked through in random order; a larger one is sampled."""

PATIENCE = 1000
"""Number of draws in a row, all known, after which a sampled space counts as exhausted."""

REFUSALS = 16
"""Number of infeasible draws in a row after which the least infeasible one is repaired: random candidates stay uniform
among the feasible ones unless these are rare, and rare ones are found in tens of counts, not tens of thousands."""


class UnvisitedSampler:
    """Draws random candidates without replacement, and knows the keys of all that were ever asked.

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
        self._asked: set[bytes] = set()
        self._choosy = repair_tries > 0  # infeasible genomes are left out or repaired
        self._refused: list[Genome] = []  # in a row, since the last that was taken
        self._sizes = [len(gene.choices) for gene in problem.space.genes]
        self._walks = math.prod(self._sizes) <= WALK_LIMIT
        self._begin_walk()

    def mark(self, keys: Iterable[str]) -> None:
        """Note that networks with these keys are asked: they will never be new again."""
        self._asked.update(map(_digest, keys))

    def state(self) -> dict[str, Any]:
        """The position in the sequence of draws, as plain data; the marked keys are not part of it."""
        return {
            "random": self._rng.bit_generator.state,
            "walk": self._before,
            "place": self._place,
            "choosy": self._choosy,
            "refused": self._refused,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to the position that :meth:`state` gave; keys are marked apart from that."""
        self._rng.bit_generator.state = state["walk"]
        self._begin_walk()
        self._rng.bit_generator.state = state["random"]
        self._place, self._choosy = int(state["place"]), bool(state["choosy"])
        self._refused = [tuple(map(int, genome)) for genome in state["refused"]]

    def new(self, genomes: Sequence[Genome], *, besides: Collection[Genome] = ()) -> list[int]:
        """Positions of the genomes that were never asked and are not among ``besides`` or before in the list."""
        taken = set(map(self.key, besides))
        positions = []
        for position, key in enumerate(map(self.key, genomes)):
            if key not in taken and _digest(key) not in self._asked:
                taken.add(key)
                positions.append(position)
        return positions

    def draw(self, count: int, *, besides: Collection[Genome] = ()) -> list[Genome]:
        """Draw up to ``count`` distinct random genomes, never asked and not among ``besides``; fewer when none are
        left.

        What is drawn does not come again: it has to be asked.
        """
        taken = set(map(self.key, besides))
        drawn: list[Genome] = []
        known = 0
        while len(drawn) < count and (self._walks or known < PATIENCE):
            genome = self._next()
            if genome is None:
                break
            key = self.key(genome)
            known += 1
            if key not in taken and _digest(key) not in self._asked:
                taken.add(key)
                drawn.append(genome)
                known = 0
        return drawn

    def _begin_walk(self) -> None:
        """Begin a new random order, where the space is walked through."""
        self._before = self._rng.bit_generator.state
        self._order = self._rng.permutation(math.prod(self._sizes)) if self._walks else np.empty(0, dtype=int)
        self._place = 0

    def _next(self) -> Genome | None:
        """The next genome to consider; None at the end of the space."""
        while (genome := self._any()) is not None:
            if not self._choosy or self._problem.violation(genome) <= 0:
                self._refused.clear()
                return genome
            self._refused.append(genome)
            if len(self._refused) == REFUSALS:
                nearest = min(self._refused, key=self._problem.violation)
                self._refused.clear()
                return repair(nearest, self._problem, self._rng, self._tries)
        if not self._choosy:
            return None
        self._choosy = False  # nothing feasible is left: all others as they are
        self._begin_walk()
        return self._any()

    def _any(self) -> Genome | None:
        """The next genome of the walk, None at its end; a random genome where the space is sampled."""
        if not self._walks:
            return random_genome(self._problem.space.genes, self._rng)
        if self._place == len(self._order):
            return None
        self._place += 1
        return _digits(self._order[self._place - 1], self._sizes)


def _digest(key: str) -> bytes:
    """A short stand-in for a key, since memory holds millions of them."""
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


def _digits(number: int, sizes: Sequence[int]) -> Genome:
    """The digits of ``number`` in the mixed radix ``sizes``, which counts through all genomes."""
    digits = []
    for size in sizes:
        number, digit = divmod(int(number), size)
        digits.append(digit)
    return tuple(digits)
