"""Do gradients agree, between images (GradSign) and between batches (ZiCo)?

θ are the weights of convolutions and linear layers; the loss is the cross-entropy of Gaussian images with random
labels (or what suits the likelihood of the outputs), in training mode. Published with real images and labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Interval
from torch import nn

from vkdnw_search.contracts import Probe
from vkdnw_search.errors import DegenerateNetwork, ScoreError, told
from vkdnw_search.proxies.probing import (
    ImageProxy,
    NeedsLabels,
    gradients,
    layer_weights,
    prepared,
    random_labels,
    scored,
)
from vkdnw_search.proxies.random_targets import loss_of
from vkdnw_search.records import Score

__all__ = ["GradSign", "Zico"]

Batches = Annotated[int, Interval(ge=2, le=64), "number of batches"]


@dataclass(frozen=True, kw_only=True)
class GradSign(ImageProxy, NeedsLabels):
    """Σ_k |Σ_n sign(∂l_n/∂θ_k)|, more is better (Zhang & Jia, ICLR 2022, arXiv 2110.08616). Needs labels.

    l_n is the loss of image n alone, so batch norm takes its statistics from the positions of that image. The sum
    over weights is the paper's; a mean over them, which some code takes, ranks differently.
    """

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, which is initialised anew."""
        with prepared(model, probe, self.initialization):
            weights = layer_weights(model)
            signs = [torch.zeros_like(w) for w in weights]
            labels = None
            for n, x in enumerate(self.inputs(probe)):
                outputs = _of_one_image(model, x[None])
                if labels is None:
                    labels = random_labels(probe, outputs, samples=self.images)
                loss = loss_of(outputs, labels[n : n + 1], probe.likelihood)
                for total, g in zip(signs, _image_gradients(loss, weights), strict=True):
                    total += g.sign()
        value = sum(float(total.abs().sum(dtype=torch.float64)) for total in signs)
        if value == 0:
            raise DegenerateNetwork("gradsign: all gradients are exactly zero, or cancel in sign")
        return scored(gradsign=value)


@dataclass(frozen=True, kw_only=True)
class Zico(ImageProxy, NeedsLabels):
    """Σ_l ln Σ_{k in l} E|g_k| / √Var(g_k), more is better (Li et al., ICLR 2023, arXiv 2301.11300).

    g = gradient of the mean loss of a batch; mean and (population) variance over the batches; l runs over layers.
    Weights whose gradient does not vary, and layers of only such weights, are left out. Needs labels.
    """

    batches: Batches = 2

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, which is initialised anew."""
        with prepared(model, probe, self.initialization):
            weights = layer_weights(model)
            batches = [gradients(self.loss(model, probe, index=b), weights) for b in range(self.batches)]
        sums = [_inverse_variation(torch.stack(layer)) for layer in zip(*batches, strict=True)]
        if not any(sums):
            raise DegenerateNetwork("zico: no gradient varies between batches")
        return scored(zico=sum(math.log(s) for s in sums if s != 0))


def _of_one_image(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    try:
        outputs: torch.Tensor = model(x)
    except ValueError as error:  # what batch norm raises for one image of 1 × 1
        raise ScoreError(
            f"gradsign, resolution: must be larger, for the network must accept a single image; {told(error)}"
        ) from error
    return outputs


def _image_gradients(loss: torch.Tensor, weights: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """The gradient ∂l/∂θ of one image. All of it may be zero: an image may reach no active unit."""
    if not loss.requires_grad:
        raise DegenerateNetwork("gradsign: the output of the network does not depend on its weights")
    return torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)


def _inverse_variation(g: torch.Tensor) -> float:
    """The sum Σ_k E|g_k| / √Var(g_k) over the weights of a layer whose gradients vary. ``g``: (batches, …)."""
    g = g.double()
    mean, deviation = g.abs().mean(dim=0), g.std(dim=0, correction=0)
    varies = deviation > 0
    return float((mean[varies] / deviation[varies]).sum())
