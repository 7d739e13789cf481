"""check_optimizer: does an optimizer keep its contract?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vkdnw_search.contracts import HasStart, HasStream, HasThreshold, Problem
from vkdnw_search.determinism import seed_from
from vkdnw_search.records import Cost, Evaluation, Gene, Genome, Score, Status
from vkdnw_search.testing.findings import Findings, global_random_state, said


def check_optimizer(make: Callable[[Problem], Any], seed: int = 0) -> None:
    """Hold an optimizer to :class:`vkdnw_search.contracts.Optimizer` on a space of 256 genomes and 160 networks.

    Some of its networks exceed the limits, some have no usable score. Looks for: genomes that are out of range, keys
    that are asked twice, proposals that are not a function of the seed and of what was told, global random generators
    that were moved, a threshold that is no number, an end before everything was visited, and no end after it.

    Args:
        make: makes the optimizer of a problem, e.g. the class itself or ``lambda problem: Mine(problem, sample=4)``.
        seed: of the problem.

    Raises:
        ConformanceError: with a sentence for each kind of fault.
    """
    findings = Findings(f"the optimizer {getattr(make, '__name__', type(make).__name__)}")
    try:
        before = global_random_state()
        first = _run(make(_problem(seed)), findings)
        findings.require(
            global_random_state() == before,
            "global",
            "ask and tell: must leave the global random generators of random, numpy and torch as they were, but moved "
            "one. Draw from a numpy.random.Generator of problem.seed",
        )
        again = _run(make(_problem(seed)), Findings(""), one_by_one=True)
        findings.require(
            first == again,
            "deterministic",
            f"ask: must be a function of problem.seed and of what was told, and stream, if there is one, must give the "
            f"same one by one, but a second run with both equal differs "
            f"in generation {_first_difference(first, again)}. A run that was stopped is continued by telling it the "
            "same again: take all randomness from problem.seed, and order from no set",
        )
        _check_start(make(_problem(seed)), findings)
    except Exception as error:
        findings.add("raises", f"ask and tell in turn: must go on to the end, but raised {said(error)}")
    findings.report()


def _run(optimizer: Any, findings: Findings, *, one_by_one: bool = False) -> list[list[Genome]]:
    """Take turns until nothing is asked. Returns the generations."""
    streams = one_by_one and isinstance(optimizer, HasStream)
    space = _Space()
    everything = {space.key(genome) for genome in itertools.product(*(range(len(g.choices)) for g in space.genes))}
    asked: dict[str, int] = {}
    generations: list[list[Genome]] = []
    while genomes := list(optimizer.stream() if streams else optimizer.ask()):
        generation = len(generations)
        generations.append(genomes)
        if not _check_genomes(genomes, space, generation, asked, findings):
            return generations
        told = [space.evaluate(genome, asked[space.key(genome)], generation) for genome in genomes]
        if isinstance(optimizer, HasThreshold):
            threshold = optimizer.threshold(told[0].cost)
            findings.require(
                isinstance(threshold, float) and not math.isnan(threshold),
                "threshold",
                f"threshold: must be a number, −inf while any score can matter, but is {threshold!r}",
            )
        optimizer.tell(told)
        if generation > 4 * len(everything):
            findings.add(
                "end", f"ask: must be empty once all {len(everything)} keys were asked, but still gives genomes"
            )
            return generations
    missing = everything - asked.keys()
    findings.require(
        not missing,
        "early",
        f"ask: must be empty only when nothing is left, but ended after {len(asked)} of {len(everything)} keys, "
        f"without {min(missing, default='')!r}, for instance. Where your moves find nothing new, draw at random "
        "what was never asked (vkdnw_search.optimizers.sampling.UnvisitedSampler does)",
    )
    return generations


def _check_start(optimizer: Any, findings: Findings) -> None:
    """Networks that an optimizer is given to begin with must be the first that it asks."""
    starts = isinstance(optimizer, HasStart)  # apart, so that a type checker still knows optimizer as any
    if starts:
        given = [(3, 2, 1, 0), (0, 0, 3, 3)]
        optimizer.begin_with(given)
        first = optimizer.ask()
        findings.require(
            first[: len(given)] == given and len({*map(_Space().key, first)}) == len(first),
            "start",
            f"begin_with: must make ask give these networks first, in this order, and none of them twice, but gave "
            f"{first[: len(given) + 1]} after {given}",
        )


def _check_genomes(
    genomes: Sequence[Any], space: _Space, generation: int, asked: dict[str, int], findings: Findings
) -> bool:
    """Whether the run can go on; ``asked`` is brought up to date."""
    for genome in genomes:
        sound = isinstance(genome, tuple) and len(genome) == len(space.genes)
        sound = sound and all(
            type(i) is int and 0 <= i < len(g.choices) for i, g in zip(genome, space.genes, strict=True)
        )
        if not findings.require(
            sound,
            "genome",
            f"ask, generation {generation}: a genome must be a tuple of plain ints, an index for each gene, but is "
            f"{genome!r}. Convert arrays by tuple(array.tolist()), and clip",
        ):
            return False
        key = space.key(genome)
        findings.require(
            key not in asked,
            "twice",
            f"ask, generation {generation}: must give genomes whose keys were never asked, but {genome} has the key "
            f"{key!r} that was asked before. Compare by problem.key(genome), not by the genome",
        )
        asked.setdefault(key, len(asked))
    return True


def _first_difference(first: list[list[Genome]], again: list[list[Genome]]) -> int:
    pairs = itertools.zip_longest(first, again)
    return next((number for number, (ours, theirs) in enumerate(pairs) if ours != theirs), -1)


@dataclass(frozen=True)
class _Space:
    """A search space without networks: pairs of genes whose order does not matter, so that genomes share keys."""

    name = "check"
    genes = tuple(Gene(f"gene{i}", (0, 1, 2, 3), ordered=i < 2) for i in range(4))

    def key(self, genome: Genome) -> str:
        """The last two genes may change places: 16 · 10 = 160 keys."""
        return ",".join(map(str, (*genome[:2], *sorted(genome[2:]))))

    def violation(self, genome: Genome) -> float:
        """One network in four is too large."""
        return float(max(0, sum(genome) - 7)) / 7

    def evaluate(self, genome: Genome, number: int, generation: int) -> Evaluation:
        """What a search would tell: a score that prefers large networks; some have none."""
        key, size, violation = self.key(genome), 1000 * (1 + sum(genome)), self.violation(genome)
        cost = Cost(size, size, size, 1, 1, 1)
        if violation > 0:
            return Evaluation(number, generation, genome, key, cost, violation, Status.INFEASIBLE, "too large")
        chance = seed_from(key) % 1000 / 1000
        if chance < 0.1:
            return Evaluation(number, generation, genome, key, cost, 0.0, Status.FAILED, "no usable score")
        return Evaluation(
            number, generation, genome, key, cost, 0.0, Status.SCORED, "", Score(sum(genome) + chance, 0.1)
        )


def _problem(seed: int) -> Problem:
    space: Any = _Space()
    return Problem(space=space, key=space.key, violation=space.violation, seed=seed)
