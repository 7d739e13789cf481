"""When each tensor of a forward pass is made and last used, as the operators of PyTorch's dispatcher tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vkdnw_search.cost.interpolation import Counts
from vkdnw_search.determinism import forked_generators

__all__ = ["TensorWatch", "profiled"]


class TensorWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of its __init_subclass__
    """Records when each storage is made and last used. It holds all storages, so that no address comes twice."""

    def __init__(self, weights: Sequence[Tensor], x: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._held = [tensor.untyped_storage() for tensor in weights]
        self._ignored = {storage._cdata for storage in self._held}
        self._operators = -1  # the input is there before the first
        self._bytes: dict[int, int] = {}
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._results: set[int] = set()
        self._use(x)
        self._operators = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, made)):
            self._use(leaf)
        self.see(func, args, made)
        self._operators += 1
        return made

    def see(self, func: Any, args: tuple[Any, ...], made: Any) -> None:
        """Is called after each operator with what it took and made; here nothing more is recorded of it."""

    def size(self, leaf: Tensor) -> int:
        """The bytes of the whole storage of a tensor."""
        return leaf.untyped_storage().nbytes()

    def _use(self, leaf: object) -> None:
        if isinstance(leaf, Tensor) and (storage := leaf.untyped_storage())._cdata not in self._ignored:
            address = storage._cdata
            if address not in self._bytes:
                self._held.append(storage)
                self._bytes[address], self._first[address] = self.size(leaf), self._operators
            self._last[address] = self._operators

    def profile(self, result: object) -> Counts:
        """The live bytes at each operator, where ``result`` lives to the end."""
        end = max(self._operators - 1, 0)
        self._results = {leaf.untyped_storage()._cdata for leaf in tree_leaves(result) if isinstance(leaf, Tensor)}
        self._last |= dict.fromkeys(self._results & self._last.keys(), end)
        changes = [0] * (end + 2)
        for address, size in self._bytes.items():
            if self.is_used(address):
                changes[max(self._first[address], 0)] += size
                changes[self._last[address] + 1] -= size
        return tuple(accumulate(changes[:-1]))

    def is_used(self, address: int) -> bool:
        """Whether a storage is used at all; statistics of a batch norm, for one, are made and never used."""
        return self._last[address] > self._first[address] or address in self._results


def profiled(watching: type[TensorWatch], model: nn.Module, input_shape: Sequence[int]) -> Counts:
    """What a watch of this class counts at each operator of ``model(x)``, for one input without gradients."""
    weights = [*model.parameters(), *model.buffers()]
    example = next((w for w in weights if w.is_floating_point()), torch.zeros(0))
    x = torch.zeros(1, *input_shape, dtype=example.dtype, device=example.device)
    watch = watching(weights, x)
    with torch.no_grad(), forked_generators(), watch:
        result = model(x)
    return watch.profile(result)
