"""VKDNW and VKDNW_single: how evenly a network's Fisher information spreads over its weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from torch import Tensor, nn

from vkdnw_search.contracts import Probe
from vkdnw_search.determinism import seed_from
from vkdnw_search.errors import DegenerateNetwork, ScoreError
from vkdnw_search.fisher.information import FisherPass, Positions, Rows, Selection, choose_scalars, spectrum, trainable
from vkdnw_search.fisher.inputs import Inputs, drawn
from vkdnw_search.fisher.taps import Scalars
from vkdnw_search.options import check_options
from vkdnw_search.proxies.initialization import Initialization, initialize
from vkdnw_search.proxies.probing import Resolution, image_shape, placed
from vkdnw_search.records import Cost, Score

Layers = Literal["tensors", "modules", "depth"]
"""What ℵ, the number of trainable layers, counts."""

Device = Literal[
    "auto", "cpu", "cuda", "mps",
    "cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:4", "cuda:5", "cuda:6", "cuda:7",
]  # fmt: skip
"""Where a network is scored."""

DECILES = tuple(k / 10 for k in range(1, 10))
"""Levels 0.1 … 0.9 (arXiv 2502.04975, section 3); adding the maximum costs 0.04 in Kendall's τ on NAS-Bench-201."""

LISTED = 3
"""Number of tensors that are named where derivatives are wrong, or zero."""


def decile_entropy(eigenvalues: Tensor) -> Tensor:
    """VKDNW(f) = − Σ_k λ̃_k ln λ̃_k, λ̃ the deciles of the spectrum divided by their sum (arXiv 2502.04975).

    Args:
        eigenvalues: (…, K), not negative.

    Returns:
        (…), in [0, ln 9]: 0 for one dominant decile, ln 9 for an even spectrum. NaN where all deciles are 0.
    """
    q = deciles(eigenvalues)  # (…, 9)
    terms: Tensor = torch.special.entr(q / q.sum(dim=-1, keepdim=True))
    return terms.sum(dim=-1)


def deciles(eigenvalues: Tensor) -> Tensor:
    """The deciles of eigenvalues, (…, K) → (…, 9), linearly interpolated."""
    levels = torch.tensor(DECILES, dtype=eigenvalues.dtype, device=eigenvalues.device)
    return torch.quantile(eigenvalues, levels, dim=-1).movedim(0, -1)


