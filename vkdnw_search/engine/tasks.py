"""A task is one network to be scored: what a worker needs, and how many tasks run on an executor."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from vkdnw_search.contracts import Architecture, DrawsWeights, HasCostScore, Probe, Proxy, SearchSpace
from vkdnw_search.determinism import device_of, one_thread, seed_from
from vkdnw_search.errors import CandidateLost, DegenerateNetwork, ExecutionError, VkdnwSearchError
from vkdnw_search.proxies.initialization import draws_all, without_weights
from vkdnw_search.records import Cost, Genome, Score


@dataclass(frozen=True, slots=True)
class Task:
    """All that a worker needs to score one candidate: the score is a function of this record alone."""

    space: SearchSpace[Architecture]
    proxy: Proxy
    genome: Genome
    key: str
    cost: Cost
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a task: a score, or why there is none."""

    score: Score | None
    reason: str
    seconds: float


def score_candidate(task: Task) -> Outcome:
    """Build the network of ``task`` and score it, on one thread. Runs in a worker.

    Raises:
        ExecutionError: anything but a degenerate network; the message names the architecture.
    """
    started = time.perf_counter()
    score: Score | None = None
    try:
        score, reason = _score(task), ""
        if not math.isfinite(score.value):
            reason, score = f"the score is {score.value}", None
    except DegenerateNetwork as error:
        score, reason = None, str(error)
    except VkdnwSearchError:
        raise
    except Exception as error:
        if not _is_lack_of_memory(error):
            raise ExecutionError(_told(task, error)) from error
        score, reason = None, "takes more memory than there is"
    return Outcome(score, reason, time.perf_counter() - started)


def _told(task: Task, error: Exception) -> str:
    return f"scoring {task.key} with {type(task.proxy).__name__}: {type(error).__name__}: {error}"


def _is_lack_of_memory(error: Exception) -> bool:
    """PyTorch has an exception of its own for accelerators only; on the CPU its allocator's name tells."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _score(task: Task) -> Score:
    space = task.space
    if isinstance(task.proxy, HasCostScore):
        return task.proxy.score_cost(task.cost)
    probe = Probe(space.input_shape, space.num_classes, task.seed, device_of(task.proxy), task.cost)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_from(task.seed, "construction"))
        redrawn = isinstance(task.proxy, DrawsWeights) and task.proxy.draws_weights
        with without_weights() if redrawn else nullcontext():
            model = space.build(space.decode(task.genome))
        if redrawn and not draws_all(model):
            model = space.build(space.decode(task.genome))
        return task.proxy(model, probe)


def run_tasks(
    tasks: Iterable[tuple[int, Task]], executor: Executor, *, stopped: Callable[[], bool]
) -> Iterator[tuple[int, Outcome]]:
    """Score ``tasks``, (number, task), and yield each (number, outcome) as it comes.

    A task is taken when the executor has room for it. Once ``stopped()`` no further one is, and those under way are
    waited for.
    """
    waiting, running = iter(tasks), dict[Future[Outcome], int]()
    capacity: float = getattr(executor, "capacity", math.inf)
    while True:
        while len(running) < capacity and not stopped() and (taken := next(waiting, None)) is not None:
            number, task = taken
            running[executor.submit(score_candidate, task)] = number
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            yield running.pop(future), _outcome(future)


def _outcome(future: Future[Outcome]) -> Outcome:
    """What came of a task that is done.

    Raises:
        ExecutionError: the executor is at an end. What was recorded stays; the run can be continued.
    """
    try:
        return future.result()
    except CandidateLost as error:
        return Outcome(None, str(error), 0.0)
    except (BrokenExecutor, CancelledError) as error:
        raise ExecutionError(
            f"the executor came to an end before the candidates under way had: {type(error).__name__}: {error}. What "
            "was found is in the run folder; the same command continues the run"
        ) from error
