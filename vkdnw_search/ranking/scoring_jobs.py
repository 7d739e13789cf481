"""Score the networks of a study: every network with every proxy, once per seed; what is stored is not done again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import torch

from vkdnw_search.contracts import AnyProxy, Architecture, HasCostScore, HasText, SearchSpace, input_shape_of
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.determinism import device_of, forked_generators, one_thread, seed_from, seed_generators
from vkdnw_search.engine.audit import NOTE, Audit, run_audit
from vkdnw_search.engine.tasks import Outcome, Task, run_tasks, score_candidate
from vkdnw_search.errors import RankingError
from vkdnw_search.proxies.probing import image_shape
from vkdnw_search.ranking.plan import VALUE
from vkdnw_search.ranking.score_store import PartScore, ScoreStore
from vkdnw_search.records import Cost

CLOCK_TICK = 1e-6
"""Seconds; no forward pass counts for less, whatever the resolution of the clock."""

__all__ = ["Job", "Listener", "audits_of", "measure_costs", "readable", "score_all", "score_network"]

Listener = Callable[[int, int], None]
"""Called with (networks done, networks in all), a network counting once per seed."""


@dataclass(frozen=True, slots=True)
class Job:
    """A network to score with some proxies, identity → proxy: everything that a worker needs for it.

    ``seed`` numbers the repetition. The seed of the scores follows from it and the key, so that the error of a score is
    that network's own, as in the published evaluation; a search draws one set of numbers for all its candidates.
    """

    space: SearchSpace[Architecture]
    key: str
    seed: int
    cost: Cost
    parts: Mapping[str, AnyProxy]

    def task(self, identity: str) -> Task:
        """The order to score the network with one of the proxies."""
        seed = seed_from(self.seed, self.key)
        return Task(self.space, self.parts[identity], None, self.key, self.cost, seed)


def score_network(job: Job) -> list[PartScore]:
    """Score the network of ``job`` with each of its proxies, on one thread; runs in a worker.

    A degenerate network is a recorded failure. Each proxy, which may change the network, has it built anew: that takes
    less time than copying.

    Raises:
        ExecutionError: any other failure; the message names proxy and architecture.
    """
    return [_part_score(identity, score_candidate(job.task(identity))) for identity in job.parts]


def _part_score(identity: str, outcome: Outcome) -> PartScore:
    score = outcome.score
    if score is None:
        return PartScore(identity, reason=outcome.reason)
    bad = next((value for value in score.terms.values() if not math.isfinite(value)), None)
    if bad is not None:
        return PartScore(identity, reason=f"the score is {bad}")
    return PartScore(identity, {VALUE: score.value, **score.terms})


def _lost(job: Job, reason: str) -> list[PartScore]:
    """What is recorded of a network whose time or memory ran out: a failure of this network, not of the study."""
    return [PartScore(part, reason=reason) for part in job.parts]


def readable(space: SearchSpace[Architecture]) -> HasText:
    """``space`` itself, which must read architectures. Raises RankingError if it cannot."""
    if not isinstance(space, HasText):
        raise RankingError(
            f"{space.name}: must have a method parse(text), or the architectures of an accuracy table cannot be read"
        )
    return space


def audits_of(parts: Mapping[str, AnyProxy], store: ScoreStore, executor: Executor) -> dict[str, Audit]:
    """Identity → audit of the proxy's fast way: once in the life of the study, on the first network it scores."""
    run_one = partial(run_audit, executor=executor)
    notes = {identity: f"{NOTE} of {identity}" for identity in parts}
    return {
        identity: Audit(
            proxy,
            text=store.note(notes[identity]),
            keep=partial(store.set_note, notes[identity]),
            run_one=run_one,
            where=store.path,
        )
        for identity, proxy in parts.items()
    }


