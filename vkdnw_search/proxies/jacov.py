"""Jacov: do different images pull the output in different directions?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from vkdnw_search.contracts import Probe
from vkdnw_search.errors import DegenerateNetwork
from vkdnw_search.proxies.probing import ImageProxy, gradients, in_fast_layout, prepared, scored
from vkdnw_search.records import Score

__all__ = ["Jacov", "decorrelation"]

K = 1e-5  # keeps the logarithm and the inverse of a vanishing eigenvalue finite; the published value


@dataclass(frozen=True, kw_only=True)
class Jacov(ImageProxy):
    """− Σ_i (ln(v_i + k) + 1/(v_i + k)), k = 1e−5, more is better (Mellor et al. 2020, arXiv 2006.04647v1).

    v = eigenvalues of the correlation matrix (N, N) of the input gradients ∂(Σ_c z_c)/∂x of N images, in training
    mode. Largest, −N, where the gradients are uncorrelated. No labels. Published with real images; here inputs are
    Gaussian.
    """

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, which is initialised anew."""
        with prepared(model, probe, self.initialization):
            x = self.inputs(probe).requires_grad_()
            (J,) = gradients(in_fast_layout(model, x).sum(), [x])
        return scored(jacov=decorrelation(J))


def decorrelation(gradient: torch.Tensor) -> float:
    """− Σ_i (ln(v_i + k) + 1/(v_i + k)) of the input gradients of N images, (N, …)."""
    J = gradient.flatten(1).double()  # (N, D)
    if not bool(torch.isfinite(J).all()):
        raise DegenerateNetwork("jacov: the input gradient of some image is not finite")
    J = J - J.mean(dim=1, keepdim=True)
    norms = J.norm(dim=1, keepdim=True)
    if not bool((norms > 0).all()):
        raise DegenerateNetwork("jacov: the input gradient of some image is constant, so it has no correlation")
    J = J / norms
    v = torch.linalg.eigvalsh(J @ J.T)  # (N,)
    return float(-(torch.log(v + K) + 1 / (v + K)).sum())
