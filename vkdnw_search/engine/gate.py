"""Who may win: only what can be trained, and takes no longer than allowed. Otherwise the next takes its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace

from vkdnw_search.determinism import seed_from
from vkdnw_search.engine.clock import Clock
from vkdnw_search.engine.evaluator import Evaluator
from vkdnw_search.engine.tasks import run_tasks
from vkdnw_search.engine.trainability import Trial, lost_trial, too_large, try_training
from vkdnw_search.engine.whole_latency import WholeLatencies
from vkdnw_search.records import Evaluation
from vkdnw_search.runs.judgement import Finalist


class Gate:
    """Lets only those win that can be trained and, timed whole, keep the limit of latency.

    Args:
        evaluator: of the run.
        executor: where networks are tried; its limits hold for that, too.
        clock: when the run must end before it is done.
        latencies: tells who is too slow.
    """

    def __init__(self, evaluator: Evaluator, executor: Executor, clock: Clock, latencies: WholeLatencies) -> None:
        self._space, self._seed = evaluator.space, seed_from(evaluator.seed, "trainability")
        self._executor, self._clock, self.latencies = executor, clock, latencies
        self._faults: dict[int, str] = {}
        self.warnings: list[str] = []

    @property
    def untrainable(self) -> tuple[int, ...]:
        """The numbers of the candidates that cannot be trained, of those that were tried."""
        return tuple(sorted(number for number, fault in self._faults.items() if fault))

    def fit(self, placed: Sequence[Finalist]) -> list[Finalist]:
        """The first of what :meth:`placed` gave, and those of the others that nothing is known against."""
        refused = {*self.untrainable, *self.latencies.refused}
        return [f for f in placed if f is placed[0] or f.number not in refused]

    def placed(self, ranked: Sequence[Finalist], candidates: Mapping[int, Evaluation]) -> list[Finalist]:
        """``ranked`` with the first that may win in front; where all are too slow, the first that can be trained.

        The order stays if none can be trained.

        Args:
            ranked: the best first.
            candidates: number → evaluation, of all that are ranked.

        Raises:
            Interrupted: the run must end.
        """
        first = self._first(ranked, candidates)
        if first is None:
            return list(ranked)
        place = ranked.index(first)
        refused = [replace(f, verdict=self._fault(candidates[f.number])) for f in ranked[:place]]
        for f in refused:
            self._warn(f"network {f.number} would have won, but {f.verdict}")
        return [first, *refused, *ranked[place + 1 :]]

    def _first(self, ranked: Sequence[Finalist], candidates: Mapping[int, Evaluation]) -> Finalist | None:
        """The first that may win; where none may, the first that can be trained; None if none can."""
        if (fit := next((f for f in ranked if not self._fault(candidates[f.number])), None)) is not None:
            return fit
        able = next((f for f in ranked if f.number not in self.untrainable), None)
        if able is not None:
            self._warn(
                f"none of the best {len(ranked)} keeps the limit of latency when it is timed whole: network "
                f"{able.number} wins, but {self.latencies.fault(candidates[able.number])}. Search with a lower "
                "limits.latency"
            )
        elif ranked:
            self._warn(f"none of the best {len(ranked)} can be trained: {self._faults[ranked[0].number]}")
        return able

    def _warn(self, sentence: str) -> None:
        """Warn once, though a network may lead several bands."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def _fault(self, candidate: Evaluation) -> str:
        """Why a candidate must not win, in words; empty if it may."""
        fault = self._training_fault(candidate)
        return f"cannot be trained: {fault}" if fault else self.latencies.fault(candidate)

    def _training_fault(self, candidate: Evaluation) -> str:
        """Why a candidate cannot be trained; empty if it can."""
        if candidate.number not in self._faults:
            self._clock.check()
            trial = Trial(self._space, candidate.genome, candidate.key, self._seed)
            self._faults[candidate.number] = too_large(candidate.cost) or self._tried(trial)
        return self._faults[candidate.number]

    def _tried(self, trial: Trial) -> str:
        outcomes = run_tasks([(0, trial)], self._executor, call=try_training, lost=lost_trial, stopped=lambda: False)
        return next(fault for _, fault in outcomes)
