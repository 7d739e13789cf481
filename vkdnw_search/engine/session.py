"""One sitting of a run: evaluates generation after generation, records everything, and knows when to stop."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from importlib.metadata import version

from vkdnw_search.contracts import HasRefit, HasRelativeFitness, HasState, HasStream, HasThreshold, Optimizer
from vkdnw_search.engine.best_scores import BestScores
from vkdnw_search.engine.evaluator import Evaluator
from vkdnw_search.engine.tasks import Task, run_tasks
from vkdnw_search.errors import RunFolderError
from vkdnw_search.recipe.sections import Stop
from vkdnw_search.records import Cost, Evaluation, Genome, Score
from vkdnw_search.runs.store import Snapshot, Store

LOGGER = logging.getLogger(__name__)

SPACING = 100
"""Candidates from one snapshot of the optimizer to the next: telling it so many again takes a second at most."""

Listener = Callable[[Evaluation], None]


class Session:
    """Evaluates what an optimizer asks, each candidate once in the life of the run folder.

    Args:
        evaluator: of the run.
        store: what earlier sittings found is taken from here; everything new goes there.
        executor: where candidates are scored.
        stop: the limits.
        standing: what the end of the run asks for; a candidate that cannot get there nor survive is not scored.
        listener: called with every evaluation as it is done.
        stopped: True once the user wants the run to end.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        store: Store,
        executor: Executor,
        *,
        stop: Stop,
        standing: BestScores,
        listener: Listener,
        stopped: Callable[[], bool],
    ) -> None:
        self._evaluator, self._store, self._executor = evaluator, store, executor
        self._stop, self._standing, self._listener, self._stopped = stop, standing, listener, stopped
        self._started = time.monotonic() - store.elapsed()
        self._scores: dict[str, Score] = {}
        self.number = self.generation = self._kept = 0
        self._whole = False  # whether all of the last generation was asked, and then evaluated
        self.exhausted = False  # whether nothing was left to ask

    def seconds(self) -> float:
        """Of running so far, earlier sittings included."""
        return time.monotonic() - self._started

    def over(self) -> str:
        """Why the run must end now, in words; empty while it may go on."""
        if self._stopped():
            return "interrupted"
        if self.number >= self._stop.evaluations:
            return f"the {self._stop.evaluations} evaluations asked for are done"
        if self._stop.generations is not None and self.generation >= self._stop.generations:
            return f"the {self._stop.generations} generations asked for are done"
        if self._late():
            return f"the {self._stop.seconds:g} seconds asked for are over"
        return ""

    def resume(self, optimizer: Optimizer) -> None:
        """Go on from the last snapshot of the optimizer, or from the start: what is known is not evaluated again.

        Another version might read a snapshot differently. It starts from the beginning, and every generation that it
        asks is compared with the stored one.

        Raises:
            RunFolderError: what is stored is damaged.
        """
        snapshot = self._store.snapshot()
        if snapshot is None or not isinstance(optimizer, HasState) or snapshot.made_by != _maker(optimizer):
            return
        told = self._told(snapshot.number)
        try:
            optimizer.restore(snapshot.state, told)
            deque(told, maxlen=0)  # an optimizer need not listen to the end
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            raise RunFolderError(
                f"{self._store.path}: the optimizer's state and the candidates must be as they were written, but are "
                f"not: {type(error).__name__}: {error}. Nothing was changed; choose another folder with --out"
            ) from error
        self.number, self.generation, self._kept = snapshot.number, snapshot.generation, snapshot.number
        self.refit(optimizer, ())
        LOGGER.info("went on after %d candidates", self.number)

    def _told(self, count: int) -> Iterator[Evaluation]:
        """The first ``count`` evaluations as they were told, while this session takes them into account."""
        relative = isinstance(self._evaluator.proxy, HasRelativeFitness)
        for number, evaluation in zip(range(count), self._store.evaluations(count=count), strict=True):
            if evaluation.number != number:
                raise LookupError(f"candidate {number} is missing")
            self._standing.add((evaluation,))
            if relative:
                self._remember((evaluation,))
            self._listener(evaluation)
            yield evaluation

    def keep(self, optimizer: Optimizer) -> None:
        """Take a snapshot, if the last was taken long ago and a whole generation was told."""
        if isinstance(optimizer, HasState) and self._whole and self.number - self._kept >= SPACING:
            state = optimizer.state()
            self._store.set_snapshot(Snapshot(self.generation, self.number, _maker(optimizer), state))
            self._kept = self.number

    def evaluate(self, optimizer: Optimizer) -> list[Evaluation]:
        """Ask for one generation; its outcomes, in order, fewer than asked where a limit ends the run.

        An optimizer with a stream breeds while workers score: it is asked whenever there is room for a candidate.
        """
        asked: list[Genome] = []
        known: dict[int, Evaluation] = {}
        self._whole = False
        tasks = self._tasks(optimizer, asked, known)
        for number, outcome in run_tasks(tasks, self._executor, stopped=lambda: self._stopped() or self._late()):
            genome = asked[number - self.number]
            evaluation = self._evaluator.conclude(outcome, genome, number=number, generation=self.generation)
            self._record(known, evaluation, outcome.seconds)
        if not asked:
            self.exhausted = self._whole
            return []
        done = self._ended(known, len(asked))
        self._whole = self._whole and len(done) == len(asked)
        return done

    def _tasks(
        self, optimizer: Optimizer, asked: list[Genome], known: dict[int, Evaluation]
    ) -> Iterator[tuple[int, Task]]:
        """Those of one generation that must be scored; ``asked`` and ``known`` take in what is asked and is known."""
        survives = optimizer.threshold if isinstance(optimizer, HasThreshold) else lambda cost: -math.inf

        def threshold(cost: Cost) -> float:
            return min(survives(cost), self._standing.least(cost))

        genomes = optimizer.stream() if isinstance(optimizer, HasStream) else iter(optimizer.ask())
        for number in range(self.number, self._stop.evaluations):
            if (genome := next(genomes, None)) is None:
                break
            asked.append(genome)
            if (stored := self._store.known(number, genome)) is not None:
                known[number] = stored
                self._listener(stored)
                continue
            evaluation = self._evaluator.prepare(genome, number=number, generation=self.generation, threshold=threshold)
            if evaluation is None:
                yield number, self._evaluator.task(genome)
            else:
                self._record(known, evaluation, 0.0)
        if next(genomes, None) is None:
            self._whole = True
            if asked:
                self._store.add_generation(self.generation, first=self.number, genomes=asked)

    def refit(self, optimizer: Optimizer, evaluations: Sequence[Evaluation]) -> None:
        """Where fitness is relative, tell the optimizer what that of every candidate is now."""
        proxy = self._evaluator.proxy
        if isinstance(proxy, HasRelativeFitness) and isinstance(optimizer, HasRefit):
            self._remember(evaluations)
            fitness = proxy.fitness(list(self._scores.values())) if self._scores else ()
            optimizer.refit(dict(zip(self._scores, map(float, fitness), strict=True)))

    def _remember(self, evaluations: Sequence[Evaluation]) -> None:
        self._scores |= {e.key: e.score for e in evaluations if e.status == "scored" and e.score is not None}

    def _ended(self, known: dict[int, Evaluation], asked: int) -> list[Evaluation]:
        """Evaluations in order up to the first that is missing; count the generation if none is."""
        done: list[Evaluation] = []
        while self.number + len(done) in known and len(done) < asked:
            done.append(known[self.number + len(done)])
        self._standing.add(done)
        self.number += len(done)
        self.generation += len(done) == asked
        LOGGER.info("generation %d: %d candidates so far", self.generation, self.number)
        return done

    def _record(self, known: dict[int, Evaluation], evaluation: Evaluation, seconds: float) -> None:
        self._store.add([evaluation], seconds={evaluation.number: seconds}, now=self.seconds())
        known[evaluation.number] = evaluation
        self._listener(evaluation)

    def _late(self) -> bool:
        return self._stop.seconds is not None and self.seconds() >= self._stop.seconds


STORED_MODULES = {"vkdnw_search.optimizers.algorithms": "vkdnw_search.optimizers"}
"""Module → what stands for it in snapshots. A module path is stored data there: one that moves keeps its old name, or
run folders from before would be replayed from their beginning."""


def _maker(optimizer: Optimizer) -> str:
    """The optimizer and the versions on which its next asks depend."""
    packages = (f"{name} {version(name)}" for name in ("vkdnw-search", "numpy", "pymoo"))
    module = STORED_MODULES.get(type(optimizer).__module__, type(optimizer).__module__)
    return ", ".join((f"{module}.{type(optimizer).__qualname__}", *packages))
