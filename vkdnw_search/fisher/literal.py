"""Derivatives by definition: slow, and right for any network. What the taps leave is computed so."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn

from vkdnw_search.fisher.inputs import Inputs
from vkdnw_search.fisher.passes import logits_of
from vkdnw_search.fisher.recomputation import derivatives_by_backward
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
        logits, _ = _literal_logits(model, inputs[n : n + 1], chosen, taps)
        for m, v in enumerate(vectors[:, n : n + 1]):
            rows[:, m, n] = _derivatives(along(logits, v), chosen)
    return rows


def literal_sum(model: nn.Module, inputs: Inputs, chosen: Sequence[Scalars], vectors: Tensor, taps: Taps) -> Tensor:
    """Σ_n v_nᵀ ∂z_n/∂θ of all samples in one pass: (D, K') for ``vectors`` (n, O), otherwise as literal_rows."""
    logits, _ = _literal_logits(model, inputs, chosen, taps)
    return _derivatives(along(logits, vectors), chosen)


def rows_by_backward(
    model: nn.Module,
    inputs: Inputs,
    chosen: Sequence[Scalars],
    vectors: Tensor,
    taps: Taps,
    functions: Sequence[str],
) -> Tensor:
    """The same as literal_rows of a network that computes again in its backward pass by the ``functions`` named.

    Each sample stands in a batch with itself: of a batch of one, half of the channels is a view of all of them, and a
    reversible block that frees its halves would free its input.
    """
    rows = vectors.new_zeros(len(chosen[0].indices), *vectors.shape[:2], len(chosen))
    for n, m in product(range(len(inputs)), range(len(vectors))):
        logits, plain = _literal_logits(model, inputs[[n, n]], chosen, taps)
        gradients = derivatives_by_backward(model, along(logits[0], vectors[m, n]), plain, chosen, functions)
        rows[:, m, n] = _picked(gradients, chosen, rows)
    return rows


@torch.enable_grad()
def along(logits: Tensor, v: Tensor) -> Tensor:
    """A scalar whose gradient by the logits is ``v``: where that is given apart, PyTorch imports sympy, which takes
    80 MB and, in each worker, seconds."""
    return (logits * v).sum()


@torch.enable_grad()
def _literal_logits(model: nn.Module, inputs: Inputs, chosen: Sequence[Scalars], taps: Taps) -> tuple[Tensor, Taps]:
    """The logits with chosen weights in their graph, and the mode under which they were computed."""
    ids = {id(scalars.parameter) for scalars in chosen}
    plain = Taps((), RULES, samples=len(inputs), calibrate=taps.calibrate, statistics=taps.statistics, literal=ids)
    return logits_of(model, inputs, plain), plain


def _derivatives(value: Tensor, chosen: Sequence[Scalars]) -> Tensor:
    """∂value/∂θ of each chosen scalar, (D, K'); 0 where it is not used."""
    if not value.requires_grad:
        return value.new_zeros(len(chosen[0].indices), len(chosen))
    parameters = [scalars.parameter for scalars in chosen]
    return _picked(torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True), chosen, value)


def _picked(gradients: Sequence[Tensor | None], chosen: Sequence[Scalars], like: Tensor) -> Tensor:
    """The chosen elements of the gradients of K' tensors, (D, K')."""
    derivatives = like.new_zeros(len(chosen[0].indices), len(chosen))
    for k, (gradient, scalars) in enumerate(zip(gradients, chosen, strict=True)):
        if gradient is not None:
            derivatives[:, k] = torch.stack([gradient[index] for index in scalars.indices])
    return derivatives
