"""Where candidates are scored: in this process, or in several others. Each is a ``concurrent.futures.Executor``.

An executor may have an attribute ``capacity``: how many candidates are worth handing over at a time, so that a stop
waits for few. Without it all candidates of a generation are handed over at once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Annotated, Literal, ParamSpec, TypeVar

from annotated_types import Interval

from vkdnw_search.plugins import load_plugins, plugin_paths

P = ParamSpec("P")
T = TypeVar("T")


class Inline(Executor):
    """Runs each call at once, in the calling thread."""

    capacity = 1

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future that is already done."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Processes(ProcessPoolExecutor):
    """Worker processes, started afresh (not forked): safe beside threads and accelerators."""

    def __init__(self, workers: int) -> None:
        super().__init__(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(plugin_paths(),),
        )
        self.capacity = workers + 1
        with _interrupts_ignored():  # inherited by the workers, from their very first moment
            for _ in range(workers):
                self.submit(time.sleep, 0.0)


def inline() -> Executor:
    """One candidate after the other, in this process."""
    return Inline()


def processes(
    *,
    workers: Annotated[
        int | Literal["auto"], Interval(ge=1, le=1024), "number of processes; auto: one a core"
    ] = "auto",
) -> Executor:
    """Several processes on this machine. Results do not depend on how many."""
    return Processes(len(os.sched_getaffinity(0)) if workers == "auto" else workers)


def _start_worker(plugins: tuple[str, ...]) -> None:
    """The coordinator alone reacts to Ctrl-C; a worker whose coordinator died ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    load_plugins(plugins)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
