"""check_proxy, check_optimizer and check_executor pass what is shipped and find every fault they say they find."""

from __future__ import annotations

import itertools
import math
import random
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch

from tests.proxies.test_registered import PROXIES, proxy
from tests.support.quick import Quick, QuickWithBound
from vkdnw_search.errors import ConformanceError, DegenerateNetwork
from vkdnw_search.execution.dask_cluster import dask
from vkdnw_search.execution.executors import Inline, inline, processes
from vkdnw_search.optimizers.algorithms import Evolution, RandomSearch
from vkdnw_search.recipe.registry import find, shipped
from vkdnw_search.records import Score
from vkdnw_search.testing import check_executor, check_optimizer, check_proxy

SLOW = {"te_nas", "ntk_condition", "linear_regions", "az_nas", "gradsign"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in PROXIES])
def test_every_shipped_proxy_passes(name):
    check_proxy(proxy(name))


@pytest.mark.parametrize("name", shipped("optimizers"))
def test_every_shipped_optimizer_passes(name):
    check_optimizer(find("optimizers", name))


def test_an_optimizer_passes_with_any_options():
    check_optimizer(partial(Evolution, population=3, children=1, repair_tries=0), seed=7)


def test_the_executors_of_this_machine_pass():
    check_executor(inline)
    check_executor(partial(ThreadPoolExecutor, 3))


@pytest.mark.slow
def test_worker_processes_pass():
    check_executor(partial(processes, workers=2))


@pytest.mark.slow
def test_a_local_dask_cluster_passes():
    check_executor(partial(dask, workers=1))


# ---------------------------------------------------------------------------------------------- proxies


class Unpicklable(Quick):
    def __reduce__(self) -> Any:
        raise TypeError("holds a lock")


class NotAScore(Quick):
    def __call__(self, model: Any, probe: Any) -> Any:
        return "3.0"


class NotFinite(Quick):
    def __call__(self, model: Any, probe: Any) -> Score:
        return Score(1.0, terms={"entropy": math.nan})


class Drawing(Quick):
    def __call__(self, model: Any, probe: Any) -> Score:
        return Score(float(torch.rand(())))


class Forgetful(Quick):
    def __call__(self, model: Any, probe: Any) -> Score:
        with torch.random.fork_rng():
            return Score(float(torch.rand(())))


class BoundTooLow(QuickWithBound):
    def upper_bound(self, cost: Any) -> float:
        return float(cost.tensors - 1)


class TwoOpinions(Quick):
    def __call__(self, model: Any, probe: Any) -> Score:
        return Score(1.0)


class Raising(Quick):
    def __call__(self, model: Any, probe: Any) -> Score:
        raise RuntimeError("a bug")


class Degenerate(Quick):
    def __call__(self, model: Any, probe: Any) -> Score:
        raise DegenerateNetwork("nothing reaches the output")


class OneFitness(Quick):
    def fitness(self, scores: Any) -> Any:
        return [1.0]


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (Unpicklable, "survive the way to a worker process, but raised TypeError: holds a lock. Make it a frozen"),
        (NotAScore, r"ScoreError: NotAScore: must return a number or a vkdnw_search.records.Score, but returns '3\.0'"),
        (NotFinite, "must be finite numbers, but are not: {'entropy': nan}"),
        (Drawing, "must leave the global random generators"),
        (Forgetful, "must be a function of network and seed alone"),
        (BoundTooLow, "upper_bound must not be below any score"),
        (TwoOpinions, "score_cost must say what scoring the network says, 1.0"),
        (Raising, "must give a score, but raised RuntimeError: a bug"),
        (Degenerate, "must score a sound residual network, but raised DegenerateNetwork"),
        (OneFitness, "fitness: must give one finite number for each of 3 scores"),
    ],
)
def test_each_fault_of_a_proxy_is_found(broken, sentence):
    with pytest.raises(ConformanceError, match=f"the proxy {broken.__name__} breaks its contract:(?s:.*){sentence}"):
        check_proxy(broken())


def test_a_sound_proxy_with_a_bound_passes():
    check_proxy(QuickWithBound())


# ---------------------------------------------------------------------------------------------- optimizers


class AsksTwice(RandomSearch):
    def ask(self) -> Any:
        genomes = super().ask()
        return [*genomes, (*genomes[0][:2], *genomes[0][:1:-1])] if genomes else []

    def tell(self, evaluations: Any) -> None:
        super().tell(evaluations[:-1])
        self._ended = False


