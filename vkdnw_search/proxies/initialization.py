"""Random initialization of a network from a seed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any, Literal
from unittest.mock import patch

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Initialization = Literal["kaiming_normal", "as_built"]

WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd)
NORMALISING = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)
"""Normalising modules, whose parameters are set anew."""
BLOCK = 2**18
"""Number of random numbers drawn at once."""
MOST_KEPT = 64
"""Number of blocks that stay in memory for a seed, 64 MiB: the weights of a network of 16 million."""


@torch.no_grad()
def initialize(model: nn.Module, *, seed: int, scheme: Initialization = "kaiming_normal") -> None:
    """Draw the weights of ``model`` anew, in place, from ``seed`` alone.

    ``kaiming_normal``: weights of convolutions and linear layers ~ N(0, 2 / fan-in) (He et al. 2015, arXiv
    1502.01852, equation 10), their biases 0, affine weights of normalisations 1 and biases 0, batch-norm running
    statistics 0 and 1: the published choice of VKDNW. Parameters of other modules keep what their constructor gave,
    and so do weights that are computed from others, such as by ``weight_norm``. ``as_built`` changes nothing.
    """
    if scheme == "as_built":
        return
    numbers = _Numbers(seed)
    for module in model.modules():
        if isinstance(module, WEIGHTED) and "weight" in module._parameters:
            weight = module.weight
            fan_in = weight[0].numel()
            if isinstance(module, nn.modules.conv._ConvTransposeNd):
                fan_in = weight.numel() // (weight.shape[1] * module.groups)
            weight.copy_(numbers.take(weight.numel()).view(weight.shape)).mul_((2.0 / max(fan_in, 1)) ** 0.5)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, NORMALISING):
            module.reset_parameters()


class _Numbers:
    """The standard normal numbers that a seed stands for, float32, in order: the same on every device."""

    def __init__(self, seed: int) -> None:
        self._blocks = iter(_kept(seed))
        self._left = torch.empty(0)

    def take(self, count: int) -> torch.Tensor:
        """Take the next ``count`` numbers, (count,). They may be a view of what is kept, and must not be changed."""
        parts = []
        while count > len(self._left):
            parts.append(self._left)
            count -= len(self._left)
            self._left = next(self._blocks)
        parts.append(self._left[:count])
        self._left = self._left[count:]
        return torch.cat(parts) if len(parts) > 1 else parts[0]


class _Blocks:
    """The numbers of a seed in blocks, of which the first ``MOST_KEPT`` are drawn once."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._kept: list[torch.Tensor] = []
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[torch.Tensor]:
        for number in range(MOST_KEPT):
            with self._lock:
                if number == len(self._kept):
                    self._kept.append(torch.empty(BLOCK).normal_(generator=self._generator))
            yield self._kept[number]
        generator = torch.Generator()
        generator.set_state(self._generator.get_state())
        while True:
            yield torch.empty(BLOCK).normal_(generator=generator)


_kept = lru_cache(maxsize=4)(_Blocks)
"""The blocks of the latest seeds. All networks of a search are drawn from one, or from a few where a score has several
terms: drawing them anew would take a seventh of the time of a score."""


_CONSTRUCTING = threading.Lock()
"""A lock held while constructors are changed, so that two threads restore them in turn."""


def draws_all(model: nn.Module) -> bool:
    """Whether :func:`initialize` draws the weights of all convolutions and linear layers; not those computed from
    others, by ``weight_norm`` and its like."""
    return all("weight" in module._parameters for module in model.modules() if isinstance(module, WEIGHTED))


@contextmanager
def without_weights() -> Iterator[None]:
    """Leave the weights of what this thread constructs unset, for :func:`initialize` to set them.

    Drawing them twice takes a tenth of the time of a score. Other threads' constructors draw as ever.
    """
    here = threading.get_ident()
    with _CONSTRUCTING, ExitStack() as changes:
        for kind in (*WEIGHTED, *NORMALISING):
            changes.enter_context(patch.object(kind, "reset_parameters", _left_out(kind.reset_parameters, here)))
        yield


def _left_out(reset: Callable[[Any], None], thread: int) -> Callable[[nn.Module], None]:
    """``reset_parameters`` that does nothing in one thread."""

    def reset_parameters(self: nn.Module) -> None:
        if threading.get_ident() != thread:
            reset(self)

    return reset_parameters
