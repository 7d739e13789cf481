"""The Fisher information of a network's weights at initialization, and its spectrum.

For logits z = f(x; θ) ∈ R^C, p = softmax(z) and inputs x_1 … x_N,

    F(θ) = 1/N Σ_n J_nᵀ (diag(p_n) − p_n p_nᵀ) J_n ,   J_n = ∂z_n/∂θ ∈ R^{C×K}

(VKDNW, arXiv 2502.04975, section 3; Amari 1998) for K chosen weights θ. Since
diag(p) − p pᵀ = diag(√p) (I − √p √pᵀ) diag(√p), and the matrix in the middle is the projector onto the complement of
√p, any orthonormal basis q_1 … q_{C−1} of that complement gives F exactly from C − 1 backward passes with
v_m = √p ∘ q_m; M < C − 1 random orthonormal directions, scaled by √((C − 1)/M), give an unbiased estimate.
The rows v_mᵀ J_n are a factor R of F (F = RᵀR/N), and F's eigenvalues are R's squared singular values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vkdnw_search.errors import DegenerateNetwork, ScoreError
from vkdnw_search.fisher.rules import RULES
from vkdnw_search.fisher.taps import Scalars, Statistics, Taps

Positions = Literal["aligned", "first", "random"]
Selection = Literal["first", "last", "spread"]


CHECK_TOLERANCE = 1e-3
"""Relative difference of two ways to sum in float32 that is still the same derivative (seen: up to 3e-6)."""
CHECK_ZERO = 1e-9
"""Absolute difference that is nothing, for derivatives that vanish."""


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Named parameters that require a gradient, shared ones once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def choose_scalars(
    model: nn.Module,
    *,
    parameters: int,
    draws: int,
    positions: Positions = "aligned",
    selection: Selection = "first",
    generator: torch.Generator,
) -> list[Scalars]:
    """One scalar of each of at most ``parameters`` trainable tensors, ``draws`` times over.

    ``aligned``: draw s takes output channel s and input channel s, modulo their numbers, at the kernel's first
    position, so that along residual paths the chosen weights act on one and the same signal. ``first``: flat index 0
    (the published choice). ``random``: any.
    """
    named = list(trainable(model).items())
    count = min(parameters, len(named))
    if selection == "last":
        named = named[len(named) - count :]
    elif selection == "spread":
        named = [named[math.floor(place * len(named) / count)] for place in range(count)]
    return [
        Scalars(name, parameter, tuple(_index(parameter.shape, draw, positions, generator) for draw in range(draws)))
        for name, parameter in named[:count]
    ]


def _index(shape: Sequence[int], draw: int, positions: Positions, generator: torch.Generator) -> tuple[int, ...]:
    if positions == "first":
        return (0,) * len(shape)
    if positions == "aligned":
        return (*[draw % size for size in shape[:2]], *[0] * len(shape[2:]))
    return tuple(int(torch.randint(size, (), generator=generator)) for size in shape)


def cotangents(probabilities: Tensor, noise: Tensor) -> Tensor:
    """Vectors v_1 … v_M with E Σ_m v_m v_mᵀ = diag(p) − p pᵀ; exactly, without the mean, if M = C − 1.

    Args:
        probabilities: p, (N, C).
        noise: standard normal, (N, C, M), float64.

    Returns:
        (M, N, C), float64.
    """
    p = probabilities.double()  # (N, C)
    classes, m = noise.shape[1:]
    root = p.sqrt()[:, :, None]  # (N, C, 1)
    q, _ = torch.linalg.qr(noise - root * (root * noise).sum(dim=1, keepdim=True))  # (N, C, M)
    v: Tensor = root * q * math.sqrt((classes - 1) / m)
    return v.permute(2, 0, 1)


@dataclass(frozen=True, kw_only=True)
class FisherPass:
    """How the rows of a Fisher factor are computed.

    Attributes:
        directions: M; None, or anything from C − 1 on, is exact.
        calibrate: batch norm uses the batch's statistics, held constant, instead of its running ones.
        smoothing: s in p = (1 − s) softmax(z) + s/C (published: 0.05; theory: 0).
        memory: bytes that the graph of one pass may keep; the batch is split until it fits. None: no limit.
        check: compare the derivatives of the first sample with literal ones, and where they differ (a layer that
            does not have the samples along its first axis) compute all of that tensor's literally.
    """

    directions: int | None = None
    calibrate: bool = True
    smoothing: float = 0.0
    memory: int | None = None
    check: bool = False

    def rows(
        self, model: nn.Module, images: Tensor, chosen: Sequence[Scalars], *, generator: torch.Generator
    ) -> Tensor:
        """The factor R of the Fisher matrix, F = RᵀR / N, for each draw of scalars.

        Args:
            model: in evaluation mode; (N, …) → logits (N, C), each sample by itself once batch norm is constant.
            images: (N, …).
            chosen: K parameter tensors with D chosen scalars each.
            generator: on the CPU, for the directions.

        Returns:
            (D, M·N, K), float64, on the CPU (not all accelerators have float64).

        Raises:
            DegenerateNetwork: no chosen weight reaches the logits, or the logits are not finite.
        """
        state = generator.get_state()
        if images.dim() == 4:
            try:  # convolutions, normalisations and pooling are up to four times faster with channels last
                last = images.contiguous(memory_format=torch.channels_last)
                return self._in_chunks(model, last, chosen, generator)
            except RuntimeError as error:
                if "view size is not compatible" not in str(error):
                    raise
                generator.set_state(state)
        return self._in_chunks(model, images.contiguous(), chosen, generator)

    def _in_chunks(
        self, model: nn.Module, images: Tensor, chosen: Sequence[Scalars], generator: torch.Generator
    ) -> Tensor:
        """Halve the pieces of the batch until the graph of each fits the memory."""
        size, statistics = len(images), None
        noise: list[Tensor] = []
        while True:
            try:
                pieces = [
                    self._piece(model, images, chosen, slice(at, at + size), statistics, noise, generator)
                    for at in range(0, len(images), size)
                ]
                return torch.cat(pieces, dim=2).flatten(1, 2).cpu().double()
            except _OverMemory:
                if size == 1:
                    raise ScoreError(
                        f"score.memory: must hold the graph of at least one image, but is {self.memory} bytes. "
                        "Raise it, or lower the resolution."
                    ) from None
                size = -(-size // 2)
                if statistics is None:
                    statistics = _statistics(model, images, self.calibrate)

    def _piece(
        self,
        model: nn.Module,
        images: Tensor,
        chosen: Sequence[Scalars],
        part: slice,
        statistics: Sequence[Statistics] | None,
        noise: list[Tensor],
        generator: torch.Generator,
    ) -> Tensor:
        """Derivatives (D, M, n, K) of the samples in ``part``."""
        taps = Taps(chosen, RULES, samples=len(images[part]), calibrate=self.calibrate, statistics=statistics)
        with torch.enable_grad(), _limit(model, self.memory), taps:
            logits = model(images[part])
        if not bool(logits.isfinite().all()):
            raise DegenerateNetwork("the logits are not finite")
        classes = logits.shape[1]
        if not noise:
            if classes < 2:
                raise ScoreError(f"network: must have at least 2 logits for a Fisher information, but has {classes}")
            m = classes - 1 if self.directions is None else min(self.directions, classes - 1)
            noise.append(torch.randn(len(images), classes, m, dtype=torch.float64, generator=generator))
        p = (1 - self.smoothing) * logits.detach().cpu().double().softmax(dim=1) + self.smoothing / classes
        vectors = cotangents(p, noise[0][part]).to(logits)  # (M, n, C)
        if not logits.requires_grad:
            raise DegenerateNetwork("no chosen weight reaches the logits")
        rows = _tapped(model, taps, logits, vectors, chosen)  # (D, M, n, K)
        if self.check:
            alone = _literal(model, images[part][:1], chosen, vectors[:1, :1], taps)[:, 0, 0]  # (D, K)
            wrong = (rows[:, 0, 0] - alone).norm(dim=0) > CHECK_TOLERANCE * alone.norm(dim=0) + CHECK_ZERO
            taps.untapped(*(scalars.parameter for scalars, off in zip(chosen, wrong, strict=True) if off))
        columns = [place for place, scalars in enumerate(chosen) if id(scalars.parameter) in taps.literal]
        if columns:
            literal = [chosen[place] for place in columns]
            rows[..., columns] = _literal(model, images[part], literal, vectors, taps)
        return rows


def _tapped(model: nn.Module, taps: Taps, logits: Tensor, vectors: Tensor, chosen: Sequence[Scalars]) -> Tensor:
    """One backward pass a direction; the taps fill in what each chosen weight contributes.

    It goes down to whatever the logits depend on: anchors, and weights that no rule has taken out of the graph.
    """
    nothing = logits.new_zeros(len(logits), len(chosen[0].indices))  # (n, D)
    ends = [*taps.anchors, *trainable(model).values()]
    rows = []
    for m, v in enumerate(vectors):
        last = m + 1 == len(vectors)
        torch.autograd.grad(_along(logits, v), ends, retain_graph=not last, allow_unused=True)
        rows.append(torch.stack([nothing if d is None else d for d in taps.collect()]))  # (K, n, D)
    return torch.stack(rows).permute(3, 0, 2, 1)


@torch.enable_grad()
def _along(logits: Tensor, v: Tensor) -> Tensor:
    """A scalar whose gradient by the logits is ``v``: where that is given apart, PyTorch imports sympy, which takes
    80 MB and, in each worker, seconds."""
    return (logits * v).sum()


def _literal(model: nn.Module, images: Tensor, chosen: Sequence[Scalars], vectors: Tensor, taps: Taps) -> Tensor:
    """The derivatives by definition, sample by sample and direction by direction: (D, M, n, K')."""
    parameters = [scalars.parameter for scalars in chosen]
    ids = set(map(id, parameters))
    rows = vectors.new_zeros(len(chosen[0].indices), vectors.shape[0], len(images), len(chosen))
    for n in range(len(images)):
        alone = Taps((), RULES, samples=1, calibrate=taps.calibrate, statistics=taps.statistics, literal=ids)
        with torch.enable_grad(), alone:
            logits = model(images[n : n + 1])
        for m, v in enumerate(vectors[:, n : n + 1]):
            gradients = torch.autograd.grad(_along(logits, v), parameters, retain_graph=True, allow_unused=True)
            for k, (gradient, scalars) in enumerate(zip(gradients, chosen, strict=True)):
                if gradient is not None:
                    rows[:, m, n, k] = torch.stack([gradient[index] for index in scalars.indices])
    return rows


@torch.no_grad()
def _statistics(model: nn.Module, images: Tensor, calibrate: bool) -> list[Statistics]:
    """Batch-norm statistics over the whole batch, from a pass that keeps no graph."""
    taps = Taps((), RULES, samples=len(images), calibrate=calibrate)
    with taps:
        model(images)
    return taps.statistics


class _OverMemory(Exception):
    """The graph grew over the limit; caught in this file."""


@contextmanager
def _limit(model: nn.Module, memory: int | None) -> Iterator[None]:
    """Raise _OverMemory as soon as the graph keeps more than ``memory`` bytes besides the weights."""
    if memory is None:
        yield
        return
    known = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            known.add(storage.data_ptr())
            kept += storage.nbytes()
            if kept > memory:
                raise _OverMemory
        return tensor.detach()  # a result that its own graph kept would never be freed

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield


def spectrum(rows: Tensor, *, samples: int) -> Tensor:
    """Eigenvalues of F = RᵀR / N, by singular values of R in float64: the condition number is not squared.

    Args:
        rows: R, (D, N·M, K) with N·M ≥ K.
        samples: N.

    Returns:
        (D, K), descending.

    Raises:
        DegenerateNetwork: a derivative is not finite.
    """
    if not bool(rows.isfinite().all()):
        raise DegenerateNetwork("derivatives of the logits are not finite")
    values: Tensor = torch.linalg.svdvals(rows.double())
    return values.square() / samples
