"""Proxies that look at a network's size only: FLOPs, parameters, trainable layers.

Trivial, and hard to beat: by themselves they reach Kendall 0.62 on NAS-Bench-201 (VKDNW, arXiv 2502.04975, Table 1).
They need no labels, no inputs and no initialization. Where the engine hands the cost over they read it there;
given a bare network they count it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vkdnw_search.contracts import Probe
from vkdnw_search.errors import ScoreError
from vkdnw_search.options import check_options
from vkdnw_search.proxies.probing import scored
from vkdnw_search.records import Cost, Score

__all__ = ["Flops", "Parameters", "TrainableLayers"]


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Floating-point operations of one forward pass, more is better.

    The value is ``Cost.flops`` where the cost is known, otherwise the multiply-adds of convolutions and linear
    layers, which leave
    out batch norm and pooling (4 % in a MobileNetV2): compare networks counted in one way only.
    """

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``; does not change it."""
        return self.score_cost(probe.cost) if probe.cost else scored(flops=float(_multiply_adds(model, probe)))

    def score_cost(self, cost: Cost) -> Score:
        """The score of any network with this cost."""
        return scored(flops=float(cost.flops))


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Number of trainable scalars, more is better."""

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``; does not change it."""
        return scored(parameters=float(sum(p.numel() for p in _trainable(model))))

    def score_cost(self, cost: Cost) -> Score:
        """The score of any network with this cost."""
        return scored(parameters=float(cost.parameters))


@dataclass(frozen=True, kw_only=True)
class TrainableLayers:
    """ℵ of VKDNW, more is better: parameter tensors as in its released code, or leaf modules that own parameters."""

    count: Annotated[Literal["tensors", "modules"], "what counts as a layer"] = "tensors"

    def __post_init__(self) -> None:
        check_options(self, ScoreError)

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``; does not change it."""
        if self.count == "tensors":
            return scored(trainable_layers=float(len(_trainable(model))))
        owners = [m for m in model.modules() if any(p.requires_grad for p in m.parameters(recurse=False))]
        return scored(trainable_layers=float(len(owners)))

    def score_cost(self, cost: Cost) -> Score:
        """The score of any network with this cost."""
        return scored(trainable_layers=float(cost.tensors if self.count == "tensors" else cost.modules))


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


@torch.no_grad()
def _multiply_adds(model: nn.Module, probe: Probe) -> int:
    """Multiply-adds of convolutions and linear layers, for one input. PyTorch counts each as two."""
    was_training = model.training
    counter = FlopCounterMode(display=False)
    model.eval()
    with counter:
        model(torch.zeros(1, *probe.input_shape, device=next(model.parameters(), torch.empty(0)).device))
    model.train(was_training)
    return int(counter.get_total_flops()) // 2
