"""Pruning scores summed over a network: GradNorm, SNIP, GraSP, SynFlow.

How they came to rank networks: Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021, arXiv
2101.08134. θ are the weights of convolutions and linear layers, L the mean cross-entropy of a batch of Gaussian
images with random labels, in training mode.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from vkdnw_search.contracts import Probe
from vkdnw_search.errors import ScoreError
from vkdnw_search.options import check_options
from vkdnw_search.proxies.probing import (
    BrightImageProxy,
    Brightness,
    ImageProxy,
    NeedsLabels,
    Weights,
    gradients,
    layer_weights,
    must_be_noise,
    prepared,
    scored,
)
from vkdnw_search.records import Score

__all__ = ["GradNorm", "Grasp", "Snip", "SynFlow"]


@dataclass(frozen=True, kw_only=True)
class GradNorm(ImageProxy, NeedsLabels):
    """‖∂L/∂w‖₂ over all trainable weights w, biases and normalisations included; more is better. Needs labels."""

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, which is initialised anew."""
        with prepared(model, probe, self.initialization):
            grads = gradients(self.loss(model, probe), [p for p in model.parameters() if p.requires_grad])
        return scored(grad_norm=sum(float(g.double().square().sum()) for g in grads) ** 0.5)


@dataclass(frozen=True, kw_only=True)
class Snip(ImageProxy, NeedsLabels):
    """Σ |θ ∂L/∂θ|, more is better (Lee et al., ICLR 2019, arXiv 1810.02340). Needs labels.

    To first order, what the loss changes by where a weight is removed.
    """

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, which is initialised anew."""
        with prepared(model, probe, self.initialization):
            weights = layer_weights(model)
            grads = gradients(self.loss(model, probe), weights)
        return scored(snip=_total([(w * g).abs() for w, g in zip(weights, grads, strict=True)]))


@dataclass(frozen=True, kw_only=True)
class Grasp(BrightImageProxy, NeedsLabels):
    """Σ −θ (H g), more is better (Wang et al., ICLR 2020, arXiv 2002.07376). Needs labels.

    g = ∂L/∂θ and H = ∂²L/∂θ²: to first order, what ‖g‖²/2 changes by where a weight is removed. As in the
    comparison of zero-cost proxies the logits are not divided by a temperature (GraSP itself takes 200). The inputs
    matter: on 160 networks of NAS-Bench-201 Kendall's τ with CIFAR-10 accuracy was 0.45 for white noise, 0.34 for the
    default brightness and 0.30 for a brightness of 0.25 (published for real images: 0.35).
    """

    brightness: Brightness = 0.1

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, which is initialised anew."""
        with prepared(model, probe, self.initialization):
            weights = layer_weights(model)
            grads = gradients(self.loss(model, probe), weights, create_graph=True)
            half_square = torch.stack([g.square().sum() for g in grads]).sum() / 2  # its gradient is H g
            Hg = gradients(half_square, weights)
        return scored(grasp=_total([-w * h for w, h in zip(weights, Hg, strict=True)]))


@dataclass(frozen=True, kw_only=True)
class SynFlow:
    """Σ |θ| ∂R/∂|θ|, more is better (Tanaka et al., NeurIPS 2020, arXiv 2006.05467). No labels.

    R = Σ_c z_c for an input of ones, all weights replaced by their absolute values: the sum over all paths of the
    products of their weights, each path counted once for every weight on it. Without batch norm, which would undo
    it, and in float64, for it grows exponentially with depth.
    """

    initialization: Weights = "kaiming_normal"

    def __post_init__(self) -> None:
        check_options(self, ScoreError)

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, whose batch norms are removed and whose weights become positive float64."""
        must_be_noise(probe)
        with prepared(model, probe, self.initialization):
            _remove_batch_norm(model)
            model.eval()
            model.double()
            with torch.no_grad():
                for p in model.parameters():
                    p.abs_()
            weights = [p for p in model.parameters() if p.requires_grad]
            ones = torch.ones(1, *probe.input_shape, dtype=torch.float64, device=probe.device)
            grads = gradients(model(ones).sum(), weights)
        return scored(synflow=_total([w * g for w, g in zip(weights, grads, strict=True)]))


def _total(values: list[torch.Tensor]) -> float:
    return sum(float(v.detach().double().sum()) for v in values)


def _remove_batch_norm(model: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                setattr(parent, name, nn.Identity())