@dataclass(frozen=True, kw_only=True)
class VkdnwSingle:
    """ℵ + entropy of the deciles of the Fisher spectrum (VKDNW_single, arXiv 2502.04975). Higher is better.

    ℵ is the number of trainable layers, as ``layers`` counts them. Parameter tensors are what the released code
    counts; in networks of one depth that is a count of projection shortcuts, and ``depth`` leaves them to the entropy.
    Labels and data are not needed: inputs are N(0, I). The published estimator
    is ``batch_norm: initial, positions: first, draws: 1, directions: all, parameters: 128, smoothing: 0.05``, but for
    its transposed Cholesky factor: this is the Fisher information of the theory.
    """

    images: Annotated[int, Interval(ge=1, le=4096), "images in the random batch"] = 64
    resolution: Resolution = None
    parameters: Annotated[int, Interval(ge=2, le=65536), "trainable tensors a scalar is taken of, at most"] = 128
    selection: Annotated[Selection, "which tensors, where there are more"] = "first"
    directions: Annotated[
        int | Literal["all"], Interval(ge=1, le=100_000), "random directions in class space; all: exact"
    ] = 2
    draws: Annotated[int, Interval(ge=1, le=1024), "choices of the scalars, averaged"] = 8
    positions: Annotated[Positions, "which scalar of each tensor"] = "aligned"
    batch_norm: Annotated[Literal["calibrated", "initial"], "statistics of the batch, or mean 0 and variance 1"] = (
        "calibrated"
    )
    smoothing: Annotated[float, Interval(ge=0, lt=1), "share of the uniform distribution mixed into softmax"] = 0.0
    layers: Annotated[
        Layers, "what ℵ counts: parameter tensors, modules that own any, or the depth, as limits.layers has it"
    ] = "tensors"
    initializations: Annotated[int, Interval(ge=1, le=1024), "random initializations, averaged"] = 1
    initialization: Annotated[Initialization, "how weights are drawn"] = "kaiming_normal"
    memory: Annotated[int | None, Interval(ge=1, le=2**50), "bytes one pass may keep; the batch is split to fit"] = None
    check: Annotated[
        bool, "compare fast derivatives with literal ones in every network, not in the first of a run alone"
    ] = False
    device: Annotated[Device, "auto: CUDA or MPS where there is one; cuda:1 is the second GPU"] = "auto"

    def __post_init__(self) -> None:
        check_options(self, ScoreError)

    @property
    def draws_weights(self) -> bool:
        """Whether convolutions and linear layers need no weights before they are scored."""
        return self.initialization == "kaiming_normal"

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """Score ``model``, with ``trainable_layers``, ``entropy`` and the deciles ``decile_1`` … ``decile_9`` as terms.

        The standard error is that of the mean over initializations, or with one initialization over draws.

        Raises:
            ScoreError: images × directions < parameters: deciles would be exactly zero.
            DegenerateNetwork: the spectrum is zero or not finite.
        """
        model = placed(model, probe.device)
        model.eval()
        spectra = torch.stack([self._spectrum(model, probe, i) for i in range(self.initializations)])  # (I, D, K)
        entropies = decile_entropy(spectra)  # (I, D)
        independent = entropies.mean(dim=1) if self.initializations > 1 else entropies[0]
        error = float(independent.std() / math.sqrt(len(independent))) if len(independent) > 1 else math.nan
        layers, entropy = count_layers(model, self.layers, cost=probe.cost), float(entropies.mean())
        levels = {f"decile_{k}": float(q) for k, q in enumerate(deciles(spectra).mean(dim=(0, 1)), start=1)}
        return Score(layers + entropy, error, {"trainable_layers": layers, "entropy": entropy, **levels})

    def upper_bound(self, cost: Cost) -> float:
        """The bound ℵ + ln 9: the entropy of nine numbers is at most ln 9."""
        layers = {"tensors": cost.tensors, "modules": cost.modules, "depth": cost.layers}[self.layers]
        return layers + math.log(len(DECILES))

    def check_fast_way(self, model: nn.Module, probe: Probe) -> str:
        """The tensors whose fast derivatives are not the literal ones for some image, in words; empty without any.

        In float64, on the CPU: some networks magnify the rounding of float32 a million times, and what differs by
        rounding alone is not wrong. A network that cannot compute in float64 is compared in its own precision.
        """
        if self.check:
            return ""  # every network is checked
        dtype = next((p.dtype for p in model.parameters()), torch.float32)
        model.eval()
        try:
            rows, _ = self._rows(model.cpu().double(), replace(probe, device=torch.device("cpu")), 0, check=True)
        except RuntimeError:
            rows, _ = self._rows(placed(model.to(dtype), probe.device), probe, 0, check=True)
        return f"the fast derivatives of {_listed(rows.wrong)} differ from literal ones" if rows.wrong else ""

    def careful(self) -> VkdnwSingle:
        """The same score with the derivatives of every network checked; those that are wrong are computed literally."""
        return replace(self, check=True)

    def require(self, num_classes: int, cost: Callable[[], Cost | None]) -> None:
        """Raise a ScoreError if a candidate has more tensors, up to ``parameters``, than images × directions."""
        too_few = self.images * self._directions(num_classes) < self.parameters
        if too_few and (candidate := cost()) is not None:
            self._must_have_rows(min(self.parameters, candidate.tensors), self._directions(num_classes))

    def _spectrum(self, model: nn.Module, probe: Probe, number: int) -> Tensor:
        """Eigenvalues (D, K) for one initialization."""
        (rows, _), chosen = self._rows(model, probe, number, check=self.check)
        values = spectrum(rows, samples=self.images)
        moving = (rows != 0).any(dim=1)  # (D, K)
        true = torch.arange(len(chosen)) < moving.sum(dim=1, keepdim=True)  # the others are zero, but for rounding
        if not bool(decile_entropy(values * true).isfinite().all()):
            more = _without_influence(moving, chosen) if self.check else ""  # the doctor of a search counts reasons
            raise DegenerateNetwork(f"the deciles of the Fisher spectrum are all zero, or not finite{more}")
        return values

    def _rows(self, model: nn.Module, probe: Probe, number: int, *, check: bool) -> tuple[Rows, list[Scalars]]:
        """The Fisher factor (D, M·N, K) for one initialization, and the K chosen weights."""
        initialize(model, seed=seed_from(probe.seed, "weights", number), scheme=self.initialization)
        generator = torch.Generator().manual_seed(seed_from(probe.seed, "probe", number))
        inputs = self._inputs(model, probe, generator)
        chosen = choose_scalars(
            model,
            parameters=self.parameters,
            draws=self.draws,
            positions=self.positions,
            selection=self.selection,
            generator=generator,
        )
        if not chosen:
            raise DegenerateNetwork("there are no trainable parameters")
        fisher = FisherPass(
            directions=None if self.directions == "all" else self.directions,
            calibrate=self.batch_norm == "calibrated",
            smoothing=self.smoothing,
            likelihood=probe.likelihood,
            memory=self.memory,
            check=check,
        )
        found = fisher.checked_rows(model, inputs, chosen, generator=generator)
        self._must_have_rows(len(chosen), found.rows.shape[1] // self.images)
        return found, chosen

    def _inputs(self, model: nn.Module, probe: Probe, generator: torch.Generator) -> Tensor | Inputs:
        """Inputs ~ N(0, I), or those that the probe brings."""
        dtype = next((p.dtype for p in model.parameters()), torch.float32)
        if probe.inputs is not None:
            return drawn(probe.inputs, self.images, generator=generator, dtype=dtype, device=probe.device)
        shape = image_shape(probe.input_shape, self.resolution)
        return torch.randn(self.images, *shape, generator=generator, dtype=dtype).to(probe.device)

    def _directions(self, classes: int) -> int:
        """The number of directions used: the softmax leaves C − 1 at most."""
        return classes - 1 if self.directions == "all" else min(self.directions, classes - 1)

    def _must_have_rows(self, parameters: int, directions: int) -> None:
        """Require at least as many rows as weights; else the lower eigenvalues are zero whatever the network."""
        if self.images * directions < parameters:
            fewer = self.directions == "all" or directions < self.directions
            least = f" (the outputs leave {directions} at most)" if fewer else ""
            raise ScoreError(
                f"score: images × directions must be at least the number of parameters ({parameters} here), but is "
                f"{self.images} × {directions} = {self.images * directions}{least}. Raise images or directions, or "
                "lower parameters."
            )


def _without_influence(moving: Tensor, chosen: Sequence[Scalars]) -> str:
    """Which of the ``chosen`` weights move no logit (moving: (D, K)), in words; empty without any."""
    silent = [scalars.name for scalars, moves in zip(chosen, moving.any(dim=0).tolist(), strict=True) if not moves]
    if not silent:
        return ""
    return (
        f": {len(silent)} of {len(chosen)} chosen weights change no logit ({_listed(silent)}). A network that selects "
        "channels by an index, as pruned ones do, must have its index set; a scale of zero must be drawn anew"
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def count_layers(model: nn.Module, what: Layers, *, cost: Cost | None = None) -> int:
    """ℵ of ``model``.

    Args:
        model: the network.
        what: ``tensors``: trainable parameter tensors (as the published code counts); ``modules``: modules that own at
            least one; ``depth``: the depth of the search space, or without a cost the modules that own a trainable
            weight of two or more axes, as networks of a space without a depth of its own are counted.
        cost: what the network costs, where it has been counted.
    """
    if what == "tensors":
        return len(trainable(model))
    if what == "depth" and cost is not None:
        return cost.layers
    axes = 2 if what == "depth" else 0
    owned = ([p for p in module.parameters(recurse=False) if p.requires_grad] for module in model.modules())
    return sum(any(p.dim() >= axes for p in parameters) for parameters in owned)
