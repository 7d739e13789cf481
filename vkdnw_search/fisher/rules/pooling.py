"""Average pooling, which has no weights: its derivative need not keep its input."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vkdnw_search.fisher.rules.contractions import integers
from vkdnw_search.fisher.taps import Taps


def average_pool(taps: Taps, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """As ever, but with less to keep."""
    if input.dim() != 4 or not (input.requires_grad and torch.is_grad_enabled()):
        return F.avg_pool2d(input, *args, **kwargs)
    output: Tensor = _AveragePool.apply(input, *_pooling(*args, **kwargs))  # type: ignore[no-untyped-call]
    return output


class _AveragePool(torch.autograd.Function):
    """The derivative of average pooling needs the shape of the input alone; PyTorch's keeps the input for it."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, *options: Any) -> Tensor:
        """Pool, and remember the shape."""
        last = input.is_contiguous(memory_format=torch.channels_last)
        ctx.layout = torch.channels_last if last else torch.contiguous_format
        ctx.shape, ctx.options = input.shape, options
        return F.avg_pool2d(input, *options)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Spread each gradient over the places it was averaged from."""
        (gradient,) = gradients
        anything = torch.empty(ctx.shape, dtype=gradient.dtype, device=gradient.device, memory_format=ctx.layout)
        spread = torch.ops.aten.avg_pool2d_backward(gradient, anything, *ctx.options)
        return (spread, *[None] * len(ctx.options))


def _pooling(
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> tuple[Any, ...]:
    """All options of ``F.avg_pool2d``, as its derivative takes them."""
    kernel = integers(kernel_size, 2)
    strides = kernel if stride is None else integers(stride, 2)
    return kernel, strides, integers(padding, 2), ceil_mode, count_include_pad, divisor_override