class AsksArrays(RandomSearch):
    def ask(self) -> Any:
        return [list(genome) for genome in super().ask()]


class AsksBeyond(RandomSearch):
    def ask(self) -> Any:
        return [(*genome[:3], 4) for genome in super().ask()]


class EndsEarly(RandomSearch):
    def ask(self) -> Any:
        self.asked = getattr(self, "asked", 0) + 1
        return super().ask() if self.asked < 3 else []


class NeverEnds(RandomSearch):
    def ask(self) -> Any:
        return super().ask() or [(0, 0, 0, 0)]

    def tell(self, evaluations: Any) -> None:
        if len(evaluations) > 1 or evaluations[0].genome != (0, 0, 0, 0):
            super().tell(evaluations)


MOODS = itertools.count(3)


class Moody(RandomSearch):
    def __init__(self, problem: Any) -> None:
        super().__init__(problem, children=next(MOODS))


class StreamsOthers(RandomSearch):
    def stream(self) -> Any:
        return reversed(list(super().stream()))

    def ask(self) -> Any:
        return list(super().stream())

    def tell(self, evaluations: Any) -> None:
        super().tell(sorted(evaluations, key=lambda e: self._asked.index(e.genome)))


class MovesTheGlobalGenerator(RandomSearch):
    def ask(self) -> Any:
        random.random()
        return super().ask()


class NoThreshold(RandomSearch):
    def threshold(self, cost: Any) -> float:
        return math.nan


class Stumbles(RandomSearch):
    def tell(self, evaluations: Any) -> None:
        raise KeyError("fitness")


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (AsksTwice, r"must give genomes whose keys were never asked.*Compare by problem.key"),
        (AsksArrays, r"a genome must be a tuple of plain ints.*but is \["),
        (AsksBeyond, r"an index for each gene, but is \(\d, \d, \d, 4\)"),
        (EndsEarly, "ended after 64 of 160 keys, without"),
        (NeverEnds, "must be empty once all 160 keys were asked"),
        (Moody, "must be a function of problem.seed and of what was told.*in generation 0"),
        (StreamsOthers, "stream, if there is one, must give the same one by one.*in generation 0"),
        (MovesTheGlobalGenerator, "must leave the global random generators"),
        (NoThreshold, "threshold: must be a number, −inf while any score can matter, but is nan"),
        (Stumbles, "must go on to the end, but raised KeyError: 'fitness'"),
    ],
)
def test_each_fault_of_an_optimizer_is_found(broken, sentence):
    with pytest.raises(
        ConformanceError, match=f"the optimizer {broken.__name__} breaks its contract:(?s:.*){sentence}"
    ):
        check_optimizer(broken)


# ---------------------------------------------------------------------------------------------- executors


class Crossed(Inline):
    """Gives each call the result of the one before."""

    before: Any = None

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        future, self.before = self.before or super().submit(fn, *args), super().submit(fn, *args)
        return future


class Swallowing(Inline):
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        future = super().submit(fn, *args)
        if future.exception() is None:
            return future
        empty: Future[Any] = Future()
        empty.set_result(None)
        return empty


class Breaking(Inline):
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        future = super().submit(fn, *args)
        if future.exception() is None:
            return future
        broken: Future[Any] = Future()
        broken.set_exception(BrokenPipeError("the worker is gone"))
        return broken


class NoCapacity(Inline):
    capacity = 0


class Leaving(Executor):
    """Leaves without the calls under way."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        future: Future[Any] = Future()
        if args[0] <= 12:
            return Inline().submit(fn, *args)
        return future


class Reopening(Inline):
    """Takes calls after its shutdown."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Stays as it is."""


def refusing() -> Executor:
    raise OSError("no more processes")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (Crossed, r"submit\(f, \d+\): must give what the call gives in this process"),
        (Swallowing, r"submit\(f, 5\): the call raises ArithmeticError.*but it gave None"),
        (Breaking, "but raised BrokenPipeError: the worker is gone. Keep the exception"),
        (NoCapacity, "capacity: must be a whole number of at least 1, or not be there, but is 0"),
        (Leaving, "must wait for the calls under way"),
        (Reopening, "submit after shutdown: must raise RuntimeError as those of concurrent.futures do"),
        (refusing, "must be made, take calls and be shut down, but raised OSError: no more processes"),
    ],
)
def test_each_fault_of_an_executor_is_found(make, sentence):
    with pytest.raises(ConformanceError, match=f"the executor {make.__name__} breaks its contract:(?s:.*){sentence}"):
        check_executor(make)
