"""Random initialization of a network from a seed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal
from unittest.mock import patch

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Initialization = Literal["kaiming_normal", "as_built"]


@torch.no_grad()
def initialize(model: nn.Module, *, seed: int, scheme: Initialization = "kaiming_normal") -> None:
    """Draw the weights of ``model`` anew, in place, from ``seed`` alone.

    ``kaiming_normal``: weights of convolutions and linear layers ~ N(0, 2 / fan-in) (He et al. 2015, arXiv
    1502.01852, equation 10), their biases 0, affine weights of normalisations 1 and biases 0, batch-norm running
    statistics 0 and 1: the published choice of VKDNW. Parameters of other modules keep what their constructor gave.
    ``as_built`` changes nothing.
    """
    if scheme == "as_built":
        return
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            fan_in = module.weight[0].numel()
            if isinstance(module, nn.modules.conv._ConvTransposeNd):
                fan_in = module.weight.numel() // (module.weight.shape[1] * module.groups)
            _normal(module.weight, std=(2.0 / max(fan_in, 1)) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, _BatchNorm | nn.GroupNorm | nn.LayerNorm):
            module.reset_parameters()


_CONSTRUCTING = threading.Lock()
"""Held while constructors are changed, so that two threads restore them in turn."""


@contextmanager
def without_weights() -> Iterator[None]:
    """Convolutions and linear layers that this thread constructs keep weights that nobody drew, for `initialize` to.

    Drawing them twice takes a tenth of the time of a score. Other threads' constructors draw as ever.
    """
    here = threading.get_ident()
    with _CONSTRUCTING, ExitStack() as changes:
        for kind in (nn.Linear, nn.modules.conv._ConvNd):
            changes.enter_context(patch.object(kind, "reset_parameters", _left_out(kind.reset_parameters, here)))
        yield


def _left_out(reset: Callable[[Any], None], thread: int) -> Callable[[nn.Module], None]:
    """``reset_parameters`` that does nothing in one thread."""

    def reset_parameters(self: nn.Module) -> None:
        if threading.get_ident() != thread:
            reset(self)

    return reset_parameters


def _normal(tensor: torch.Tensor, *, std: float, generator: torch.Generator) -> None:
    """Fill from a CPU generator, so that one seed gives one network whatever the device."""
    if tensor.device.type == "cpu":
        tensor.normal_(0.0, std, generator=generator)
    else:
        tensor.copy_(torch.empty(tensor.shape, dtype=tensor.dtype).normal_(0.0, std, generator=generator))
