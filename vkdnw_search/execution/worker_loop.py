"""The life of a worker process: it says that it is ready, then answers one call after the other."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from vkdnw_search.errors import ExecutionError, named
from vkdnw_search.recipe.registry import load_plugins

COORDINATORS = (signal.SIGINT, signal.SIGTERM)
"""Signals that the coordinator alone reacts to, even where the whole process group gets them."""


INDEX = "VKDNW_SEARCH_WORKER"
"""The variable of a worker's environment with its place among the workers, 0, 1, …, which a successor takes over."""


def serve(pipe: Connection, plugins: tuple[str, ...], index: int) -> None:
    """The life of a worker process: say that it is ready, then answer calls until the coordinator is gone."""
    os.environ[INDEX] = str(index)
    for number in COORDINATORS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_coordinator, daemon=True).start()
    with contextlib.suppress(OSError):  # should the machine run out of memory, a worker is the one to go
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    load_plugins(plugins)
    pipe.send("ready")
    settled = False
    while True:
        try:
            order = pipe.recv_bytes()
        except EOFError:
            return
        pipe.send_bytes(_attempt(order, begun=lambda: pipe.send("begun")))
        if not settled:  # what the first call imported stays: looking through it for garbage takes .15 s each time
            gc.freeze()
            settled = True


def _attempt(order: bytes, *, begun: Callable[[], None]) -> Any:
    """The pickled answer to a pickled call: (True, its value), or (False, its exception).

    ``begun`` is called once all is imported that the call needs, which takes seconds in a fresh process.
    """
    try:
        try:
            fn, args, kwargs = ForkingPickler.loads(order)
        finally:
            begun()
        return ForkingPickler.dumps((True, fn(*args, **kwargs)))
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))
        try:
            ForkingPickler.loads(answer := ForkingPickler.dumps((False, error)))
        except Exception:
            return ForkingPickler.dumps((False, ExecutionError(f"{named(error)}")))
        return answer


def _end_with_the_coordinator() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
