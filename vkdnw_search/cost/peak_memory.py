"""Peak activation memory at inference: the bytes that the tensors of one forward pass take at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache, partial
from typing import Generic

import torch
from torch import nn

from vkdnw_search.contracts import A, HasChain, SearchSpace, input_shape_of
from vkdnw_search.cost.interpolation import Counts, Multilinear
from vkdnw_search.cost.tensor_watch import TensorWatch, profiled
from vkdnw_search.determinism import forked_generators
from vkdnw_search.records import Part

__all__ = ["PeakMemory", "memory_profile", "traced"]

MEMO = 2**16
"""Number of blocks, or of networks where the space has no chain, whose peak is remembered."""

Made = tuple[nn.Module, Sequence[int]]

Profile = Callable[[nn.Module, Sequence[int]], Counts]
"""(model in evaluation mode, input shape) → what is counted at each operator."""


def memory_profile(model: nn.Module, input_shape: Sequence[int]) -> Counts:
    """Find the bytes of live tensors at each operator of ``model(x)``, for one input without gradients.

    A tensor lives from the operator that makes it to the last one that uses it: the input from the start, the result
    to the end. Views and results in place are no tensors of their own; weights do not count, nor does what a kernel
    uses within itself.

    Args:
        model: in evaluation mode; on the meta device this takes no arithmetic.
        input_shape: of one input without the batch, e.g. (3, 224, 224).
    """
    return profiled(TensorWatch, model, input_shape)


class PeakMemory(Generic[A]):
    """Finds the peak bytes of the candidates of one search space.

    Args:
        space: the peak of a chain is that of its blocks, each kind of which is traced once at the corners of a box;
            in other spaces every network is traced, once for each key, which takes a tenth of a second or more.
        profile: finds the bytes at each operator; by default those of PyTorch's tensors as they are.
    """

    def __init__(self, space: SearchSpace[A], profile: Profile = memory_profile) -> None:
        self._space, self._profile = space, profile
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
        shape = input_shape_of(self._space, architecture)
        return max(traced(self._profile, lambda: (self._space.build(architecture), shape)))

    def _block(self, block: Part) -> int:
        if block.kind not in self._formulas:
            self._formulas[block.kind] = Multilinear.fitted(block.kind, block.widths, partial(self._at, block))
        formula = self._formulas[block.kind]
        return max(self._at(block, block.widths) if formula is None else formula(block.widths))

    def _at(self, block: Part, widths: tuple[int, ...]) -> Counts:
        return traced(self._profile, lambda: block.make(*widths))


def traced(profile: Profile, make: Callable[[], Made]) -> Counts:
    """The profile of what ``make`` makes, traced on the meta device where the network can do without numbers."""
    with forked_generators():  # building draws weights
        try:
            with torch.device("meta"):
                return _profiled(profile, make)
        except Exception:  # of a network that looks at its numbers; if it is at fault itself, it says so again
            return _profiled(profile, make)


def _profiled(profile: Profile, make: Callable[[], Made]) -> Counts:
    model, input_shape = make()
    return profile(model.eval(), input_shape)
