"""Peak bytes of int8 activations at inference of one input, planned as a microcontroller's runtime may plan them.

The convention is that of in-place depthwise convolutions (Lin et al. 2020, MCUNet, arXiv 2007.10319, section 3.2,
figure 7): an activation is one byte; a batch norm or an activation function is part of the layer before it; a depthwise
convolution writes over its input, channel by channel, and needs besides it the memory of one channel of its output. We
add that a residual addition, like any other element-wise operator, writes over an input that nothing else needs. A
runtime that gives a depthwise convolution an output of its own takes up to twice the bytes, where one is the peak.

Not counted are weights, which stay in flash, what a kernel needs within itself (im2col buffers, accumulators), and
what an allocator loses between tensors of different sizes. So it is a lower bound of an arena.
Input and output of a network count as int8, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from vkdnw_search.cost.interpolation import Counts
from vkdnw_search.cost.tensor_watch import TensorWatch, profiled

__all__ = ["int8_memory_profile"]

ELEMENT_WISE = frozenset(
    {
        "aten::hardswish",
        "aten::native_batch_norm",
        "aten::cudnn_batch_norm",
        "aten::_native_batch_norm_legit_no_training",
        "aten::native_dropout",
    }
)
"""Operators that PyTorch does not tag as pointwise, though in evaluation mode they are."""


def int8_memory_profile(model: nn.Module, input_shape: Sequence[int]) -> Counts:
    """Find the bytes of live int8 tensors at each operator of ``model(x)``, for one input without gradients.

    Args:
        model: in evaluation mode; on the meta device this takes no arithmetic.
        input_shape: of one input without the batch, e.g. (3, 96, 96).
    """
    return profiled(_Int8Watch, model, input_shape)


class _Int8Watch(TensorWatch):  # type: ignore[no-untyped-call]  # of its __init_subclass__
    """Records besides which operators can write their result over one of their inputs."""

    def __init__(self, weights: Sequence[Tensor], x: Tensor) -> None:
        self._in_place: list[tuple[int, int, list[int], int]] = []
        super().__init__(weights, x)

    def size(self, leaf: Tensor) -> int:
        """A byte for each number that the storage of a tensor holds."""
        return leaf.untyped_storage().nbytes() // leaf.element_size()

    def see(self, func: Any, args: tuple[Any, ...], made: Any) -> None:
        """Record the result, the inputs that it may be written over, and the bytes that this takes besides."""
        result = next((leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)), None)
        if result is None:
            return
        if torch.Tag.pointwise in func.tags or func._schema.name in ELEMENT_WISE:
            inputs = [x for x in tree_leaves(args) if isinstance(x, Tensor) and x.numel() == result.numel()]
            buffer = 0
        elif _is_depthwise(func, args):
            inputs, buffer = [args[0]], result[0, 0].numel()
        else:
            return
        self._in_place.append((self._operators, _address(result), list(map(_address, inputs)), buffer))

    def profile(self, result: object) -> Counts:
        """The live bytes at each operator, where results in place take no room of their own."""
        counts = list(super().profile(result))
        for operator, made, inputs, buffer in self._in_place:
            if self.is_used(made) and any(self._can_be_overwritten(x, operator, made) for x in inputs):
                counts[operator] -= max(self._bytes[made] - buffer, 0)
        return tuple(counts)

    def _can_be_overwritten(self, address: int, operator: int, made: int) -> bool:
        """Whether this input of an operator is used by nothing after it, and has room for what it made."""
        if address == made or self._last.get(address) != operator:  # weights have no last use
            return False
        return self._bytes[made] <= self._bytes[address]


def _is_depthwise(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operator is a convolution of each channel with its own kernel: one for each, and not transposed."""
    if func._schema.name != "aten::convolution":
        return False
    x, weight, transposed, groups = args[0], args[1], args[6], args[8]
    return bool(not transposed and groups == x.shape[1] == weight.shape[0])


def _address(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address
