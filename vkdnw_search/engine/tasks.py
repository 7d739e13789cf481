"""A task is one network to be scored by one proxy: what a worker needs, and how tasks run on an executor.

The search, its finalists and ``vkdnw-search rank`` all score through :func:`score_candidate` and :func:`run_tasks`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from vkdnw_search.contracts import AnyProxy, Architecture, HasCostScore, HasText, Probe, SearchSpace, input_shape_of
from vkdnw_search.determinism import device_of, forked_generators, one_thread, seed_from, seed_generators
from vkdnw_search.errors import CandidateLost, DegenerateNetwork, ExecutionError, SpaceError, VkdnwSearchError, named
from vkdnw_search.fisher.likelihood import likelihood_of
from vkdnw_search.proxies.initialization import draws_all, without_weights
from vkdnw_search.proxies.plain import draws_weights, name_of, score_with
from vkdnw_search.records import Cost, Genome, Score

K = TypeVar("K")
T = TypeVar("T")
R = TypeVar("R")


UNKNOWN_CAPACITY = 1024
"""Tasks that an executor which does not say how many it wants is given at a time: more than any has workers."""


@dataclass(frozen=True, slots=True)
class Task:
    """All that a worker needs to score one network: the outcome is a function of this record alone.

    Attributes:
        space: of the network.
        proxy: what scores it.
        genome: of the network; None for one that ``space`` is to read from ``key``.
        key: the architecture as text.
        cost: what the network costs.
        seed: all randomness of construction and score comes from it.
    """

    space: SearchSpace[Architecture]
    proxy: AnyProxy
    genome: Genome | None
    key: str
    cost: Cost
    seed: int

    def architecture(self) -> Architecture:
        """The architecture to build."""
        if self.genome is not None:
            return self.space.decode(self.genome)
        if not isinstance(self.space, HasText):
            raise SpaceError(f"{self.space.name}: must have a method parse(text) to build {self.key}")
        return self.space.parse(self.key)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a task: a score, or why there is none, and the seconds it took."""

    score: Score | None
    reason: str
    seconds: float


def score_candidate(task: Task) -> Outcome:
    """Build the network of ``task`` and score it, on one thread. Runs in a worker.

    Raises:
        ExecutionError: anything but a degenerate network or a lack of memory; the message names the architecture.
    """
    started = time.perf_counter()
    score: Score | None = None
    try:
        score, reason = _score(task), ""
        if not math.isfinite(score.value):
            reason, score = f"the score is {score.value}", None
    except DegenerateNetwork as error:
        reason = str(error)
    except VkdnwSearchError:
        raise
    except Exception as error:
        if not is_lack_of_memory(error):
            raise ExecutionError(f"scoring {task.key} with {name_of(task.proxy)}: {named(error)}") from error
        reason = "takes more memory than there is"
    return Outcome(score, reason, time.perf_counter() - started)


def lost_candidate(task: Task, reason: str) -> Outcome:
    """The outcome of a task that its executor gave up, for ``reason``."""
    return Outcome(None, reason, 0.0)


def is_lack_of_memory(error: Exception) -> bool:
    """Whether ``error`` says that memory ran out. For the CPU, PyTorch has no exception: its allocator's name tells."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _score(task: Task) -> Score:
    if isinstance(task.proxy, HasCostScore):
        return task.proxy.score_cost(task.cost)
    with network_of(task) as (model, probe):
        return score_with(task.proxy, model, probe)


@contextmanager
def network_of(task: Task) -> Iterator[tuple[nn.Module, Probe]]:
    """The network of ``task`` and how to look at it, on one thread and with random generators of its own."""
    space, device = task.space, device_of(task.proxy)
    architecture = task.architecture()
    probe = Probe(
        input_shape_of(space, architecture), space.num_classes, task.seed, device, task.cost, likelihood_of(space)
    )
    with one_thread(), forked_generators():
        model = _built(task, architecture)
        seed_generators(seed_from(task.seed, "proxy"))  # however many numbers the construction drew
        yield model, probe


def _built(task: Task, architecture: Architecture) -> nn.Module:
    """The network of ``task``; without weights where its proxy draws them all anew. Seeds the global generators."""
    seed_generators(seed_from(task.seed, "construction"))
    redrawn = draws_weights(task.proxy)
    with without_weights() if redrawn else nullcontext():
        model = task.space.build(architecture)
    return task.space.build(architecture) if redrawn and not draws_all(model) else model


def run_tasks(
    tasks: Iterable[tuple[K, T]],
    executor: Executor,
    *,
    call: Callable[[T], R],
    lost: Callable[[T, str], R],
    stopped: Callable[[], bool],
) -> Iterator[tuple[K, R]]:
    """Call a function for each of ``tasks``, (name, task), in a worker, and yield (name, outcome) as they come.

    A task is taken when the executor has room for it. Once ``stopped()`` no further one is, and those under way are
    waited for.

    Args:
        tasks: in the order in which they are begun.
        executor: where they run.
        call: what a worker does with a task.
        lost: the outcome of a task that exceeded a limit or ended its workers, given the reason.
        stopped: asked before a task is taken.

    Raises:
        ExecutionError: the executor is at an end. What was recorded stays; the run can be continued.
    """
    waiting, running = iter(tasks), dict[Future[R], tuple[K, T]]()
    capacity: int = getattr(executor, "capacity", UNKNOWN_CAPACITY)
    while True:
        while len(running) < capacity and not stopped() and (taken := next(waiting, None)) is not None:
            running[executor.submit(call, taken[1])] = taken
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            name, task = running.pop(future)
            yield name, _outcome(future, task, lost)


def _outcome(future: Future[R], task: T, lost: Callable[[T, str], R]) -> R:
    """What came of a task that is done."""
    try:
        return future.result()
    except CandidateLost as error:
        return lost(task, str(error))
    except (BrokenExecutor, CancelledError) as error:
        raise ExecutionError(
            f"the executor came to an end before the candidates under way had: {named(error)}. What "
            "was found is in the run folder; the same command continues the run"
        ) from error
