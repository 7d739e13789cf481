"""The Fisher information of a network's weights at initialization, and its spectrum.

For logits z = f(x; θ) ∈ R^C, p = softmax(z) and inputs x_1 … x_N,

    F(θ) = 1/N Σ_n J_nᵀ (diag(p_n) − p_n p_nᵀ) J_n ,   J_n = ∂z_n/∂θ ∈ R^{C×K}

(VKDNW, arXiv 2502.04975, section 3; Amari 1998) for K chosen weights θ. Since
diag(p) − p pᵀ = diag(√p) (I − √p √pᵀ) diag(√p), and the matrix in the middle is the projector onto the complement of
√p, any orthonormal basis q_1 … q_{C−1} of that complement gives F exactly from C − 1 backward passes with
v_m = √p ∘ q_m; M < C − 1 random orthonormal directions, scaled by √((C − 1)/M), give an unbiased estimate.
The rows v_mᵀ J_n are a factor R of F (F = RᵀR/N), and F's eigenvalues are R's squared singular values.
Other outputs differ in the matrix in the middle alone: :mod:`vkdnw_search.fisher.likelihood`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from vkdnw_search.contracts import Likelihood
from vkdnw_search.errors import DegenerateNetwork, ScoreError
from vkdnw_search.fisher.doubts import differing, must_use_its_weights, without_samples_first
from vkdnw_search.fisher.inputs import Inputs, inputs_of
from vkdnw_search.fisher.likelihood import OutputCovariance, cotangents, covariance_of
from vkdnw_search.fisher.literal import along, literal_rows, rows_by_backward
from vkdnw_search.fisher.passes import OverMemory, flat, outputs_of, statistics_of
from vkdnw_search.fisher.recomputation import recomputing
from vkdnw_search.fisher.rules import RULES
from vkdnw_search.fisher.taps import Scalars, Statistics, Taps

MOST_NOISE = 2**32
"""Bytes that the random numbers of directions may take: for exact matrices they grow with the square of the outputs."""

Positions = Literal["aligned", "first", "random"]
Selection = Literal["first", "last", "spread"]


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


class Rows(NamedTuple):
    """Derivatives, and the names of the tensors whose fast ones a check found wrong."""

    rows: Tensor
    wrong: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FisherPass:
    """How the rows of a Fisher factor are computed.

    Attributes:
        directions: M; None, or anything from d on (C − 1 for logits of C classes), is exact.
        calibrate: batch norm uses the batch's statistics, held constant, instead of its running ones.
        smoothing: s in p = (1 − s) softmax(z) + s/C (published: 0.05; theory: 0).
        likelihood: what the outputs stand for, one for each if the network returns several in a tuple.
        memory: bytes that the graph of one pass may keep; the batch is split until it fits. None: no limit.
        check: compare the derivatives with literal ones, for every sample, and where they differ compute all of that
            tensor's literally.
    """

    directions: int | None = None
    calibrate: bool = True
    smoothing: float = 0.0
    likelihood: Likelihood | tuple[Likelihood, ...] = "auto"
    memory: int | None = None
    check: bool = False

    def rows(
        self, model: nn.Module, inputs: Tensor | Inputs, chosen: Sequence[Scalars], *, generator: torch.Generator
    ) -> Tensor:
        """The factor R of the Fisher matrix, F = RᵀR / N, for each draw of scalars.

        Args:
            model: in evaluation mode; (N, …) → logits (N, C), or other outputs that suit the likelihood, each sample
                by itself once batch norm is constant.
            inputs: (N, …), or the arguments of a call for N samples.
            chosen: K parameter tensors with D chosen scalars each.
            generator: on the CPU, for the directions.

        Returns:
            (D, M·N, K), float64, on the CPU (not all accelerators have float64).

        Raises:
            DegenerateNetwork: no chosen weight reaches the logits, or the logits are not finite.
            ScoreError: the network keeps from pass to pass what it computed from its weights.
        """
        return self.checked_rows(model, inputs, chosen, generator=generator).rows

    def checked_rows(
        self, model: nn.Module, inputs: Tensor | Inputs, chosen: Sequence[Scalars], *, generator: torch.Generator
    ) -> Rows:
        """The same, with the names of the tensors whose derivatives ``check`` found wrong, and mended."""
        inputs, state = inputs_of(inputs), generator.get_state()
        try:
            if inputs.has_images:
                try:  # convolutions, normalisations and pooling are up to four times faster with channels last
                    last = inputs.contiguous(channels_last=True)
                    return self._in_chunks(model, last, chosen, generator)
                except RuntimeError as error:
                    if "view size is not compatible" not in str(error):
                        raise
                    generator.set_state(state)
            return self._in_chunks(model, inputs.contiguous(), chosen, generator)
        except RuntimeError as error:
            if "backward through the graph a second time" not in str(error):
                raise
            raise ScoreError(
                f"{type(model).__name__}: must compute what it needs from its weights in every pass, but keeps in "
                "evaluation mode what an earlier pass computed, such as attention biases. Empty it in forward, or keep "
                "it in an attribute, list or dict of its module, which is put back after every pass"
            ) from error

    def _in_chunks(
        self, model: nn.Module, inputs: Inputs, chosen: Sequence[Scalars], generator: torch.Generator
    ) -> Rows:
        """Halve the pieces of the batch until the graph of each fits the memory."""
        size, statistics = len(inputs), None
        noise: list[Tensor] = []
        while True:
            try:
                pieces = [
                    self._piece(model, inputs, chosen, slice(at, at + size), statistics, noise, generator)
                    for at in range(0, len(inputs), size)
                ]
                rows = torch.cat([piece.rows for piece in pieces], dim=2).flatten(1, 2).cpu().double()
                return Rows(rows, tuple(dict.fromkeys(chain.from_iterable(piece.wrong for piece in pieces))))
            except OverMemory:
                if size == 1:
                    raise ScoreError(
                        f"score.memory: must hold the graph of at least one image, but is {self.memory} bytes. "
                        "Raise it, or lower the resolution."
                    ) from None
                size = -(-size // 2)
                if statistics is None:
                    statistics = statistics_of(model, inputs, calibrate=self.calibrate)

    def _piece(
        self,
        model: nn.Module,
        inputs: Inputs,
        chosen: Sequence[Scalars],
        part: slice,
        statistics: Sequence[Statistics] | None,
        noise: list[Tensor],
        generator: torch.Generator,
    ) -> Rows:
        """Derivatives (D, M, n, K) of the samples in ``part``."""
        taps = Taps(chosen, RULES, samples=len(inputs[part]), calibrate=self.calibrate, statistics=statistics)
        with torch.enable_grad():
            outputs = outputs_of(model, inputs[part], taps, memory=self.memory)
            logits = flat(outputs)  # (n, O)
        if not bool(logits.isfinite().all()):
            raise DegenerateNetwork("the logits are not finite")
        covariance = covariance_of(outputs, self.likelihood, smoothing=self.smoothing)
        if not noise:
            noise.append(self._noise(covariance, len(inputs), generator))
        vectors = cotangents(covariance, noise[0][part]).to(logits)  # (M, n, O)
        if not logits.requires_grad:
            raise DegenerateNetwork("no chosen weight reaches the logits")
        if functions := recomputing(logits, taps):
            return Rows(rows_by_backward(model, inputs[part], chosen, vectors, taps, functions), ())
        rows = _tapped(model, taps, logits, vectors, chosen)  # (D, M, n, K)
        taps.untapped(*without_samples_first(model, inputs[part], chosen, taps))
        wrong = differing(model, inputs[part], chosen, vectors, rows, taps) if self.check else []
        names = tuple(scalars.name for scalars in wrong if id(scalars.parameter) not in taps.literal)
        taps.untapped(*(scalars.parameter for scalars in wrong))
        columns = [place for place, scalars in enumerate(chosen) if id(scalars.parameter) in taps.literal]
        if columns:
            literal = [chosen[place] for place in columns]
            rows[..., columns] = literal_rows(model, inputs[part], literal, vectors, taps)
        return Rows(rows, names)

    def _noise(self, covariance: OutputCovariance, samples: int, generator: torch.Generator) -> Tensor:
        """Standard normal numbers for the directions of all samples, (N, O, M)."""
        rank, numbers = covariance.rank, covariance.scale.shape[1]
        m = rank if self.directions is None else min(self.directions, rank)
        if 8 * samples * numbers * m > MOST_NOISE:
            raise ScoreError(
                f"score: {m} directions for {samples} inputs with {numbers} outputs each must fit into "
                f"{MOST_NOISE / 2**30:.0f} GiB, but take {8 * samples * numbers * m / 2**30:.0f}. Lower directions "
                f"('all' are {rank} here) or images"
            )
        return torch.randn(samples, numbers, m, dtype=torch.float64, generator=generator)


def _tapped(model: nn.Module, taps: Taps, logits: Tensor, vectors: Tensor, chosen: Sequence[Scalars]) -> Tensor:
    """One backward pass a direction; the taps fill in what each chosen weight contributes.

    It goes down to whatever the logits depend on: anchors, and weights that no rule has taken out of the graph. Among
    them are chosen ones that were used where no tap could see it, such as in an ``autograd.Function``.
    """
    nothing = logits.new_zeros(len(logits), len(chosen[0].indices))  # (n, D)
    weights = list(trainable(model).values())
    rows, reached = [], set[int]()
    for m, v in enumerate(vectors):
        last = m + 1 == len(vectors)
        ends = [*taps.anchors, *weights]
        gradients = torch.autograd.grad(along(logits, v), ends, retain_graph=not last, allow_unused=True)
        reached |= {id(end) for end, gradient in zip(ends, gradients, strict=True) if gradient is not None}
        rows.append(torch.stack([nothing if d is None else d for d in taps.collect()]))  # (K, n, D)
    taps.untapped(*(scalars.parameter for scalars in chosen if id(scalars.parameter) in reached))
    must_use_its_weights(model, [s for s in chosen if id(s.parameter) not in reached | taps.used])
    return torch.stack(rows).permute(3, 0, 2, 1)


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
