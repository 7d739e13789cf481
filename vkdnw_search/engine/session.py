"""One session of a run: evaluates generation after generation, records everything, and knows when to stop."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import takewhile

from vkdnw_search.contracts import HasRefit, HasRelativeFitness, HasState, HasStream, Optimizer
from vkdnw_search.engine.audit import NOTE, Audit, run_audit
from vkdnw_search.engine.best_scores import BestScores
from vkdnw_search.engine.clock import Clock
from vkdnw_search.engine.evaluator import Evaluator
from vkdnw_search.engine.known_scores import KnownScores
from vkdnw_search.engine.tasks import Outcome, Task, lost_candidate, run_tasks, score_candidate
from vkdnw_search.errors import RunFolderError, named
from vkdnw_search.recipe.sections import Stop
from vkdnw_search.records import Cost, Evaluation, Genome, Score, Status
from vkdnw_search.runs.given import number_given
from vkdnw_search.runs.reused import counted
from vkdnw_search.runs.store import Snapshot, Store

LOGGER = logging.getLogger(__name__)

SPACING = 100
"""Number of candidates from one checkpoint of the optimizer to the next: telling it so many again takes a second at
most."""

Listener = Callable[[Evaluation], None]


@dataclass(frozen=True, slots=True)
class Generation:
    """What one ask of the optimizer came to.

    Attributes:
        number: of the generation, from 0.
        first: number of its first candidate.
        asked: number of candidates asked for.
        evaluations: what came of them, in order; fewer where the run had to end.
        complete: whether all that the optimizer had to propose was asked for and evaluated.
    """

    number: int
    first: int
    asked: int
    evaluations: tuple[Evaluation, ...]
    complete: bool

    @property
    def nothing_left(self) -> bool:
        """Whether the optimizer had nothing to propose."""
        return self.complete and not self.asked


class Session:
    """Evaluates what an optimizer proposes, each candidate once in the life of the run folder.

    Args:
        evaluator: of the run.
        store: what earlier sessions found is taken from here; everything new goes there.
        executor: where candidates are scored.
        stop: the limits.
        clock: when the run must end before it is done.
        reserve: scores that the end of the run will need, for which time is kept.
        best: what the end of the run asks for; a candidate that cannot get there nor survive is not scored.
        listener: called with every evaluation as it is done.
        known: scores of an earlier run, which are not computed again.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        store: Store,
        executor: Executor,
        *,
        stop: Stop,
        clock: Clock,
        reserve: int,
        best: BestScores,
        listener: Listener,
        known: KnownScores | None = None,
    ) -> None:
        self._evaluator, self._store, self._executor = evaluator, store, executor
        self._stop, self._clock, self._reserve, self._best, self._listener = stop, clock, reserve, best, listener
        self._known = known
        self._scores: dict[str, Score] = {}
        self._given, self._scores_given = number_given(store), dict[str, Score]()
        self._scored = store.counts().get(Status.SCORED, 0)
        self.number = self.generation = self._kept = 0
        self._audit = Audit(
            evaluator.proxy,
            text=store.note(NOTE),
            keep=partial(store.set_note, NOTE),
            run_one=partial(run_audit, executor=executor),
            where=store.path,
        )
        evaluator.proxy = self._audit.proxy
        if known is not None:
            store.set_note(*next(iter(counted(store, known.folder).items())))

    def stop_reason(self) -> str | None:
        """Why the search must end now, in words; None while it may go on."""
        if reason := self._clock.stop_reason(reserve=self._seconds_kept()):
            return reason
        if self.number >= self._stop.evaluations:
            return f"the {self._stop.evaluations} evaluations asked for are done"
        if self._stop.generations is not None and self.generation >= self._stop.generations:
            return f"the {self._stop.generations} generations asked for are done"
        return None

    def resume(self, optimizer: Optimizer) -> None:
        """Go on from the last checkpoint of the optimizer, or from the start: what is known is not evaluated again.

        Another version might read a checkpoint differently. It starts from the beginning, and every generation that it
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
                f"not: {named(error)}. Nothing was changed; choose another folder with --out"
            ) from error
        self.number, self.generation, self._kept = snapshot.number, snapshot.generation, snapshot.number
        self._refit(optimizer)
        LOGGER.info("went on after %d candidates", self.number)

    def _told(self, count: int) -> Iterator[Evaluation]:
        """The first ``count`` evaluations as they were told, while this session takes them into account."""
        for number, evaluation in zip(range(count), self._store.evaluations(count=count), strict=True):
            if evaluation.number != number:
                raise LookupError(f"candidate {number} is missing")
            self._count((evaluation,))
            self._listener(evaluation)
            yield evaluation

    def ask(self, optimizer: Optimizer) -> Iterator[Genome]:
        """Ask for the next generation. An optimizer with a stream breeds it while workers score the first of it."""
        return optimizer.stream() if isinstance(optimizer, HasStream) else iter(optimizer.ask())

    def evaluate(self, genomes: Iterator[Genome], *, threshold: Callable[[Cost], float]) -> Generation:
        """Evaluate one generation: a genome is taken whenever there is room for a candidate.

        Args:
            genomes: in order.
            threshold: a candidate of a cost whose upper bound is below need not be scored (see HasThreshold).
        """
        batch = _Batch(genomes, first=self.number, last=self._stop.evaluations)
        tasks = self._to_score(batch, lambda cost: min(threshold(cost), self._best.least(cost)))
        for number, outcome in run_tasks(
            tasks, self._executor, call=score_candidate, lost=lost_candidate, stopped=self._must_pause
        ):
            genome = batch.genome(number)
            evaluation = self._evaluator.conclude(outcome, genome, number=number, generation=self.generation)
            self._record(batch, evaluation, outcome.seconds)
        done = batch.in_order()
        complete = batch.at_end and len(done) == len(batch.asked)
        generation = Generation(self.generation, self.number, len(batch.asked), tuple(done), complete)
        self._count(done)
        self.number += len(done)
        self.generation += bool(batch.asked) and len(done) == len(batch.asked)
        LOGGER.info("generation %d: %d candidates so far", self.generation, self.number)
        return generation

    def _to_score(self, batch: _Batch, threshold: Callable[[Cost], float]) -> Iterator[tuple[int, Task]]:
        """Tasks for those of ``batch`` that must be scored; the others are recorded."""
        for number, genome in batch:
            if (stored := self._store.known(number, genome)) is not None:
                batch.done[number] = stored
                self._listener(stored)
                continue
            evaluation = self._evaluator.prepare(genome, number=number, generation=self.generation, threshold=threshold)
            if evaluation is None:
                self._audit.hold(self._evaluator.task(genome))
                self._evaluator.proxy = self._audit.proxy
                task = self._evaluator.task(genome)
                if (score := self.known(task)) is None:
                    yield number, task
                else:
                    self._reuse(batch, score, number, genome)
            else:
                self._record(batch, evaluation, 0.0)
        if batch.at_end and batch.asked:
            self._store.add_generation(self.generation, first=batch.first, genomes=batch.asked)

    def tell(self, optimizer: Optimizer, generation: Generation) -> None:
        """Tell the optimizer what came of its generation; where fitness is relative, what that of all is now."""
        self._refit(optimizer)
        optimizer.tell(generation.evaluations)
        if isinstance(optimizer, HasState) and generation.complete and self.number - self._kept >= SPACING:
            self._store.set_snapshot(Snapshot(self.generation, self.number, _maker(optimizer), optimizer.state()))
            self._kept = self.number

    def _refit(self, optimizer: Optimizer) -> None:
        proxy = self._evaluator.proxy
        if isinstance(proxy, HasRelativeFitness) and isinstance(optimizer, HasRefit):
            scores = self._scores | self._scores_given  # in this order: see fitness_of
            fitness = proxy.fitness(list(scores.values())) if scores else ()
            optimizer.refit(dict(zip(scores, map(float, fitness), strict=True)))

    def _count(self, evaluations: Sequence[Evaluation]) -> None:
        """Take evaluations into account, in their order."""
        self._best.add(evaluations)
        if isinstance(self._evaluator.proxy, HasRelativeFitness):
            for e in evaluations:
                if e.status.has_score and e.score is not None:
                    (self._scores_given if e.number < self._given else self._scores)[e.key] = e.score

    def known(self, task: Task) -> Score | None:
        """The score that an earlier run has computed in the same way; None if there is none."""
        if self._known is None or self._known.is_careful != self._audit.is_careful:
            return None
        return self._known.score(task)

    def _reuse(self, batch: _Batch, score: Score, number: int, genome: Genome) -> None:
        """Record what an earlier run has computed."""
        assert self._known is not None
        outcome = Outcome(score, "", 0.0)
        evaluation = self._evaluator.conclude(outcome, genome, number=number, generation=self.generation)
        self._record(batch, evaluation, 0.0, counted(self._store, self._known.folder, candidates=1))

    def _record(
        self, batch: _Batch, evaluation: Evaluation, seconds: float, notes: Mapping[str, str] | None = None
    ) -> None:
        now = self._clock.seconds()
        self._store.add([evaluation], seconds={evaluation.number: seconds}, now=now, notes=notes)
        self._scored += evaluation.status.has_score and notes is None
        batch.done[evaluation.number] = evaluation
        self._listener(evaluation)

    def _must_pause(self) -> bool:
        return self._clock.stop_reason(reserve=self._seconds_kept()) is not None

    def _seconds_kept(self) -> float:
        """Seconds that the end of the run will take, as long as a score takes as it did so far."""
        return self._reserve * self._clock.seconds() / self._scored if self._scored else 0.0


class _Batch:
    """The genomes of one generation as they are taken, and what is known of them.

    Attributes:
        first: number of its first candidate.
        asked: the genomes taken so far.
        at_end: whether there is no other genome.
        done: number → evaluation.
    """

    def __init__(self, genomes: Iterator[Genome], *, first: int, last: int) -> None:
        self.first, self._last, self._genomes = first, last, genomes
        self.asked: list[Genome] = []
        self.at_end = False
        self.done: dict[int, Evaluation] = {}

    def __iter__(self) -> Iterator[tuple[int, Genome]]:
        """Take a genome, with its number, up to the last number that there may be."""
        for number in range(self.first, self._last):
            if (genome := next(self._genomes, None)) is None:
                break
            self.asked.append(genome)
            yield number, genome
        self.at_end = next(self._genomes, None) is None

    def genome(self, number: int) -> Genome:
        """The genome of a candidate."""
        return self.asked[number - self.first]

    def in_order(self) -> list[Evaluation]:
        """Evaluations up to the first that is missing."""
        numbers = takewhile(self.done.__contains__, range(self.first, self.first + len(self.asked)))
        return [self.done[number] for number in numbers]


STORED_MODULES = {"vkdnw_search.optimizers.algorithms": "vkdnw_search.optimizers"}
"""Module → what stands for it in snapshots. A module path is stored data there: one that moves keeps its old name, or
run folders from before would be replayed from their beginning."""


def _maker(optimizer: Optimizer) -> str:
    """The optimizer and the versions on which its next asks depend."""
    packages = (f"{name} {version(name)}" for name in ("vkdnw-search", "numpy", "pymoo"))
    module = STORED_MODULES.get(type(optimizer).__module__, type(optimizer).__module__)
    return ", ".join((f"{module}.{type(optimizer).__qualname__}", *packages))
