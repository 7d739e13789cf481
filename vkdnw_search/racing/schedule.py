"""Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943): all train a little, the best of them more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from vkdnw_search.errors import RaceError


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a race is, apart from who races.

    Attributes:
        data: what train.py's ``--data`` names.
        epochs: of whoever gets to the end.
        rungs: how many parts it has, at most.
        keep: share of the networks that goes on from one to the next.
        seeds: trainings of each network.
        words: further options of train.py, such as ``("--batch", "32")``.
    """

    data: str
    epochs: int = 12
    rungs: int = 3
    keep: float = 1 / 3
    seeds: int = 1
    words: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("rungs", 1), ("seeds", 1)):
            if (value := getattr(self, name)) < least:
                raise RaceError(f"{name}: must be {least} or more, but is {value}")
        if not 0 < self.keep <= 1:
            raise RaceError(f"keep: must be above 0 and at most 1, but is {self.keep:g}")


@dataclass(frozen=True, slots=True)
class Rung:
    """A part of a race: so many networks train until so many epochs are over, counted from their beginning."""

    networks: int
    epochs: int


def schedule(networks: int, *, epochs: int, rungs: int = 3, keep: float = 1 / 3) -> tuple[Rung, ...]:
    """The rungs of a race, of which the last ends with ``epochs``.

    A share ``keep`` of the networks, two at least, goes on from a rung to the next, and trains 1 / ``keep`` times as
    long. Rungs that would end at the same epoch are one. With 8 networks, 12 epochs, three rungs and a third: 8
    networks for 1 epoch, 3 until 4, 2 until 12.

    Args:
        networks: how many begin, 2 at least.
        epochs: of whoever gets to the end.
        rungs: how many parts, at most.
        keep: in (0, 1].
    """
    ends = [max(1, math.floor(epochs * keep ** (rungs - 1 - number) + 1e-9)) for number in range(rungs)]
    parts: list[Rung] = []
    for end in sorted(set(ends)):
        left = networks if not parts else max(2, math.ceil(parts[-1].networks * keep - 1e-9))
        parts.append(Rung(min(left, networks), end))
    return tuple(parts)


def trained_epochs(rungs: tuple[Rung, ...]) -> int:
    """The epochs that a race takes, of all its networks together."""
    before = (0, *(rung.epochs for rung in rungs))
    return sum(rung.networks * (rung.epochs - start) for rung, start in zip(rungs, before, strict=False))


def epochs_left(over: Sequence[int], rungs: Sequence[Rung], *, seeds: int) -> int:
    """The epochs that a race still takes, if nobody fails.

    Args:
        over: epochs that are over, of each training of the present rung; more than it asks for where a race goes on.
        rungs: the present one and those that follow.
        seeds: trainings of each network.
    """
    now, networks = rungs[0], len(over) // seeds
    later = (
        sum(min(rung.networks, networks) * (rung.epochs - before.epochs) for before, rung in pairwise(rungs)) * seeds
    )
    ahead = sum(max(epochs - now.epochs, 0) for epochs in over)
    return sum(max(now.epochs - epochs, 0) for epochs in over) + max(later - ahead, 0)
