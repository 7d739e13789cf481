"""Scripts that search with worker processes: each worker imports the script anew, and must not search itself."""

from __future__ import annotations

import multiprocessing

from vkdnw_search.errors import ExecutionError

NAME = "vkdnw-search worker"
"""The name of a worker process, by which it is known while it imports the script."""

EXIT_CODE = 79
"""What a worker ends with whose script searches without a guard; no signal and no exception of Python gives it."""

UNGUARDED = (
    "A script that searches with processes must call search() under `if __name__ == '__main__':`, for each worker "
    "imports the script anew"
)
"""The advice to scripts."""


class UnguardedScript(ExecutionError, SystemExit):
    """A script has no guard. Where nothing catches it, Python shows the advice alone and ends with exit code 1."""

    def __init__(self) -> None:
        super().__init__(UNGUARDED)
        self.code = UNGUARDED


def must_not_be_a_worker() -> None:
    """End a process that was started by a search or study and, importing the script, would begin another.

    Raises:
        SystemExit: in a worker of ours, whose coordinator gives the advice.
        UnguardedScript: in a process that somebody else started.
    """
    process = multiprocessing.current_process()
    if getattr(process, "_inheriting", False):  # it is about to import the script
        if process.name == NAME:
            raise SystemExit(EXIT_CODE)
        raise UnguardedScript
