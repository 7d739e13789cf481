"""Searches in which a network's scores are looked up: those of a study of `vkdnw-search rank` in its folder.

What a search meets that is not stored is scored, and stored, so that a study may be whole, in part or empty. A search
is that of the engine but for its end: the network of the highest stored score wins, where the engine compares its ten
finalists on fresh initializations.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vkdnw_search.contracts import HasRefit, HasRelativeFitness, HasThreshold, Optimizer, Proxy
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.cost.limits import Limits
from vkdnw_search.engine.evaluator import Evaluator
from vkdnw_search.engine.tasks import Outcome
from vkdnw_search.proxies.size import Flops
from vkdnw_search.ranking.plan import VALUE, Row, identity, make_plan
from vkdnw_search.ranking.score_store import PartScore, ScoreStore
from vkdnw_search.ranking.scoring_jobs import audits_of, score_all
from vkdnw_search.records import Cost, Evaluation, Genome, Score

FINALISTS = 10

Accuracies = Mapping[str, float]
"""Column → accuracy in percent of one network."""


class StoredScores(ScoreStore):
    """The scores of some proxies for all networks that are known, by key; one seed.

    Args:
        folder: of the study.
        space: of the networks.
        proxies: name → proxy.
        executor: where networks are scored that the study lacks.
    """

    def __init__(self, folder: Path, space: Any, proxies: Mapping[str, Proxy], executor: Executor) -> None:
        super().__init__(folder, space=identity(space))
        self._space, self._executor, self._counter = space, executor, CostCounter(space)
        self._plan = make_plan(proxies)
        self.rows = {row.name: row for row in self._plan.rows}
        self._terms: dict[str, dict[str, Mapping[str, float]]] = {part: {} for part in self._plan.parts}
        for part, known in self._terms.items():
            known |= {key: score.terms for key, seed, score in self.of(part) if seed == 0}

    def add(self, key: str, seed: int, scores: Iterable[PartScore]) -> None:
        """Store what came of one network, and remember it."""
        scores = list(scores)
        super().add(key, seed, scores)
        for score in scores:
            self._terms[score.part][key] = score.terms

    def learn(self, row: Row, keys: Sequence[str]) -> None:
        """Score those of these networks that the study lacks for a row."""
        parts = {part: self._plan.parts[part] for part, _ in row.sources.values()}
        missing = [key for key in keys if not all(key in self._terms[part] for part in parts)]
        if missing:
            score_all(
                self._space, missing, audits_of(parts, self, self._executor), self, self._executor,
                counter=self._counter, seeds=1, listener=lambda done, total: None, stopped=lambda: False,
            )  # fmt: skip

    def is_usable(self, row: Row, key: str) -> bool:
        """Whether no proxy of a row failed on this learned network."""
        return all(self._terms[part][key] for part, _ in row.sources.values())

    def fitness(self, row: Row, keys: Sequence[str]) -> np.ndarray:
        """The fitness of learned networks by a row, beside one another. Shape (n,); NaN: no usable score."""
        parts = {}
        for part, _ in row.sources.values():
            known = [self._terms[part][key] for key in keys]
            names = dict.fromkeys([VALUE, *(term for terms in known for term in terms)])
            parts[part] = {name: np.array([terms.get(name, math.nan) for terms in known]) for name in names}
        return row.values(parts)


class KnownAccuracies:
    """In place of scores: the accuracies themselves, for a search of the best there is."""

    row = Row("accuracy", Flops(), {})

    def __init__(self, accuracies: Callable[[str], Accuracies | None], column: str) -> None:
        self._accuracies, self._column = accuracies, column

    def learn(self, row: Row, keys: Sequence[str]) -> None:
        """Nothing has to be scored."""

    def is_usable(self, row: Row, key: str) -> bool:
        """Whether the accuracy is known."""
        return self._accuracies(key) is not None

    def fitness(self, row: Row, keys: Sequence[str]) -> np.ndarray:
        """The accuracies. Shape (n,)."""
        return np.array([(self._accuracies(key) or {}).get(self._column, math.nan) for key in keys])


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        finalists: keys of the ten networks of highest fitness, the best first.
        visited: keys of all networks within the limits whose accuracy is known, in the order of asking.
        flops: key → FLOPs of each of these.
    """

    finalists: Sequence[str]
    visited: Sequence[str]
    flops: Mapping[str, int]

    @property
    def most_flops(self) -> str:
        """The key of the largest network visited; of equal ones the first."""
        return max(self.visited, key=self.flops.__getitem__)


