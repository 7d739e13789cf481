"""Where candidates are scored: in this process, or in several others. Each is a ``concurrent.futures.Executor``.

An executor may have an attribute ``capacity``: how many candidates are worth handing over at a time, so that a stop
waits for few. Without it all candidates of a generation are handed over at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Annotated, Literal, ParamSpec, TypeVar

from annotated_types import Interval

from vkdnw_search.determinism import cores
from vkdnw_search.execution.worker_processes import SHUT_DOWN, Workers, resident
from vkdnw_search.options import strict_options

P = ParamSpec("P")
T = TypeVar("T")


class Inline(Executor):
    """Runs each call at once, in the calling thread."""

    capacity = 1

    def __init__(self) -> None:
        self._is_shut_down = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run the call, and return a future that is already done.

        Raises:
            RuntimeError: the executor has been shut down.
        """
        if self._is_shut_down:
            raise RuntimeError(SHUT_DOWN)
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no further calls; none is under way."""
        self._is_shut_down = True


def inline() -> Executor:
    """One candidate after the other, in this process."""
    return Inline()


@strict_options()
def processes(
    *,
    workers: Annotated[
        int | Literal["auto"], Interval(ge=1, le=1024), "number of processes; auto: one a core"
    ] = "auto",
    seconds: Annotated[
        float | None, Interval(gt=0, le=10**6), "a candidate may take; none: as long as it needs"
    ] = None,
    memory: Annotated[
        int | None, Interval(ge=2**20, le=2**50), "bytes a process may hold, such as 4G (Linux); none: all there is"
    ] = None,
) -> Executor:
    """Several processes on this machine, replaced if they die. Results do not depend on how many."""
    if memory is not None and not resident(os.getpid()):
        raise ValueError("memory: must be none on this platform, which does not tell how much a process holds")
    return Workers(cores() if workers == "auto" else workers, seconds=seconds, memory=memory)
