"""check_executor: does an executor keep its contract?"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any

import torch

from vkdnw_search.determinism import one_thread
from vkdnw_search.testing.findings import Findings, said

CALLS = 12
FAILS = 5
"""The number of the call that raises."""

PATIENCE = 120.0
"""Seconds allowed for a call that takes milliseconds: workers have to start first."""


def check_executor(make: Callable[[], Executor]) -> None:
    """Hold an executor to ``concurrent.futures.Executor`` as a search uses it.

    Looks for: calls that get the result of another or another result than in this process, exceptions that do not
    come back, calls after an exception that do not work, a capacity that is no number, a shutdown that loses calls, and
    calls that are taken after it.

    Args:
        make: makes the executor, e.g. ``lambda: processes(workers=2)``.

    Raises:
        ConformanceError: with a sentence for each kind of fault.
    """
    findings = Findings(f"the executor {getattr(make, '__name__', type(make).__name__)}")
    mend = "See concurrent.futures.Executor"
    with findings.no_error("raises", "with executor: must be made, take calls and be shut down", mend):
        with make() as executor:
            _check_capacity(executor, findings)
            futures = [executor.submit(work, number) for number in range(CALLS)]
            for number, future in reversed(list(enumerate(futures))):  # whatever the order of asking
                _check_call(number, future, findings)
            after = executor.submit(work, CALLS)
            last = executor.submit(work, CALLS + 1)
        _check_call(CALLS, after, findings)
        findings.require(
            last.done(),
            "shutdown",
            "leaving `with executor`: must wait for the calls under way, but one is not done. Wait in "
            "shutdown(wait=True)",
        )
        _check_refusal(executor, findings)
    findings.report()


def work(number: int) -> list[float]:
    """What a worker computes: the earlier, the longer it takes. Call FAILS raises."""
    time.sleep(0.002 * max(0, CALLS - number))
    if number == FAILS:
        raise ArithmeticError(f"call {number} has no result")
    with one_thread():
        generator = torch.Generator().manual_seed(number)
        matrix = torch.randn(64, 64, generator=generator)
        numbers: list[float] = (matrix @ matrix).softmax(dim=1)[0].tolist()
        return numbers


def _check_capacity(executor: Any, findings: Findings) -> None:
    capacity = getattr(executor, "capacity", 1)
    findings.require(
        isinstance(capacity, int) and capacity >= 1,
        "capacity",
        f"capacity: must be a whole number of at least 1, or not be there, but is {capacity!r}",
    )


def _check_refusal(executor: Executor, findings: Findings) -> None:
    """An executor that has been shut down must say so, since a call that it takes might never be made."""
    with suppress(RuntimeError):
        executor.submit(work, CALLS)
        findings.add(
            "after shutdown",
            "submit after shutdown: must raise RuntimeError as those of concurrent.futures do, but took the call. "
            "Whoever waits for its future may wait for ever",
        )


def _check_call(number: int, future: Future[Any], findings: Findings) -> None:
    """The outcome in the future must be that of the call in this process."""
    where = f"submit(f, {number})"
    try:
        result = future.result(timeout=PATIENCE)
    except ArithmeticError as error:
        findings.require(
            number == FAILS and f"call {FAILS} " in str(error),
            "wrong error",
            f"{where}: must give its own result, but raised {said(error)}, which is that of another call",
        )
    except Exception as error:
        findings.add(
            "other error",
            f"{where}: must give its result, or raise what the call raised, but raised {said(error)}. Keep the "
            "exception with future.set_exception, and go on with the next call",
        )
    else:
        if findings.require(
            number != FAILS,
            "lost error",
            f"{where}: the call raises ArithmeticError, which future.result() must raise, but it gave {result!r:.80}. "
            "Keep the exception with future.set_exception",
        ):
            findings.require(
                result == work(number),
                "result",
                f"{where}: must give what the call gives in this process, to the last bit, but does not. Look for "
                "results that change places, or for another number of threads",
            )