class StoredSearch:
    """One search by one row of a study.

    Args:
        scores: where scores are looked up.
        row: the fitness.
        space: to search.
        is_known: whether the accuracy of the network with this key is known. One that is not counts as a candidate
            without a usable score.
        limits: of the networks.
        seed: of the search.
    """

    def __init__(
        self,
        scores: StoredScores | KnownAccuracies,
        row: Row,
        space: Any,
        is_known: Callable[[str], bool],
        *,
        limits: Limits,
        seed: int,
    ) -> None:
        self._scores, self._row, self._is_known = scores, row, is_known
        self.evaluator = Evaluator(space, limits=limits, proxy=row.proxy, seed=seed)
        self._relative = isinstance(row.proxy, HasRelativeFitness)
        self._values: dict[str, float] = {}
        self._best: list[float] = []

    def run(self, optimizer: Optimizer, *, evaluations: int) -> Found:
        """Ask, look up and tell until so many candidates are done, or nothing is left."""
        number, generation, visited = 0, 0, dict[str, int]()
        while number < evaluations:
            genomes = optimizer.ask()[: evaluations - number]
            if not genomes:
                break
            done = self._evaluations(genomes, number, generation, optimizer)
            visited |= {e.key: e.cost.flops for e in done if e.violation == 0 and self._is_known(e.key)}
            number, generation = number + len(done), generation + 1
            if self._relative and isinstance(optimizer, HasRefit):
                optimizer.refit(self._values)
            optimizer.tell(done)
        order = {key: place for place, key in enumerate(visited)}
        best = heapq.nsmallest(FINALISTS, self._values, key=lambda key: (-self._values[key], order[key]))
        return Found(best, list(visited), visited)

    def _evaluations(
        self, genomes: Sequence[Genome], number: int, generation: int, optimizer: Optimizer
    ) -> list[Evaluation]:
        place = {"generation": generation}
        prepared = [
            self.evaluator.prepare(genome, number=number + i, threshold=self._threshold(optimizer), **place)
            for i, genome in enumerate(genomes)
        ]
        keys = [self.evaluator.key(g) for g, e in zip(genomes, prepared, strict=True) if e is None]
        self._look_up([key for key in keys if self._is_known(key)])
        return [
            done or self.evaluator.conclude(self._outcome(genome), genome, number=number + i, **place)
            for i, (genome, done) in enumerate(zip(genomes, prepared, strict=True))
        ]

    def _threshold(self, optimizer: Optimizer) -> Callable[[Cost], float]:
        """Below it a candidate neither survives nor becomes a finalist, and need not be scored."""
        if not isinstance(optimizer, HasThreshold):
            return lambda cost: -math.inf
        least = self._best[0] if len(self._best) == FINALISTS else -math.inf
        return lambda cost: min(optimizer.threshold(cost), least)

    def _look_up(self, keys: Sequence[str]) -> None:
        """Take note of these networks' fitness; where it is relative, that of all changes."""
        self._scores.learn(self._row, keys)
        new = [key for key in keys if self._scores.is_usable(self._row, key)]
        seen = [*self._values, *new] if self._relative else new
        if not seen:
            return
        self._values |= dict(zip(seen, self._scores.fitness(self._row, seen).tolist(), strict=True))
        if not self._relative:
            self._best = sorted((*self._best, *(self._values[key] for key in new)))[-FINALISTS:]

    def _outcome(self, genome: Genome) -> Outcome:
        key = self.evaluator.key(genome)
        if key not in self._values:
            return Outcome(None, "no usable score" if self._is_known(key) else "its accuracy is not known", 0.0)
        return Outcome(Score(0.0 if self._relative else self._values[key]), "", 0.0)
