"""Zen-score: how strongly the features before the global pooling react to the input."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from vkdnw_search.contracts import Probe
from vkdnw_search.determinism import seed_from
from vkdnw_search.errors import DegenerateNetwork
from vkdnw_search.proxies.probing import ImageBatch, in_fast_layout, prepared, random_images, scored
from vkdnw_search.proxies.rectifiers import CallRecorder
from vkdnw_search.records import Score

__all__ = ["Zen"]

POOLINGS: frozenset[Callable[..., Any]] = frozenset(
    {F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d, torch.mean, torch.Tensor.mean}
)


@dataclass(frozen=True, kw_only=True)
class Zen(ImageBatch):
    """ln E ‖f(x) − f(x + αε)‖₁ + Σ_l ln σ_l, more is better (Lin et al., ICCV 2021, arXiv 2102.01063).

    f = the features before the global average pooling (without one, the input of the last linear layer), x and ε
    Gaussian images, weights ~ N(0, 1), training mode; σ_l² = mean over the channels of batch norm l of the batch's
    variance, which gives back the scale that batch norm took away. No labels.
    """

    alpha: Annotated[float, Interval(gt=0, le=1), "size of the perturbation of the input"] = 1e-2
    momentum: Annotated[
        float, Interval(gt=0, le=1), "weight of the batch in σ_l² against 1; 0.1: as the released code, by accident"
    ] = 1.0

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, which is initialised anew."""
        with torch.no_grad(), prepared(model, probe, "kaiming_normal"):
            norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_var is not None]
            for norm in norms:
                norm.momentum = self.momentum
            _draw_gaussian(model, seed=seed_from(probe.seed, "gaussian"))
            x = self.inputs(probe)
            epsilon = random_images(probe, self.images, resolution=self.resolution, index=1)
            moved = _features(model, x + self.alpha * epsilon)
            difference = float((moved - _features(model, x)).flatten(1).abs().double().sum(dim=1).mean())
            variances = [float(m.running_var.double().mean()) for m in norms if m.running_var is not None]
        if difference <= 0 or min(variances, default=1) <= 0:
            raise DegenerateNetwork("zen: the features do not react to the input")
        return scored(zen=math.log(difference) + sum(math.log(v) / 2 for v in variances))


def _draw_gaussian(model: nn.Module, *, seed: int) -> None:
    """Weights of convolutions and linear layers ~ N(0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator))


def _features(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What enters the last global pooling, else the last linear layer, else the output. Shape (N, …)."""
    pooled: list[torch.Tensor] = []
    linear: list[torch.Tensor] = []
    see_pooling = CallRecorder(POOLINGS, lambda inputs: pooled.append(inputs) if inputs.ndim > 2 else None)
    with see_pooling, CallRecorder(frozenset({F.linear}), linear.append):
        logits = in_fast_layout(model, x)
    return (pooled or linear or [logits])[-1]
