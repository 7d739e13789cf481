"""An executor whose workers must run the code of the search: each process says so before its first call.

Workers may be anywhere and join at any time, they may be replaced, and the executor may be somebody else's. So the
comparison goes with every call, and whoever is to make the call compares first; a process does it once. What it
compares is what it has loaded (:mod:`vkdnw_search.provenance`), so that a file that was edited since is no matter where
it was loaded before, and is one where it was loaded afterwards.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

from vkdnw_search.errors import ExecutionError, named
from vkdnw_search.provenance.record import CodeRecord, code_record

P = ParamSpec("P")
T = TypeVar("T")

MEND = (
    "Install the same versions and put the same files where workers run, start workers anew that have loaded others, "
    "and give the same command again. What was found is kept, and nothing of that worker is in it"
)

OF_THE_CALL = "raised by what the worker was to do"
"""The note by which such an error is told from one that says that a worker's modules are others."""


class SameCode(Executor):
    """Makes calls on ``executor``, in processes that run the same code alone.

    Args:
        executor: whoever made it shuts it down.
        code: of the search, as it is in this process.
    """

    def __init__(self, executor: Executor, code: CodeRecord) -> None:
        self._executor, self._code = executor, code

    @property
    def capacity(self) -> int:
        """That of the executor. Raises AttributeError where it has none."""
        capacity: int = self._executor.capacity  # type: ignore[attr-defined]  # it is optional
        return capacity

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call ``fn`` on a worker.

        The future raises ExecutionError where the worker's code differs, or is so old that it cannot tell.
        """
        given = self._executor.submit(call_with, self._code, fn, *args, **kwargs)
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        given.add_done_callback(lambda done: _pass_on(done, future))
        return future


def _pass_on(done: Future[T], future: Future[T]) -> None:
    """The outcome of the call, and in words what comes of a worker that does not know what it is to call."""
    try:
        future.set_result(done.result())
    except (ImportError, AttributeError) as error:
        if OF_THE_CALL in getattr(error, "__notes__", ()):
            future.set_exception(error)
            return
        refused = ExecutionError(
            f"a worker: must run the code of the search, but cannot read what it is to do: {named(error)}. {MEND}"
        )
        refused.__cause__ = error
        future.set_exception(refused)
    except BaseException as error:
        future.set_exception(error)


_compared: list[CodeRecord] = []
"""The last record that the code of this process was found to be, if there was one."""


def call_with(code: CodeRecord, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``fn`` if this process runs that code. Runs in a worker.

    Raises:
        ExecutionError: it runs other code; the message names the worker, and what differs.
    """
    if _compared != [code]:
        changes = code.changes(code_record(code.origins))
        if changes:
            listed = "\n".join(f"  {change}" for change in changes)
            raise ExecutionError(
                f"{_worker()}: must run the code of the search, but these differ (search → worker):\n{listed}\n{MEND}"
            )
        _compared[:] = [code]
    try:
        return fn(*args, **kwargs)
    except (ImportError, AttributeError) as error:
        error.add_note(OF_THE_CALL)
        raise


def _worker() -> str:
    """The name of this process, for somebody who looks for it."""
    name = f"the worker (process {os.getpid()} on {socket.gethostname()})"
    if "distributed.worker" in sys.modules:
        from distributed import get_worker

        try:
            return f"{name} at {get_worker().address}"
        except ValueError:  # Dask is there, and this is none of its workers
            return name
    return name
