"""Scores beside those of the candidates: on fresh initializations, of neighbours, by other proxies.

Each is computed once in a run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Self

from vkdnw_search.contracts import AnyProxy, HasRelativeFitness, Proxy
from vkdnw_search.engine.clock import Clock
from vkdnw_search.engine.evaluator import Evaluator
from vkdnw_search.engine.tasks import Task, lost_candidate, run_tasks, score_candidate
from vkdnw_search.records import Genome, Score
from vkdnw_search.runs.given import number_given
from vkdnw_search.runs.reused import counted
from vkdnw_search.runs.store import Store


class Rescorer:
    """Scores networks and keeps each score with the run, so that an interrupted run goes on where it stopped.

    Args:
        evaluator: of the run.
        store: where the scores are kept.
        executor: where networks are scored.
        clock: when the run must end before it is done.
        known: task → its score, where an earlier run has computed it.
        source: what to call that run.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        store: Store,
        executor: Executor,
        clock: Clock,
        *,
        known: Callable[[Task], Score | None] = lambda task: None,
        source: object = None,
    ) -> None:
        self._evaluator, self._store, self._executor, self._clock = evaluator, store, executor, clock
        self._known, self._source = known, source

    def with_proxy(self, proxy: Proxy) -> Self:
        """One that scores by another proxy, to be given seeds of its own: what is kept is known by network and seed."""
        other = copy.copy(self)
        other._evaluator = self._evaluator.with_proxy(proxy)
        return other

    def scores(self, networks: Sequence[tuple[Genome, int | None]]) -> list[Score | None]:
        """The score of each of ``networks``, (genome, seed), in order; None for one without a usable score.

        Args:
            networks: in the order in which they are begun; a seed of None is that of the search.

        Raises:
            Interrupted: the run must end. The scores so far are kept.
        """
        tasks = [self._task(genome, seed) for genome, seed in networks]
        known = [self._store.extra_score(task.key, task.seed) or self._taken(task) for task in tasks]
        missing = [(number, task) for number, task in enumerate(tasks) if known[number] is None]
        for number, outcome in run_tasks(
            missing, self._executor, call=score_candidate, lost=lost_candidate, stopped=self._clock.is_over
        ):
            known[number] = (outcome.score,)
            self._store.add_extra_score(tasks[number].key, tasks[number].seed, outcome.score)
        if None in known:
            self._clock.check()
        return [score for (score,) in filter(None, known)]

    def _taken(self, task: Task) -> tuple[Score] | None:
        """The score of an earlier run, which is kept with this one, too; None if there is none."""
        if (score := self._known(task)) is None:
            return None
        self._store.add_extra_score(task.key, task.seed, score, notes=counted(self._store, self._source, others=1))
        return (score,)

    def _task(self, genome: Genome, seed: int | None) -> Task:
        task = self._evaluator.task(genome)
        return task if seed is None else replace(task, seed=seed)


def fresh_fitness(columns: Sequence[Sequence[Score]], proxy: AnyProxy, store: Store) -> list[list[float]]:
    """The values of scores on fresh initializations; where fitness is relative, that among all that the search saw.

    Args:
        columns: the scores of several networks for each initialization; each column is ranked with the candidates'.
        proxy: of the run.
        store: of the run.
    """
    if not isinstance(proxy, HasRelativeFitness):
        return [[s.value for s in column] for column in columns]
    scored, given = [e for e in store.evaluations() if e.status.has_score], number_given(store)
    scored.sort(key=lambda e: e.number < given)  # see fitness_of
    seen = [e.score for e in scored if e.score is not None]
    return [[float(value) for value in proxy.fitness([*seen, *column])[len(seen) :]] for column in columns]
