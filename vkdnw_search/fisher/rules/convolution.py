"""Convolutions, transposed ones too, in one to three dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from vkdnw_search.fisher.rules.contractions import channel_sum, integers, pick
from vkdnw_search.fisher.taps import Contract, Scalars, Taps


def convolution_rule(dimensions: int, *, transposed: bool = False) -> Callable[..., Tensor]:
    """The rule of ``F.conv{d}d`` or ``F.conv_transpose{d}d``."""
    function: Callable[..., Tensor] = getattr(F, f"conv_transpose{dimensions}d" if transposed else f"conv{dimensions}d")

    def rule(
        taps: Taps, input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        if not _is_batched(taps, dimensions, input, weight, bias):
            taps.untapped(weight, bias)
            return function(input, weight, bias, *args, **kwargs)
        geometry = _geometry(weight, dimensions, transposed, args, kwargs)
        kernel, padding = _crop(taps.weight(weight), input, geometry)
        if _pointwise_kernel(kernel, geometry, padding) and input.movedim(1, -1).is_contiguous():
            output = F.linear(input.movedim(1, -1), kernel.flatten(1), taps.constant(bias)).movedim(-1, 1)
        elif padding is None:
            output = function(input, kernel, taps.constant(bias), *args, **kwargs)
        else:
            output = function(
                input, kernel, taps.constant(bias), geometry.stride, padding, geometry.dilation, geometry.groups
            )
        chosen = taps.scalars(weight), taps.scalars(bias)
        return taps.attach(
            output,
            (chosen[0], lambda scalars: _convolution_weight(scalars, input, geometry)),
            (chosen[1], channel_sum),
            kept=(input,),
        )

    return rule


def _is_batched(taps: Taps, dimensions: int, input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """(N, channels, …), N the samples. PyTorch takes a single (channels, …) as well, which the rule does not."""
    return input.dim() == dimensions + 2 and taps.has_samples_first(input, weight, bias, channels=1)


class _Geometry(NamedTuple):
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool
    lopsided: bool
    in_per_group: int
    out_per_group: int


def _geometry(
    weight: Tensor, dimensions: int, transposed: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> _Geometry:
    names = ("stride", "padding", "output_padding", "groups", "dilation") if transposed else _CONV_NAMES
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    stride, dilation = (integers(given.get(name, 1), dimensions) for name in ("stride", "dilation"))
    padding, groups = given.get("padding", 0), int(given.get("groups", 1))
    lopsided = False
    if padding == "same":  # an odd sum has one more behind than in front, which is what counts here
        lopsided = any(d * (k - 1) % 2 for d, k in zip(dilation, weight.shape[2:], strict=True))
        padding = tuple(d * (k - 1) // 2 for d, k in zip(dilation, weight.shape[2:], strict=True))
    padding = integers(0 if padding == "valid" else padding, dimensions)
    if transposed:
        return _Geometry(stride, padding, dilation, groups, True, False, weight.shape[0] // groups, weight.shape[1])
    return _Geometry(stride, padding, dilation, groups, False, lopsided, weight.shape[1], weight.shape[0] // groups)


def _pointwise_kernel(kernel: Tensor, geometry: _Geometry, padding: tuple[int, ...] | None) -> bool:
    """Whether a convolution is a linear layer over channels: the same result from a matrix product, which needs no
    code generated for every new shape (a search meets new widths all the time). For channels last in memory."""
    ones = (1,) * (kernel.dim() - 2)
    unpadded = not any(geometry.padding if padding is None else padding)
    return kernel.shape[2:] == ones and geometry.stride == ones and geometry[3:5] == (1, False) and unpadded


def _crop(weight: Tensor, input: Tensor, geometry: _Geometry) -> tuple[Tensor, tuple[int, ...] | None]:
    """The part of a kernel that ever meets the input, with its padding; (weight, None) where that is all of it.

    A 7×7 kernel on a 1×1 map sees padding but for its centre. The result is the same; the library's convolution is
    up to a hundred times slower on such a kernel than on its centre.
    """
    if (
        geometry.transposed
        or geometry.lopsided
        or all(k <= size for k, size in zip(weight.shape[2:], input.shape[2:], strict=True))
    ):
        return weight, None
    window, paddings = [slice(None), slice(None)], []
    for kernel, size, stride, padding, dilation in zip(
        weight.shape[2:], input.shape[2:], geometry.stride, geometry.padding, geometry.dilation, strict=True
    ):
        outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        first = max(0, -(-(padding - (outputs - 1) * stride) // dilation))
        last = min(kernel - 1, (size - 1 + padding) // dilation)
        left = padding - first * dilation
        if left < 0 or (size + 2 * left - dilation * (last - first) - 1) // stride + 1 != outputs:
            return weight, None
        window.append(slice(first, last + 1))
        paddings.append(left)
    return weight[tuple(window)], tuple(paddings)


_CONV_NAMES = ("stride", "padding", "dilation", "groups")


def _convolution_weight(scalars: Scalars, input: Tensor, geometry: _Geometry) -> Contract:
    """y[n, o, q] = Σ w[o, i, k] x[n, i, q·stride − padding + k·dilation], so ∂/∂w = Σ_q g[n, o, q] x[n, i, …].

    A transposed convolution is the same with the roles of x and y exchanged, q running over the input.
    """
    by_position: dict[tuple[int, ...], list[int]] = {}
    for draw, index in enumerate(scalars.indices):
        by_position.setdefault(index[2:], []).append(draw)

    def contract(gradient: Tensor) -> Tensor:
        strided, dense = (input, gradient) if geometry.transposed else (gradient, input)
        derivatives = gradient.new_zeros(gradient.shape[0], len(scalars.indices))
        for position, draws in by_position.items():
            here, there = _overlap(position, strided.shape[2:], dense.shape[2:], geometry)
            pairs = [_channels(scalars.indices[draw], geometry) for draw in draws]
            of_strided, of_dense = (pick(side) for side in zip(*pairs, strict=True))
            product = strided[(slice(None), of_strided, *here)] * dense[(slice(None), of_dense, *there)]
            values = product.flatten(2).sum(dim=2)  # (N, draws)
            if len(by_position) == 1:
                return values
            derivatives[:, draws] = values
        return derivatives

    return contract


def _channels(index: tuple[int, ...], geometry: _Geometry) -> tuple[int, int]:
    """(channel of the strided side, channel of the dense side) that weight ``index`` connects."""
    if geometry.transposed:  # weight: (in, out / groups, …), strided side = input
        group = index[0] // geometry.in_per_group
        return index[0], group * geometry.out_per_group + index[1]
    group = index[0] // geometry.out_per_group  # weight: (out, in / groups, …), strided side = output
    return index[0], group * geometry.in_per_group + index[1]


def _overlap(
    position: tuple[int, ...], strided: Sequence[int], dense: Sequence[int], geometry: _Geometry
) -> tuple[list[slice], list[slice]]:
    """Along each axis the q for which q·stride − padding + k·dilation is inside the dense side, and those places."""
    here, there = [], []
    for k, length, inside, stride, padding, dilation in zip(
        position, strided, dense, geometry.stride, geometry.padding, geometry.dilation, strict=True
    ):
        shift = k * dilation - padding
        first = max(0, -(shift // stride))
        last = min(length - 1, (inside - 1 - shift) // stride)
        count = max(0, last - first + 1)
        start = first * stride + shift
        here.append(slice(first, first + count))
        there.append(slice(start, start + (count - 1) * stride + 1, stride) if count else slice(0, 0))
    return here, there
