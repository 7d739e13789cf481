"""Bytes of a network's weights when it is quantized to int8, as ONNX Runtime's static quantization writes them.

With ``quantize_static(…, per_channel=True)`` in its QDQ format, an ONNX file holds for each convolution and each linear
layer, of n weights to C output channels:

    n + 5 C          int8 weights; of each channel a scale (float32) and a zero point (int8)
    12 C             if there is a bias: of each channel the bias (int32), its scale (float32), its zero point (int32)

A batch norm that follows a convolution is folded into it, and leaves a bias there. Weights of any other operator, such
as a batch norm before a convolution or a layer norm, count as 4 bytes each, which is an upper bound.

Not counted are 5 bytes for each activation (a scale and a zero point), and nodes and names of the graph: 2 to 5 kB for
each convolution in an ONNX file as it is written, next to nothing in what is compiled for a microcontroller. A tensor
that several layers share counts once; its bias, too.

Where this differs from a written file, in NAS-Bench-201's smallest networks (cells of skips, pools and up to six 1×1
convolutions): a norm that follows a folded norm is folded as well, but counts 16 bytes a channel here, since the sum of
parts cannot know it: their last norm, where a cell is one convolution, 1.1 % too much with the benchmark's 16 channels.
Other such networks differ by 0.3 % at most. With 4 channels this (2.5 % too much) and the activations' bytes (up to
1.8 % too little) weigh more. A fresh network has tensors that are equal, such as biases of zero, which an exporter
writes once: 0.4 to 0.8 % less. A network that ignores its input ONNX Runtime does not quantize.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache, partial
from math import prod
from typing import Any, Generic

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vkdnw_search.contracts import A, HasParts, SearchSpace, input_shape_of
from vkdnw_search.cost.interpolation import Counts, Multilinear
from vkdnw_search.cost.peak_memory import traced
from vkdnw_search.determinism import forked_generators
from vkdnw_search.records import Part

__all__ = ["Int8Size", "int8_size"]

WEIGHT_CHANNEL = 5
"""Bytes of the scale and the zero point of one channel's weights."""

BIAS_CHANNEL = 12
"""Bytes of one channel's bias with its scale and its zero point."""

FLOAT = 4
"""Bytes of a number that stays as it is."""

BATCH_NORMS = frozenset(
    {"aten::native_batch_norm", "aten::cudnn_batch_norm", "aten::_native_batch_norm_legit_no_training"}
)

MEMO = 2**16
"""Number of parts, or of networks where the space has no parts, whose size is remembered."""


def int8_size(model: nn.Module, input_shape: Sequence[int]) -> int:
    """The bytes of the weights that ``model(x)`` uses, quantized to int8.

    Args:
        model: in evaluation mode; on the meta device this takes no arithmetic.
        input_shape: of one input without the batch, e.g. (3, 96, 96).
    """
    weights = [*model.parameters(), *model.buffers()]
    example = next((w for w in weights if w.is_floating_point()), torch.zeros(0))
    watch = _WeightWatch(weights)
    x = torch.zeros(1, *input_shape, dtype=example.dtype, device=example.device)
    with torch.no_grad(), forked_generators(), watch:
        model(x)
    return watch.size


class Int8Size(Generic[A]):
    """Finds the bytes of the candidates of one search space, quantized to int8.

    Args:
        space: if it has ``parts``, their sizes are added, each kind of which is traced once at the corners of a box;
            in other spaces every network is traced, once for each key.
    """

    def __init__(self, space: SearchSpace[A]) -> None:
        self._space = space
        self._parts = space.parts if isinstance(space, HasParts) else None
        self._formulas: dict[Hashable, Multilinear | None] = {}
        self._of_part = lru_cache(MEMO)(self._part)
        self._of_whole = lru_cache(MEMO)(self.whole)

    def __call__(self, architecture: A) -> int:
        """The bytes of one candidate."""
        if self._parts is not None:
            return sum(map(self._of_part, self._parts(architecture)))
        return self._of_whole(architecture)

    def whole(self, architecture: A) -> int:
        """The bytes of one candidate from a trace of the whole network: slow, but what parts are checked against."""
        return traced(_sized, lambda: (self._space.build(architecture), input_shape_of(self._space, architecture)))[0]

    def _part(self, part: Part) -> int:
        if part.kind not in self._formulas:
            self._formulas[part.kind] = Multilinear.fitted(part.kind, part.widths, partial(_at, part))
        formula = self._formulas[part.kind]
        return (_at(part, part.widths) if formula is None else formula(part.widths))[0]


