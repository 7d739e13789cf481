"""AZ-NAS: expressivity, progressivity, trainability, from one pass (Lee & Ham, CVPR 2024, arXiv 2403.19232).

All three compare the features f_0 … f_L of successive stages (:mod:`vkdnw_search.proxies.stages`) of N Gaussian
images in training mode, and need no labels. Its fourth term is the FLOPs; the four are ranked together by
:func:`vkdnw_search.proxies.aggregate.make_az_nas`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from vkdnw_search.contracts import Probe
from vkdnw_search.determinism import seed_from
from vkdnw_search.errors import DegenerateNetwork
from vkdnw_search.proxies.probing import ImageProxy, prepared, scored
from vkdnw_search.proxies.stages import stage_features
from vkdnw_search.records import Score

__all__ = ["AzNasTerms", "Expressivity", "Progressivity", "Trainability"]

ENTROPY_EPSILON = 1e-8  # in ln(p + ε); the released code's
NORM_EPSILON = 1e-6  # in 1/(σ + ε); the released code's


@dataclass(frozen=True, kw_only=True)
class AzNasTerms(ImageProxy):
    """All three terms of AZ-NAS for sums of ranks, by one forward and one backward pass; the value is the
    expressivity.
    """

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, which is initialised anew."""
        with prepared(model, probe, self.initialization):
            features = stage_features(model, self.inputs(probe).requires_grad_())
            entropies = _entropies(features)
            trainability = _trainability(features, seed=seed_from(probe.seed, "rademacher"))
        return scored(expressivity=sum(entropies), progressivity=_progress(entropies), trainability=trainability)


@dataclass(frozen=True, kw_only=True)
class Expressivity(ImageProxy):
    """Σ_l H_l, more is better: H_l = −Σ_i p_i ln(p_i + 1e−8) of stage l.

    p = eigenvalues of the covariance (C, C) of the features over images and positions, divided by their sum: how
    evenly the features fill their C dimensions (at most ln C).
    """

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, which is initialised anew."""
        with torch.no_grad(), prepared(model, probe, self.initialization):
            entropies = _entropies(stage_features(model, self.inputs(probe)))
        return scored(expressivity=sum(entropies), progressivity=_progress(entropies))


@dataclass(frozen=True, kw_only=True)
class Progressivity(ImageProxy):
    """min_l (H_l − H_{l−1}), more is better: does every stage add to the entropy of the features?"""

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, which is initialised anew."""
        with torch.no_grad(), prepared(model, probe, self.initialization):
            entropies = _entropies(stage_features(model, self.inputs(probe)))
        return scored(progressivity=_progress(entropies), expressivity=sum(entropies))


@dataclass(frozen=True, kw_only=True)
class Trainability(ImageProxy):
    """Mean over stages of −σ_l − 1/(σ_l + 1e−6) + 2, more is better; about 0 where σ_l = 1.

    σ_l is the spectral norm of the estimate A_l = E[g_{l−1} g_lᵀ] of the stage's transposed Jacobian: g_l is a
    Rademacher vector on f_l, g_{l−1} its gradient at f_{l−1}, the mean is over images and positions. Where the stage
    has stride s, an s×s patch of f_{l−1} counts as s² channels of one position.
    """

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, which is initialised anew."""
        with prepared(model, probe, self.initialization):
            features = stage_features(model, self.inputs(probe).requires_grad_())
            return scored(trainability=_trainability(features, seed=seed_from(probe.seed, "rademacher")))


def _entropies(features: list[torch.Tensor]) -> list[float]:
    return [_entropy(f.detach(), number) for number, f in enumerate(features)]


def _entropy(feature: torch.Tensor, number: int) -> float:
    """The entropy H of one stage. The larger axis is summed over: both Gram matrices have the same eigenvalues but
    for zeros.
    """
    rows = _positions(feature)  # (M, C), M = N·H·W
    rows = rows - rows.mean(dim=0)
    covariance = rows.T @ rows if rows.shape[0] >= rows.shape[1] else rows @ rows.T  # times M, which cancels below
    trace = float(covariance.trace())
    if not 0 < trace < float("inf"):
        raise DegenerateNetwork(f"stage {number} (from 0): its features are constant or not finite")
    p = torch.linalg.eigvalsh(covariance.double()).clamp(min=0)
    p = p / p.sum()
    return float(-(p * torch.log(p + ENTROPY_EPSILON)).sum())


def _progress(entropies: list[float]) -> float:
    return min(after - before for before, after in pairwise(entropies))


def _trainability(features: list[torch.Tensor], *, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    pairs = enumerate(pairwise(features), start=1)
    norms = [_jacobian_norm(f_in, f_out, number, generator) for number, (f_in, f_out) in pairs]
    return sum(2 - norm - 1 / (norm + NORM_EPSILON) for norm in norms) / len(norms)


def _jacobian_norm(f_in: torch.Tensor, f_out: torch.Tensor, number: int, generator: torch.Generator) -> float:
    """The spectral norm σ of the stage between two features.

    A stage that hands its input on unchanged has σ ≈ 1, the best value, by doing nothing. The released code gives it
    −inf; here it is degenerate.
    """
    if not f_out.requires_grad:
        raise DegenerateNetwork(f"stage {number} (from 0): its features depend on nothing")
    signs = torch.randint(2, f_out.shape, generator=generator, dtype=f_out.dtype)
    g_out = torch.empty_like(f_out).copy_(signs).mul_(2).sub_(1)  # in the layout of the feature, for speed
    (g_in,) = torch.autograd.grad(f_out, f_in, g_out, retain_graph=True, allow_unused=True, materialize_grads=True)
    if g_in.shape == g_out.shape and torch.equal(g_in, g_out):
        raise DegenerateNetwork(f"stage {number} (from 0): it hands its input on unchanged")
    rows_in, rows_out = _positions(_patches(g_in, f_out.shape[2:])), _positions(g_out)  # (M, C s²), (M, C')
    A = rows_in.T @ rows_out / len(rows_out)
    if not bool(torch.isfinite(A).all()):
        raise DegenerateNetwork(f"stage {number} (from 0): its gradients are not finite")
    return float(torch.linalg.matrix_norm(A, ord=2))


def _patches(feature: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """(N, C, s·H, s·W) → (N, s²·C, H, W). Zeros are added at the end where the size is not a multiple of s."""
    for axis, want in enumerate(size, start=2):
        stride = -(-feature.shape[axis] // want)
        padding = [0, 0] * (feature.ndim - 1 - axis) + [0, stride * want - feature.shape[axis]]
        feature = F.pad(feature, padding)
        feature = feature.reshape(*feature.shape[:axis], want, stride, *feature.shape[axis + 1 :])
        feature = feature.movedim(axis + 1, 1).flatten(1, 2)
    return feature


def _positions(feature: torch.Tensor) -> torch.Tensor:
    """(N, C, …) → (N·…, C): one row for each image and position."""
    return feature.movedim(1, -1).reshape(-1, feature.shape[1])