def score_all(
    space: SearchSpace[Architecture],
    keys: Sequence[str],
    audits: Mapping[str, Audit],
    store: ScoreStore,
    executor: Executor,
    *,
    counter: CostCounter[Architecture],
    seeds: int,
    listener: Listener,
    stopped: Callable[[], bool],
) -> bool:
    """Complete ``store``; True once every network has every score. Memory does not grow with the networks.

    Once ``stopped()`` no further network is begun, and those under way are finished and stored.

    Args:
        space: of the networks.
        keys: their canonical keys.
        audits: identity → what holds a proxy back until its fast way was checked.
        store: takes what is scored.
        executor: where networks are scored.
        counter: of ``space``.
        seeds: repetitions.
        listener: told how many are done.
        stopped: asked before a network is begun.
    """
    total = seeds * len(keys)
    missing = []
    for seed in range(seeds):
        for key in keys:
            done = store.done(key, seed)
            if names := tuple(name for name in audits if name not in done):
                missing.append((seed, key, names))
    listener(total - len(missing), total)
    parse = readable(space).parse
    jobs = (
        _held(Job(space, key, seed, counter.cost(parse(key)), {name: audits[name].proxy for name in names}), audits)
        for seed, key, names in missing
    )
    finished = total - len(missing)
    named = ((job, job) for job in jobs)
    for job, scores in run_tasks(named, executor, call=score_network, lost=_lost, stopped=stopped):
        store.add(job.key, job.seed, scores)
        finished += 1
        listener(finished, total)
    return finished == total


def _held(job: Job, audits: Mapping[str, Audit]) -> Job:
    """``job`` with the proxies that score it, each audited where that is still to be done."""
    for identity in job.parts:
        audits[identity].hold(job.task(identity))
    return replace(job, parts={identity: audits[identity].proxy for identity in job.parts})


def measure_costs(
    space: SearchSpace[Architecture],
    keys: Sequence[str],
    proxies: Mapping[str, AnyProxy],
    *,
    counter: CostCounter[Architecture],
) -> dict[str, float]:
    """Identity → what a proxy costs, in forward passes without gradients of a batch like its own, on one thread.

    The median over ``keys``; construction and initialization are part of the proxy. On a CPU it is the processor's
    time, which other programs on the machine hardly change. 0 for a proxy of the cost alone. NaN where every one of
    the networks is degenerate.
    """
    parse = readable(space).parse
    costs = {key: counter.cost(parse(key)) for key in keys if proxies}
    return {
        identity: 0.0 if isinstance(proxy, HasCostScore) else _forwards(space, costs, identity, proxy)
        for identity, proxy in proxies.items()
    }


def _forwards(space: SearchSpace[Architecture], costs: Mapping[str, Cost], identity: str, proxy: AnyProxy) -> float:
    clock = time.process_time if device_of(proxy).type == "cpu" else time.perf_counter
    ratios = []
    for number, key in enumerate([*list(costs)[:1], *costs]):
        task = Task(space, proxy, None, key, costs[key], 0)
        with one_thread(), forked_generators():
            once = _forward_seconds(task, clock)
            started = clock()
            outcome = score_candidate(task)
            if number > 0 and outcome.score is not None:  # the first call takes longer, and is not counted
                ratios.append((clock() - started) / once)
    return median(ratios) if ratios else math.nan


@torch.no_grad()
def _forward_seconds(task: Task, clock: Callable[[], float]) -> float:
    """Least of three, after one that is not counted."""
    shape = image_shape(input_shape_of(task.space, task.architecture()), getattr(task.proxy, "resolution", None))
    device = device_of(task.proxy)
    images = torch.zeros(getattr(task.proxy, "images", 64), *shape, device=device)
    seed_generators(seed_from(task.seed, "construction"))
    model = task.space.build(task.architecture()).to(device).eval()
    seconds = []
    for _ in range(4):
        started = clock()
        model(images)
        seconds.append(clock() - started)
    return max(min(seconds[1:]), CLOCK_TICK)