def _at(part: Part, widths: tuple[int, ...]) -> Counts:
    return traced(_sized, lambda: part.make(*widths))


def _sized(model: nn.Module, input_shape: Sequence[int]) -> Counts:
    return (int8_size(model, input_shape),)


class _WeightWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of its __init_subclass__
    """Sees which operator uses each weight, and gives it its bytes."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._weights = {_address(w) for w in weights}
        self._held = [w.untyped_storage() for w in weights]  # so that no address comes twice
        self._bytes: dict[Hashable, int] = {}
        self._unbiased: dict[int, tuple[int, int] | None] = {}

    @property
    def size(self) -> int:
        """The bytes of all weights that were used so far."""
        return sum(self._bytes.values())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func._schema.name
        if name not in BATCH_NORMS:  # what something else uses, or changes in place, no batch norm can be folded into
            for leaf in tree_leaves(args):
                if isinstance(leaf, Tensor):
                    self._unbiased.pop(_address(leaf), None)
        result = next((leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)), None)
        if result is not None and _address(result) not in self._weights:  # a view of a weight is that weight
            self._held.append(result.untyped_storage())
            _COUNTERS.get(name, _WeightWatch._other)(self, args, result)
        return made

    def _convolution(self, args: tuple[Any, ...], result: Tensor) -> None:
        weight, bias, channels = args[1], args[2], result.shape[1]
        self._multiplied(weight, bias, channels)
        self._unbiased[_address(result)] = None if bias is not None else (_address(weight), channels)

    def _batch_norm(self, args: tuple[Any, ...], result: Tensor) -> None:
        if _address(args[0]) not in self._unbiased:
            return self._other(args, result)
        folded = self._unbiased.pop(_address(args[0]))
        if folded is not None:  # else the convolution has a bias already
            weight, channels = folded
            self._bytes["bias of", weight] = BIAS_CHANNEL * channels
        return None

    def _linear(self, args: tuple[Any, ...], result: Tensor) -> None:
        bias = args[0] if len(args) == 3 else None  # addmm has one before the factors, mm and bmm have none
        weight = args[-1]
        if _address(weight) in self._weights:
            self._multiplied(weight, bias, result.shape[-1])
        else:
            self._other(args, result)

    def _multiplied(self, weight: Tensor, bias: Tensor | None, channels: int) -> None:
        self._bytes[_address(weight)] = prod(weight.shape) + WEIGHT_CHANNEL * channels
        if bias is not None:
            self._bytes["bias of", _address(weight)] = BIAS_CHANNEL * channels

    def _other(self, args: tuple[Any, ...], result: Tensor) -> None:
        for leaf in tree_leaves(args):
            if isinstance(leaf, Tensor) and (address := _address(leaf)) in self._weights:
                self._bytes.setdefault(address, FLOAT * leaf.untyped_storage().nbytes() // leaf.element_size())


def _address(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address


_COUNTERS: dict[str, Callable[[_WeightWatch, tuple[Any, ...], Tensor], None]] = {
    "aten::convolution": _WeightWatch._convolution,
    **dict.fromkeys(BATCH_NORMS, _WeightWatch._batch_norm),
    **dict.fromkeys(("aten::addmm", "aten::mm", "aten::bmm"), _WeightWatch._linear),
}
