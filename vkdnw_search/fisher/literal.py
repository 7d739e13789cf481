"""Derivatives by definition: slow, and right for any network. What the taps leave is computed so."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vkdnw_search.fisher.inputs import Inputs
from vkdnw_search.fisher.passes import logits_of
from vkdnw_search.fisher.rules import RULES
from vkdnw_search.fisher.taps import Scalars, Taps


def literal_rows(model: nn.Module, inputs: Inputs, chosen: Sequence[Scalars], vectors: Tensor, taps: Taps) -> Tensor:
    """v_mnᵀ ∂z_n/∂θ, sample by sample and direction by direction.

    Args:
        model: (n, …) → outputs (n, O).
        inputs: of n samples.
        chosen: K' parameter tensors with D scalars each.
        vectors: v, (M, n, O).
        taps: of the fast pass, whose batch-norm statistics are used again.

    Returns:
        (D, M, n, K').
    """
    rows = vectors.new_zeros(len(chosen[0].indices), vectors.shape[0], len(inputs), len(chosen))
    for n in range(len(inputs)):
        logits = _literal_logits(model, inputs[n : n + 1], chosen, taps)
        for m, v in enumerate(vectors[:, n : n + 1]):
            rows[:, m, n] = _derivatives(along(logits, v), chosen)
    return rows


def literal_sum(model: nn.Module, inputs: Inputs, chosen: Sequence[Scalars], vectors: Tensor, taps: Taps) -> Tensor:
    """Σ_n v_nᵀ ∂z_n/∂θ of all samples in one pass: (D, K') for ``vectors`` (n, O), otherwise as literal_rows."""
    return _derivatives(along(_literal_logits(model, inputs, chosen, taps), vectors), chosen)


@torch.enable_grad()
def along(logits: Tensor, v: Tensor) -> Tensor:
    """A scalar whose gradient by the logits is ``v``: where that is given apart, PyTorch imports sympy, which takes
    80 MB and, in each worker, seconds."""
    return (logits * v).sum()


@torch.enable_grad()
def _literal_logits(model: nn.Module, inputs: Inputs, chosen: Sequence[Scalars], taps: Taps) -> Tensor:
    ids = {id(scalars.parameter) for scalars in chosen}
    plain = Taps((), RULES, samples=len(inputs), calibrate=taps.calibrate, statistics=taps.statistics, literal=ids)
    return logits_of(model, inputs, plain)


def _derivatives(value: Tensor, chosen: Sequence[Scalars]) -> Tensor:
    """∂value/∂θ of each chosen scalar, (D, K'); 0 where it is not used."""
    derivatives = value.new_zeros(len(chosen[0].indices), len(chosen))
    if value.requires_grad:
        parameters = [scalars.parameter for scalars in chosen]
        gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        for k, (gradient, scalars) in enumerate(zip(gradients, chosen, strict=True)):
            if gradient is not None:
                derivatives[:, k] = torch.stack([gradient[index] for index in scalars.indices])
    return derivatives
