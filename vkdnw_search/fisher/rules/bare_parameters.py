"""Parameters that are added, multiplied or repeated by themselves: embeddings, layer scales, class tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vkdnw_search.fisher.taps import Contract, Scalars, Taps


def add(taps: Taps, input: Any, other: Any, **kwargs: Any) -> Any:
    """x + θ, θ broadcast over the samples: position embeddings and the like."""
    return _pointwise(taps, torch.add, input, other, kwargs)


def mul(taps: Taps, input: Any, other: Any, **kwargs: Any) -> Any:
    """x ∘ θ, θ broadcast over the samples: layer scales and the like."""
    return _pointwise(taps, torch.mul, input, other, kwargs)


def _pointwise(taps: Taps, function: Callable[..., Tensor], a: Any, b: Any, kwargs: dict[str, Any]) -> Any:
    chosen = [side for side in (a, b) if isinstance(side, Tensor) and taps.scalars(side) is not None]
    if len(chosen) == 1 and not kwargs:
        x = b if chosen[0] is a else a
        if isinstance(x, Tensor) and taps.has_samples_first(x, chosen[0]):
            return _broadcast(taps, function, x, chosen[0], x if function is torch.mul else None)
    taps.untapped(*chosen)
    return function(a, b, **kwargs)


def expand(taps: Taps, input: Tensor, *sizes: Any, **kwargs: Any) -> Tensor:
    """θ repeated for every sample: class tokens and the like."""
    output = input.expand(*sizes, **kwargs)
    if taps.scalars(input) is None or not taps.has_samples_first(output, input):
        taps.untapped(input)
        return output
    return _broadcast(taps, torch.add, torch.zeros_like(output), input, None)


def elementwise(
    taps: Taps, x: Tensor, weight: Tensor | None, bias: Tensor | None, over: tuple[int, ...] | None = None
) -> Tensor:
    """x ∘ γ + β, each parameter viewed in shape ``over`` (its own, if None); samples are known to be first in x."""
    y = x
    for parameter, combine, partner in ((weight, torch.mul, x), (bias, torch.add, None)):
        if parameter is not None:
            y = _broadcast(taps, combine, y, parameter, partner, over)
    return y


def _broadcast(
    taps: Taps,
    combine: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    parameter: Tensor,
    factor: Tensor | None,
    over: tuple[int, ...] | None = None,
) -> Tensor:
    """``combine(x, parameter)``, whose derivative by the parameter is ``factor`` (1, if None), broadcast."""
    shape = tuple(parameter.shape if over is None else parameter.view(over).shape)
    start = x.dim() - len(shape)  # the axis of x that the parameter's first axis goes along
    if not _spares_samples(start, shape):
        taps.untapped(parameter)
    constant = taps.weight(parameter)
    output = combine(x, constant if over is None else constant.view(over))
    known = None if factor is None else factor.detach()

    def rule(scalars: Scalars) -> Contract:
        def contract(gradient: Tensor) -> Tensor:
            product = gradient if known is None else gradient * known
            return torch.stack([_at(product, start, shape, index) for index in scalars.indices], dim=1)

        return contract

    return taps.attach(output, (taps.scalars(parameter), rule), kept=() if known is None else (known,))


def _spares_samples(start: int, shape: tuple[int, ...]) -> bool:
    """Whether a parameter is the same for every sample: it has no axis along theirs, or one of length 1."""
    return start > 0 or (start == 0 and shape[0] == 1)


def _at(gradient: Tensor, start: int, shape: tuple[int, ...], index: tuple[int, ...]) -> Tensor:
    """Σ of each sample's gradient over all places that one element of a broadcast parameter went to: (N,)."""
    picked: list[int | slice] = [slice(None)] * start
    picked += [place if size > 1 else slice(None) for place, size in zip(index, shape, strict=False)]
    return gradient[tuple(picked)].reshape(gradient.shape[0], -1).sum(dim=1)
