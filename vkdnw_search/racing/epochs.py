"""How far a race is: the epochs that are over, counted in its folder, since workers tell nothing before a rung ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from vkdnw_search.racing.schedule import Rung, epochs_left

Counted = Callable[[int, int], None]
"""(epochs that are over, of all trainings there ever were; epochs to come, if nobody fails)"""

LOOK = 1.0
"""Seconds between two looks."""


def epochs_over(training: Path) -> int:
    """The epochs that one training has behind it."""
    with suppress(OSError):
        return max((training / "curve.csv").read_bytes().count(b"\n") - 1, 0)  # the first line is a heading
    return 0


@contextmanager
def watched(
    trainings: Sequence[Path], rungs: Sequence[Rung], out: Path, counted: Counted | None, *, seeds: int
) -> Iterator[None]:
    """Call ``counted`` every second for as long as a rung trains, and once at its end.

    Args:
        trainings: folders of the present rung.
        rungs: the present one and those that follow.
        out: folder of the race.
        counted: by whom; nobody looks if it is None.
        seeds: trainings of each network.
    """
    if counted is None:
        yield
        return
    over = threading.Event()

    def look() -> None:
        everything = sum(epochs_over(file.parent) for file in out.glob("networks/*/seed-*/curve.csv"))
        counted(everything, epochs_left([epochs_over(training) for training in trainings], rungs, seeds=seeds))

    def keep_looking() -> None:
        look()
        while not over.wait(LOOK):
            look()

    thread = threading.Thread(target=keep_looking, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    look()
