"""A search space without networks, whose scores, costs and limits are sums over genes: everything about it is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vkdnw_search.contracts import Optimizer, Problem
from vkdnw_search.engine.best_scores import BestScores
from vkdnw_search.records import Cost, Evaluation, Gene, Genome, Score, Status


def text(genome: Genome) -> str:
    return ",".join(map(str, genome))


def sorted_text(genome: Genome) -> str:
    """As if the order of the genes did not matter: many genomes, one network."""
    return text(tuple(sorted(genome)))


@dataclass(frozen=True)
class Toy:
    """Both the space and the truth about it.

    ``gains`` and ``prices`` give each choice of each gene its share of score and FLOPs; the limits are a window.
    """

    genes: tuple[Gene, ...]
    gains: Sequence[Sequence[float]]
    prices: Sequence[Sequence[float]]
    at_least: float = 0.0
    at_most: float = math.inf
    key: Callable[[Genome], str] = text

    name = "toy"

    def flops(self, genome: Genome) -> int:
        return round(sum(price[choice] for price, choice in zip(self.prices, genome, strict=True)))

    def score(self, genome: Genome) -> float:
        return sum(gain[choice] for gain, choice in zip(self.gains, genome, strict=True))

    def violation(self, genome: Genome) -> float:
        flops = self.flops(genome)
        return max(0.0, flops / self.at_most - 1, 1 - flops / self.at_least if self.at_least else 0.0)

    def problem(self, seed: int = 0, *, bounds: bool = False) -> Problem:
        """With ``bounds``, optimizers may know the upper bound."""
        plain = Problem(space=self, key=self.key, violation=self.violation, seed=seed)
        return replace(plain, may_reach=self.may_reach) if bounds else plain

    def may_reach(self, genome: Genome, threshold: Callable[[Cost], float]) -> bool:
        return self.upper_bound(genome) >= threshold(self.cost(genome))

    def upper_bound(self, genome: Genome) -> float:
        return self.score(genome) + self.flops(genome) / 1e5

    def cost(self, genome: Genome) -> Cost:
        flops = self.flops(genome)
        return Cost(flops, flops, flops, 1, 1, 1)

    def evaluate(self, genome: Genome, *, number: int = 0, threshold: float = -math.inf) -> Evaluation:
        """What the search would record, with a ``threshold``."""
        violation, bound = self.violation(genome), self.upper_bound(genome)
        if violation > 0:
            status, score = Status.INFEASIBLE, None
        elif bound < threshold:
            status, score = Status.BOUNDED, Score(bound)
        else:
            status, score = Status.SCORED, Score(self.score(genome))
        return Evaluation(number, 0, genome, self.key(genome), self.cost(genome), violation, status, score=score)


def toy(genes: int, choices: int, *, seed: int = 0, at_least: float = 0.0, at_most: float = math.inf) -> Toy:
    """Half of the genes ordered (both gain and price rise with the choice), half not; limits as shares of the mean."""
    rng = np.random.default_rng(seed)
    gains, prices = rng.random((genes, choices)), 1000 * rng.random((genes, choices))
    gains[::2].sort(axis=1)
    prices[::2].sort(axis=1)
    return Toy(
        genes=tuple(Gene(f"gene{i}", tuple(range(choices)), ordered=i % 2 == 0) for i in range(genes)),
        gains=gains.tolist(),
        prices=prices.tolist(),
        at_least=at_least * 500 * genes,
        at_most=at_most * 500 * genes,
    )


def run(
    toy: Toy, optimizer: Optimizer, evaluations: int, *, bounding: bool = False, bands: Sequence[int] = ()
) -> list[Evaluation]:
    """Ask and tell until so many are evaluated or nothing is left; what lies below the threshold is not scored."""
    done: list[Evaluation] = []
    standing = BestScores(10, bands)

    def threshold(genome: Genome) -> float:
        cost = toy.cost(genome)
        return min(optimizer.threshold(cost), standing.least(cost)) if bounding else -math.inf

    while genomes := optimizer.ask()[: evaluations - len(done)]:
        told = [toy.evaluate(g, number=len(done) + i, threshold=threshold(g)) for i, g in enumerate(genomes)]
        optimizer.tell(told)
        standing.add(told)
        done += told
        if len(done) == evaluations:
            break
    return done
