"""Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943): all train a little, the best of them more."""

from __future__ import annotations

import math
from dataclasses import dataclass


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
