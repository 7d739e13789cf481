"""Worker processes that may die: each is replaced, and the call it was at is made again in its successor.

A worker has one call at a time, and a thread of the coordinator to itself that waits for the answer, for the death of
the process, or for a limit to be exceeded. So it is always certain which call a worker died of.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from multiprocessing.util import Finalize
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from vkdnw_search.errors import CandidateLost, ExecutionError, named
from vkdnw_search.execution.safe_path import safe_import_path
from vkdnw_search.execution.script_guard import EXIT_CODE, NAME, UNGUARDED, UnguardedScript, must_not_be_a_worker
from vkdnw_search.execution.worker_loop import COORDINATORS, serve
from vkdnw_search.recipe.registry import plugin_paths

P = ParamSpec("P")
T = TypeVar("T")

DEATHS = 3
"""Number of workers that a call may end before it is given up."""

WAITING = 2
"""Number of calls that are handed over beside those under way, so that a worker finds the next while two are being
prepared."""

STARTS = 10
"""Number of starts in a row after which a worker counts as impossible to start."""

WATCH = 0.02
"""Seconds between two looks at the memory of a worker. Memory is filled at some GB a second."""

SHUT_DOWN = "cannot take calls after shutdown(). Make a new executor"
"""What ``submit`` says then; without it the future would never be done."""


class Workers(Executor):
    """Processes, started afresh (not forked): safe beside threads and accelerators.

    Args:
        count: of processes.
        seconds: a call may take; none: as long as it needs.
        memory: bytes that the process may hold during a call, itself included (Linux only); none: all there is.
    """

    def __init__(self, count: int, *, seconds: float | None = None, memory: int | None = None) -> None:
        must_not_be_a_worker()
        self.count, self.capacity = count, count + WAITING
        self._gate = threading.Lock()
        self._is_shut_down = False
        self._calls: SimpleQueue[tuple[Future[Any], Any] | None] = SimpleQueue()
        self._workers = [_Worker(seconds, memory, index) for index in range(count)]
        # at the latest when the interpreter ends, before multiprocessing waits for what has not been shut down
        self._kill = Finalize(self, _kill, (self._workers,), exitpriority=1)
        with safe_import_path():
            resource_tracker.ensure_running()  # its first start would let through the signals that threads keep away
        self._threads = [
            threading.Thread(target=_attend, args=(self._calls, worker), daemon=True) for worker in self._workers
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call ``fn`` in a worker.

        The future raises CandidateLost when the call exceeded a limit or ended DEATHS workers, ExecutionError when no
        worker can be started, and otherwise what the call raised.

        Raises:
            RuntimeError: the executor has been shut down.
        """
        future: Future[T] = Future()
        with self._gate:  # no call may come after the words that end the threads
            if self._is_shut_down:
                raise RuntimeError(SHUT_DOWN)
            self._calls.put((future, (fn, args, kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers, after the calls under way; with ``cancel_futures`` at once, whatever they are at."""
        with self._gate:
            self._is_shut_down = True
            for _ in self._threads:
                self._calls.put(None)
        if cancel_futures:
            self._kill()
        if wait:
            for thread in self._threads:
                thread.join()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.shutdown(cancel_futures=kind is not None)


def _attend(calls: SimpleQueue[tuple[Future[Any], Any] | None], worker: _Worker) -> None:
    """Give ``worker`` one call after the other: the life of a thread."""
    signal.pthread_sigmask(signal.SIG_BLOCK, COORDINATORS)  # inherited by the process, from its very first moment
    with contextlib.suppress(Exception):  # it is started again for the first call, which then says what is wrong
        worker.start()
    while (call := calls.get()) is not None:
        future, order = call
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(_answer(_pickled(order), worker))
            except BaseException as error:
                future.set_exception(error)
    worker.kill()


def _pickled(order: Any) -> Any:
    try:
        return ForkingPickler.dumps(order)
    except Exception as error:
        raise ExecutionError(
            f"what is sent to a worker process must be picklable, but: {named(error)}. Define "
            "functions and classes in a module, or search in one process: executor=inline"
        ) from error


def _answer(order: Any, worker: _Worker) -> Any:
    """What the call gave, in a worker or its successors.

    Memory that earlier calls left behind does not count: what exceeds the limit is tried again in a fresh worker.
    """
    deaths: list[str] = []
    while len(deaths) < DEATHS:
        fresh = worker.ready()
        try:
            return worker.call(order)
        except _Died as death:
            deaths.append(str(death))
        except _TooLarge as excess:
            if fresh:
                raise CandidateLost(str(excess)) from None
    raise CandidateLost(
        f"scoring it ended {DEATHS} worker processes, the last {deaths[-1]}; out of memory is a common cause"
    )


class _Died(Exception):
    """A worker is no more; the text says how it ended."""


class _TooLarge(Exception):
    """A worker held more memory than it may, and was killed."""


class _Worker:
    """One process at a time."""

    def __init__(self, seconds: float | None, memory: int | None, index: int) -> None:
        self._seconds, self._memory, self._index = seconds, memory, index
        self._process: SpawnProcess | None = None
        self._pipe: Connection
        self._is_ready = self._served = False
        self._ended = False

    def start(self) -> None:
        """Start a process, without waiting until it is ready."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, plugin_paths(), self._index), daemon=True, name=NAME)
        self._is_ready = self._served = False
        with theirs, safe_import_path():
            process.start()
        self._process = process

    def ready(self) -> bool:
        """Wait until there is a process that can take a call. Returns whether it is fresh."""
        for _ in range(STARTS):
            if self._ended:
                raise ExecutionError("the workers were ended")
            if self._process is None:
                self.start()
            try:
                if not self._is_ready:
                    self._receive(None)
                    self._is_ready = True
                return not self._served
            except _Died as death:
                if str(death) == _ended(EXIT_CODE):
                    raise UnguardedScript from None
                if "exit code" in str(death):
                    raise ExecutionError(
                        f"a worker process could not start, it ended {death}; its own message is on stderr. {UNGUARDED}"
                    ) from None
        raise ExecutionError(f"{STARTS} worker processes in a row were killed before they had started")

    def call(self, order: Any) -> Any:
        """The answer of the process. Raises what the call raised, or _Died, _TooLarge, CandidateLost."""
        with contextlib.suppress(OSError):  # it died: so says the wait for the answer
            self._pipe.send_bytes(order)
        self._receive(None)  # until it has begun
        deadline = None if self._seconds is None else time.monotonic() + self._seconds
        answered, value = self._receive(deadline)
        self._served = True
        if not answered:
            raise value
        return value

    def kill(self) -> None:
        """End the process, whatever it is at."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join()
            self._pipe.close()

    def end(self) -> None:
        """End the process for good; may be called from any thread."""
        self._ended = True
        if (process := self._process) is not None:
            process.kill()

    def _receive(self, deadline: float | None) -> Any:
        assert self._process is not None
        sentinel = self._process.sentinel
        while not wait([self._pipe, sentinel], timeout=self._pause(deadline)):
            if deadline is not None and time.monotonic() >= deadline:
                self.kill()
                raise CandidateLost(f"took more than the {self._seconds:g} seconds allowed")
            if self._memory is not None and resident(self._process.pid) > self._memory:
                self.kill()
                raise _TooLarge(f"took more than the {self._memory / 2**20:,.0f} MiB of memory allowed")
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            raise _Died(self._buried()) from None

    def _pause(self, deadline: float | None) -> float | None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if self._memory is None:
            return left
        return WATCH if left is None else min(WATCH, left)

    def _buried(self) -> str:
        """Clear away a process that has closed its pipe; how it ended, in words."""
        assert self._process is not None
        self._process.join(timeout=1.0)
        code = self._process.exitcode
        self.kill()
        return _ended(code)


def _ended(code: int | None) -> str:
    """How a process ended, in words."""
    return f"with exit code {code}" if code is not None and code >= 0 else f"by signal {-code if code else '?'}"


def _kill(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.end()


def resident(pid: int | None) -> int:
    """Bytes of memory that a process holds; 0 where the platform does not say."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
