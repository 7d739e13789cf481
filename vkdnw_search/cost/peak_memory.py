"""Peak activation memory at inference: the bytes that the tensors of one forward pass take at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any, Generic

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vkdnw_search.contracts import A, HasChain, SearchSpace
from vkdnw_search.cost.interpolation import Counts, Multilinear
from vkdnw_search.determinism import forked_generators
from vkdnw_search.records import Part

__all__ = ["PeakMemory", "memory_profile"]

MEMO = 2**16
"""Number of blocks, or of networks where the space has no chain, whose peak is remembered."""

Made = tuple[nn.Module, Sequence[int]]


def memory_profile(model: nn.Module, input_shape: Sequence[int]) -> Counts:
    """Find the bytes of live tensors at each operator of ``model(x)``, for one input without gradients.

    A tensor lives from the operator that makes it to the last one that uses it: the input from the start, the result
    to the end. Views and results in place are no tensors of their own; weights do not count, nor does what a kernel
    uses within itself.

    Args:
        model: in evaluation mode; on the meta device this takes no arithmetic.
        input_shape: of one input without the batch, e.g. (3, 224, 224).
    """
    weights = [*model.parameters(), *model.buffers()]
    example = next((w for w in weights if w.is_floating_point()), torch.zeros(0))
    x = torch.zeros(1, *input_shape, dtype=example.dtype, device=example.device)
    watch = _Watch(weights, x)
    with torch.no_grad(), forked_generators(), watch:
        result = model(x)
    return watch.profile(result)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of its __init_subclass__
    """Records when each storage is made and last used. It holds all storages, so that no address comes twice."""

    def __init__(self, weights: Sequence[Tensor], x: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._held = [tensor.untyped_storage() for tensor in weights]
        self._ignored = {storage._cdata for storage in self._held}
        self._operators = -1  # the input is there before the first
        self._bytes: dict[int, int] = {}
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._use(x)
        self._operators = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, made)):
            self._use(leaf)
        self._operators += 1
        return made

    def _use(self, leaf: object) -> None:
        if isinstance(leaf, Tensor) and (storage := leaf.untyped_storage())._cdata not in self._ignored:
            address = storage._cdata
            if address not in self._bytes:
                self._held.append(storage)
                self._bytes[address], self._first[address] = storage.nbytes(), self._operators
            self._last[address] = self._operators

    def profile(self, result: object) -> Counts:
        """The live bytes at each operator, where ``result`` lives to the end."""
        end = max(self._operators - 1, 0)
        results = {leaf.untyped_storage()._cdata for leaf in tree_leaves(result) if isinstance(leaf, Tensor)}
        self._last |= dict.fromkeys(results & self._last.keys(), end)
        changes = [0] * (end + 2)
        for address, size in self._bytes.items():
            first, last = self._first[address], self._last[address]
            if last > first or address in results:  # statistics of a batch norm, for one, are made and never used
                changes[max(first, 0)] += size
                changes[last + 1] -= size
        return tuple(accumulate(changes[:-1]))


class PeakMemory(Generic[A]):
    """Finds the peak bytes of the candidates of one search space.

    Args:
        space: the peak of a chain is that of its blocks, each kind of which is traced once at the corners of a box;
            in other spaces every network is traced, once for each key, which takes a tenth of a second or more.
    """

    def __init__(self, space: SearchSpace[A]) -> None:
        self._space = space
        self._chain = space.chain if isinstance(space, HasChain) else None
        self._formulas: dict[Hashable, Multilinear | None] = {}
        self._of_block = lru_cache(MEMO)(self._block)
        self._of_whole = lru_cache(MEMO)(self.whole)

    def __call__(self, architecture: A) -> int:
        """The peak bytes of one candidate."""
        if self._chain is not None:
            return max(map(self._of_block, self._chain(architecture)))
        return self._of_whole(architecture)

    def whole(self, architecture: A) -> int:
        """The peak bytes of one candidate from a trace of the whole network: slow, but what blocks are checked
        against.
        """
        return max(_traced(lambda: (self._space.build(architecture), self._space.input_shape)))

    def _block(self, block: Part) -> int:
        if block.kind not in self._formulas:
            self._formulas[block.kind] = Multilinear.fitted(block.kind, block.widths, partial(_at, block))
        formula = self._formulas[block.kind]
        return max(_at(block, block.widths) if formula is None else formula(block.widths))


def _at(block: Part, widths: tuple[int, ...]) -> Counts:
    return _traced(lambda: block.make(*widths))


def _traced(make: Callable[[], Made]) -> Counts:
    """The memory profile, traced on the meta device where the network can do without numbers."""
    with forked_generators():  # building draws weights
        try:
            with torch.device("meta"):
                return _profiled(make)
        except Exception:  # of a network that looks at its numbers; if it is at fault itself, it says so again
            return _profiled(make)


def _profiled(make: Callable[[], Made]) -> Counts:
    model, input_shape = make()
    return memory_profile(model.eval(), input_shape)
