"""What the outputs of a network stand for, and what that makes of the Fisher information.

Let the outputs z = f(x; θ) ∈ R^O be the natural parameters of a distribution of the exponential family. The Fisher
information of θ is

    F(θ) = 1/N Σ_n J_nᵀ Λ(z_n) J_n ,   J_n = ∂z_n/∂θ ∈ R^{O×K} ,

Λ the covariance of the sufficient statistic, which does not depend on labels (Amari 1998; Martens 2020, "New insights
and perspectives on the natural gradient method", arXiv 1412.1193):

    categorical    p = softmax(z)     Λ = diag(p) − p pᵀ, at each position a block of its own
    Bernoulli      p = sigmoid(z)     Λ = diag(p ∘ (1 − p))
    Gaussian       mean z, variance 1      Λ = I
    several heads                     Λ = the blocks of the heads

Each is A P A, A = diag(a) and P the projector onto a space of d dimensions: a = √p and P = I − √p √pᵀ in each block of
a categorical one, d = C − 1 for every position; a = √(p ∘ (1 − p)) or 1 and P = I, d = O, in the others.

**Sketch.** Let the columns of Q ∈ R^{O×M} be an orthonormal basis of a random subspace of M dimensions, uniform within
the range of P. Q Qᵀ is the projector onto it, whatever the basis, and by symmetry E Q Qᵀ = (M/d) P. So the vectors
v_m = √(d/M) a ∘ q_m have E Σ_m v_m v_mᵀ = A P A = Λ, with nothing between positions or heads, since P has nothing
there; for M = d there is no randomness left, and Λ is exact. The subspace is spanned by P times standard normal
vectors, all positions and heads together. (A basis of its own for each position would not do: QR fixes signs so that
E q ≠ 0, and positions would be correlated unless each had an independent random sign.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from vkdnw_search.contracts import HasLikelihood, Likelihood
from vkdnw_search.errors import ScoreError, SpaceError

__all__ = [
    "OutputCovariance",
    "bernoulli",
    "categorical",
    "cotangents",
    "covariance_of",
    "gaussian",
    "joined",
    "likelihood_of",
    "resolved",
]


class OutputCovariance(NamedTuple):
    """Λ = diag(a) P diag(a) for each of n samples.

    Attributes:
        scale: a, (n, O), float64.
        project: (n, O, M) → P times each of the M columns.
        rank: d, the dimensions of the range of P.
    """

    scale: Tensor
    project: Callable[[Tensor], Tensor]
    rank: int


def categorical(probabilities: Tensor) -> OutputCovariance:
    """The covariance diag(p) − p pᵀ of the classes at each position. ``probabilities``: (n, C) or (n, C, …)."""
    classes = probabilities.shape[1]
    root = probabilities.sqrt().flatten(2)[..., None] if probabilities.dim() > 2 else probabilities.sqrt()[..., None]

    def project(vectors: Tensor) -> Tensor:
        e = vectors.reshape(*root.shape[:-1], vectors.shape[2])  # (n, C, positions, M)
        return (e - root * (root * e).sum(dim=1, keepdim=True)).flatten(1, -2)

    return OutputCovariance(root.flatten(1), project, (classes - 1) * math.prod(probabilities.shape[2:]))


def bernoulli(probabilities: Tensor) -> OutputCovariance:
    """The variances p (1 − p) of independent events. ``probabilities``: (n, …)."""
    p = probabilities.flatten(1)
    return OutputCovariance((p * (1 - p)).sqrt(), _all_of, p.shape[1])


def gaussian(outputs: Tensor) -> OutputCovariance:
    """The identity, for numbers (n, …) of unit variance. A mean over them in place of the sum divides all eigenvalues
    by O, which the entropy of normalised deciles does not see."""
    scale = torch.ones_like(outputs, dtype=torch.float64).flatten(1)
    return OutputCovariance(scale, _all_of, scale.shape[1])


def joined(covariances: Sequence[OutputCovariance]) -> OutputCovariance:
    """The covariance of several heads, independent of one another: their blocks along the diagonal."""
    if len(covariances) == 1:
        return covariances[0]
    sizes = [c.scale.shape[1] for c in covariances]

    def project(vectors: Tensor) -> Tensor:
        parts = torch.split(vectors, sizes, dim=1)
        return torch.cat([c.project(part) for c, part in zip(covariances, parts, strict=True)], dim=1)

    return OutputCovariance(torch.cat([c.scale for c in covariances], dim=1), project, sum(c.rank for c in covariances))


def _all_of(vectors: Tensor) -> Tensor:
    return vectors


def cotangents(covariance: OutputCovariance, noise: Tensor) -> Tensor:
    """Vectors v_1 … v_M with E Σ_m v_m v_mᵀ = Λ; exactly, without the mean, if M = d.

    Args:
        covariance: Λ of n samples.
        noise: standard normal, (n, O, M), float64.

    Returns:
        (M, n, O), float64.
    """
    q, _ = torch.linalg.qr(covariance.project(noise))  # (n, O, M)
    v: Tensor = covariance.scale[:, :, None] * q * math.sqrt(covariance.rank / noise.shape[2])
    return v.permute(2, 0, 1)


def covariance_of(
    outputs: Tensor | Sequence[Tensor], likelihood: Likelihood | Sequence[Likelihood], *, smoothing: float = 0.0
) -> OutputCovariance:
    """Λ of a network's outputs, in float64 on the CPU (not all accelerators have float64).

    Args:
        outputs: (n, C), (n, C, …) or, but for categorical ones, (n, …); several in a sequence.
        likelihood: of the outputs, one for each if there are several.
        smoothing: s in p = (1 − s) softmax(z) + s/C and p = (1 − s) sigmoid(z) + s/2.

    Raises:
        ScoreError: the outputs are not such, or have a single class.
    """
    return joined([_of_head(z, kind, smoothing) for z, kind in _heads(outputs, likelihood)])


def _heads(
    outputs: Tensor | Sequence[Tensor], likelihood: Likelihood | Sequence[Likelihood]
) -> list[tuple[Tensor, Likelihood]]:
    if isinstance(likelihood, str):
        if not isinstance(outputs, Tensor):
            raise ScoreError(
                f"network: must return one tensor, but returns a {type(outputs).__name__}. Let forward return the one "
                "that counts, or score it with output=… (--output …)"
            )
        return [(outputs, likelihood)]
    return list(zip(outputs, likelihood, strict=True))


def _of_head(z: Tensor, likelihood: Likelihood, smoothing: float) -> OutputCovariance:
    kind = resolved(likelihood, z.shape)
    if z.dim() < 2 or (kind == "categorical" and z.shape[1] < 2):
        raise ScoreError(
            f"network: must have at least 2 logits for a Fisher information of classes, but has "
            f"{z.shape[1] if z.dim() > 1 else 0} in outputs of shape {tuple(z.shape)}. For one number give "
            "likelihood='gaussian' (--likelihood gaussian), for yes or no 'bernoulli', both with outputs (N, 1)"
        )
    z = z.detach().cpu().double()
    if kind == "gaussian":
        return gaussian(z)
    if kind == "bernoulli":
        return bernoulli((1 - smoothing) * z.sigmoid() + smoothing / 2)
    return categorical((1 - smoothing) * z.softmax(dim=1) + smoothing / z.shape[1])


def resolved(likelihood: Likelihood, shape: Sequence[int]) -> Literal["categorical", "gaussian", "bernoulli"]:
    """The likelihood of outputs of ``shape``, (n, …).

    (n, C) and (n, C, H, W) are logits of C classes, at every position. (n, A, B) may be (n, C, L) or (n, L, C), so it
    must be said.

    Raises:
        ScoreError: the shape does not tell.
    """
    if likelihood != "auto":
        return likelihood
    if len(shape) == 3:
        raise ScoreError(
            f"network: outputs of shape (N, {shape[1]}, {shape[2]}) must come with a likelihood, for their shape does "
            "not tell which axis holds the classes. Give likelihood='categorical' (--likelihood categorical) for "
            "(N, C, L), class_axis=-1 (--class-axis -1) for (N, L, C), or 'gaussian' or 'bernoulli'; a search space "
            "has a property likelihood"
        )
    return "categorical"


def likelihood_of(space: object) -> Likelihood:
    """What the outputs of a space's networks stand for: ``auto`` where the space does not say."""
    if not isinstance(space, HasLikelihood):
        return "auto"
    if space.likelihood not in get_args(Likelihood):
        raise SpaceError(
            f"{type(space).__name__}.likelihood: must be one of {', '.join(get_args(Likelihood))}, but is "
            f"{space.likelihood!r}"
        )
    return space.likelihood
