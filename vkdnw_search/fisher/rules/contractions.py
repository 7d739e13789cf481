"""Sums and picks that the rules share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vkdnw_search.fisher.taps import Contract, Scalars


def channel_sum(scalars: Scalars) -> Contract:
    """∂/∂β[c] = Σ_q g[n, c, q]."""
    channels = pick([index[0] for index in scalars.indices])
    return lambda gradient: over_places(gradient[:, channels])


def over_places(values: Tensor) -> Tensor:
    """(N, D, …) → (N, D), summed over what follows."""
    return values.flatten(2).sum(dim=2) if values.dim() > 2 else values


def pick(channels: Sequence[int]) -> slice | list[int]:
    """A slice where the channels are consecutive (no copy), a list otherwise."""
    first = channels[0]
    if list(channels) == list(range(first, first + len(channels))):
        return slice(first, first + len(channels))
    return list(channels)


def integers(value: Any, length: int) -> tuple[int, ...]:
    """``length`` integers from one, which then holds for each axis, or from as many."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return tuple(int(v) for v in (values * length if len(values) == 1 else values))
