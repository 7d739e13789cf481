"""Genome → genome: at random, mutated, brought within the limits. All randomness is a Generator handed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from vkdnw_search.contracts import Problem
from vkdnw_search.records import Gene, Genome

__all__ = ["mutate", "random_genome", "repair"]

NEAR = 2 / 3
"""Share of one-choice steps when an ordered gene mutates; each further step is 1 − NEAR times as likely."""


def random_genome(genes: Sequence[Gene], rng: np.random.Generator) -> Genome:
    """A genome whose choices are uniform and independent."""
    return tuple(rng.integers(0, [len(gene.choices) for gene in genes]).tolist())


def mutate(genome: Genome, rng: np.random.Generator, *, genes: Sequence[Gene], moves: float) -> Genome:
    """Copy a genome with at least one gene changed, on average ``moves`` genes (a little more, since none is not
    allowed).

    An ordered gene goes k = 1, 2, … choices up or down, with probability NEAR · (1 − NEAR)^(k − 1) and no further
    than its last choice; an unordered one goes to any other choice. A gene with one choice has nowhere to go.
    """
    movable = _movable(genes)
    if not movable:
        return genome
    draws = rng.random(len(movable)) * len(movable)
    moved = [i for i, draw in zip(movable, draws, strict=True) if draw < moves] or [movable[rng.integers(len(movable))]]
    return _move(genome, moved, genes, rng, lambda choice, count: _near(choice, count, rng))


def repair(genome: Genome, problem: Problem, rng: np.random.Generator, tries: int) -> Genome:
    """Bring a genome within the limits by a stochastic descent on ``problem.violation``, if ``tries`` counts are
    enough.

    Each try changes some genes and is kept if it exceeds the limits by less. The further outside, the more genes may
    change at once: one, and that share of all genes by which the limits are exceeded. So a genome far outside gets near
    in a few tries, and a child of feasible parents keeps much of what it inherited. Ordered genes go all up or all
    down, some far but most not, and where one moved alone the secant tells how far it should have; unordered ones go
    to any other choice. A feasible genome is returned as it is.
    """
    violation = problem.violation(genome)
    genes = problem.space.genes
    movable = _movable(genes)
    left = tries if movable else 0
    while violation > 0 and left > 0:
        count = _log_uniform(min(1 + violation * len(movable), len(movable)), rng)
        moved = rng.permutation(movable)[:count].tolist()
        changed = _jump(genome, moved, genes, rng)
        excess = problem.violation(changed)
        left -= 1
        if count == 1 and genes[moved[0]].ordered:
            for better in _secants(genome, changed, moved[0], violation, excess, genes):
                if excess <= 0 or left <= 0:
                    break
                left -= 1
                if (other := problem.violation(better)) < excess:
                    changed, excess = better, other
        if excess < violation:
            genome, violation = changed, excess
    return genome


def _secants(
    before: Genome, after: Genome, gene: int, violation: float, excess: float, genes: Sequence[Gene]
) -> Iterator[Genome]:
    """Where the violation, linear in the choice of one gene, vanishes: between the two genomes, if it changed its sign
    there, else outside (regula falsi, secant). Only choices that are neither of the two."""
    a, b = before[gene], after[gene]
    if excess <= 0 or excess == violation:
        return
    between = (a * excess + b * violation) / (excess + violation)
    outside = (a * excess - b * violation) / (excess - violation)
    for zero in (between, outside):
        choice = min(max(round(zero), 0), len(genes[gene].choices) - 1)
        if choice not in (a, b):
            yield (*before[:gene], choice, *before[gene + 1 :])


def _movable(genes: Sequence[Gene]) -> list[int]:
    return [i for i, gene in enumerate(genes) if len(gene.choices) > 1]


def _log_uniform(most: float, rng: np.random.Generator) -> int:
    """A random number from 1 to ``most`` whose logarithm, before rounding, is uniform."""
    return int((most + 1) ** rng.random())


def _jump(genome: Genome, moved: Iterable[int], genes: Sequence[Gene], rng: np.random.Generator) -> Genome:
    """Steps of any size, small to large, ordered genes all in one direction."""
    side = 1 if rng.random() < 0.5 else -1
    return _move(genome, moved, genes, rng, lambda choice, count: choice + side * _log_uniform(count - 1, rng))


def _near(choice: int, count: int, rng: np.random.Generator) -> int:
    """A step up or down, inwards at an end, mostly to the next choice."""
    up = choice == 0 or (choice < count - 1 and rng.random() < 0.5)
    step = int(rng.geometric(NEAR))
    return choice + step if up else choice - step


Go = Callable[[int, int], int]
"""An ordered gene's present choice and number of choices → where to go; beyond an end means the end."""


def _move(genome: Genome, moved: Iterable[int], genes: Sequence[Gene], rng: np.random.Generator, go: Go) -> Genome:
    """Each of the genes ``moved`` goes elsewhere: an ordered one where ``go`` says, an unordered one anywhere."""
    child = list(genome)
    for i in moved:
        choice, count = child[i], len(genes[i].choices)
        if genes[i].ordered:
            child[i] = min(max(go(choice, count), 0), count - 1)
        else:
            other = int(rng.integers(count - 1))
            child[i] = other + (other >= choice)
    return tuple(child)
