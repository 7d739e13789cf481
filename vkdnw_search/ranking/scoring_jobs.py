"""Score the networks of a study: every network with every proxy, once per seed; what is stored is not done again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn

from vkdnw_search.contracts import Architecture, HasCostScore, HasText, Probe, Proxy, SearchSpace
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.determinism import device_of, one_thread, seed_from
from vkdnw_search.errors import CandidateLost, DegenerateNetwork, ExecutionError, RankingError, VkdnwSearchError
from vkdnw_search.ranking.plan import VALUE
from vkdnw_search.ranking.score_store import PartScore, ScoreStore
from vkdnw_search.records import Cost, Score

CLOCK_TICK = 1e-6
"""Seconds; no forward pass counts for less, whatever the resolution of the clock."""

__all__ = ["Job", "Listener", "measure_costs", "readable", "score_all", "score_network"]

Listener = Callable[[int, int], None]
"""Called with (networks done, networks in all), a network counting once per seed."""


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker needs to score one network with some proxies, identity → proxy.

    ``seed`` numbers the repetition. The probe's own seed follows from it and the key, so that the error of a score is
    that network's own, as in the published evaluation; a search draws one set of numbers for all its candidates.
    """

    space: SearchSpace[Architecture]
    key: str
    seed: int
    cost: Cost
    parts: Mapping[str, Proxy]


def score_network(job: Job) -> list[PartScore]:
    """What each proxy of ``job`` says, on one thread. A degenerate network is a recorded failure. Runs in a worker.

    Raises:
        ExecutionError: any other failure; the message names proxy and architecture.
    """
    seed = seed_from(job.seed, job.key)
    with one_thread(), torch.random.fork_rng(devices=[]):
        return [_part_score(identity, proxy, job, seed) for identity, proxy in job.parts.items()]


def _built(job: Job, seed: int) -> nn.Module:
    torch.manual_seed(seed_from(seed, "construction"))
    return job.space.build(readable(job.space).parse(job.key))


def _part_score(identity: str, proxy: Proxy, job: Job, seed: int) -> PartScore:
    try:
        score = _score(proxy, job, seed)
    except DegenerateNetwork as error:
        return PartScore(identity, reason=str(error))
    except VkdnwSearchError:
        raise
    except Exception as error:
        raise ExecutionError(
            f"scoring {job.key} with {type(proxy).__name__}: {type(error).__name__}: {error}"
        ) from error
    bad = next((value for value in (score.value, *score.terms.values()) if not math.isfinite(value)), None)
    if bad is not None:
        return PartScore(identity, reason=f"the score is {bad}")
    return PartScore(identity, {VALUE: score.value, **score.terms})


def _score(proxy: Proxy, job: Job, seed: int) -> Score:
    if isinstance(proxy, HasCostScore):
        return proxy.score_cost(job.cost)
    model = _built(job, seed)  # anew for each proxy, which may change it: building takes less time than copying
    torch.manual_seed(seed_from(seed, "proxy"))  # so that no proxy depends on those before it
    probe = Probe(job.space.input_shape, job.space.num_classes, seed, device_of(proxy), job.cost)
    return proxy(model, probe)


def readable(space: SearchSpace[Architecture]) -> HasText:
    """``space`` itself, which must read architectures. Raises RankingError if it cannot."""
    if not isinstance(space, HasText):
        raise RankingError(
            f"{space.name}: must have a method parse(text), or the architectures of an accuracy table cannot be read"
        )
    return space


def score_all(
    space: SearchSpace[Architecture],
    keys: Sequence[str],
    parts: Mapping[str, Proxy],
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
    """
    total = seeds * len(keys)
    missing = []
    for seed in range(seeds):
        for key in keys:
            done = store.done(key, seed)
            if names := tuple(name for name in parts if name not in done):
                missing.append((seed, key, names))
    listener(total - len(missing), total)
    parse = readable(space).parse
    jobs = (
        Job(space, key, seed, counter.cost(parse(key)), {name: parts[name] for name in names})
        for seed, key, names in missing
    )
    finished = total - len(missing)
    for job, scores in _outcomes(jobs, executor, stopped):
        store.add(job.key, job.seed, scores)
        finished += 1
        listener(finished, total)
    return finished == total


def _outcomes(
    jobs: Iterable[Job], executor: Executor, stopped: Callable[[], bool]
) -> Iterator[tuple[Job, list[PartScore]]]:
    """Each job with its scores, as they come; only as many jobs are made as the executor has room for."""
    capacity = int(getattr(executor, "capacity", 64))
    waiting, running = iter(jobs), dict[Future[list[PartScore]], Job]()
    exhausted = False
    while True:
        while not exhausted and len(running) < capacity and not stopped():
            job = next(waiting, None)
            if job is None:
                exhausted = True
            else:
                running[executor.submit(score_network, job)] = job
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            job = running.pop(future)
            yield job, _result(future, job)


def _result(future: Future[list[PartScore]], job: Job) -> list[PartScore]:
    try:
        return future.result()
    except CandidateLost as error:  # its time or memory ran out: a failure of this network, not of the study
        return [PartScore(part, reason=str(error)) for part in job.parts]


def measure_costs(
    space: SearchSpace[Architecture],
    keys: Sequence[str],
    proxies: Mapping[str, Proxy],
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


def _forwards(space: SearchSpace[Architecture], costs: Mapping[str, Cost], identity: str, proxy: Proxy) -> float:
    clock = time.process_time if device_of(proxy).type == "cpu" else time.perf_counter
    ratios = []
    for number, key in enumerate([*list(costs)[:1], *costs]):
        job = Job(space, key, 0, costs[key], {identity: proxy})
        with one_thread(), torch.random.fork_rng(devices=[]):
            once = _forward_seconds(_built(job, 0), proxy, job, clock)
            started = clock()
            score = _part_score(identity, proxy, job, 0)
            if number > 0 and not score.reason:  # the first call of a proxy takes longer, and is not counted
                ratios.append((clock() - started) / once)
    return median(ratios) if ratios else math.nan


@torch.no_grad()
def _forward_seconds(model: nn.Module, proxy: Proxy, job: Job, clock: Callable[[], float]) -> float:
    """Least of three, after one that is not counted."""
    channels, *size = job.space.input_shape
    side = getattr(proxy, "resolution", None)
    device = device_of(proxy)
    images = torch.zeros(getattr(proxy, "images", 64), channels, *([side] * len(size) if side else size), device=device)
    model.to(device).eval()
    seconds = []
    for _ in range(4):
        started = clock()
        model(images)
        seconds.append(clock() - started)
    return max(min(seconds[1:]), CLOCK_TICK)
