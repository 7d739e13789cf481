"""Python processes that do not import from the working directory, which may be a stranger's run folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""The variable of the environment by which an interpreter leaves the working directory out of its path."""

_lock = threading.Lock()


@contextmanager
def safe_import_path() -> Iterator[None]:
    """Start processes in the block with a safe path; one thread at a time.

    ``python -c`` and ``python -m`` look for modules in the working directory first: a file ``multiprocessing.py`` there
    would be run by every worker that is spawned. The environment is left as it was.
    """
    with _lock:
        before = {name: os.environ.get(name) for name in SAFE_PATH}
        os.environ.update(SAFE_PATH)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
