"""Where the fast derivatives may be wrong, and whether they are: such weights are differentiated literally."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vkdnw_search.errors import ScoreError
from vkdnw_search.fisher.inputs import Inputs
from vkdnw_search.fisher.literal import literal_rows, literal_sum
from vkdnw_search.fisher.module_state import keeps_tensors
from vkdnw_search.fisher.passes import logits_of
from vkdnw_search.fisher.rules import RULES
from vkdnw_search.fisher.taps import Scalars, Taps

TOLERANCE = 1e-3
"""Relative difference of two ways to sum in float32 that is still the same derivative (seen: up to 3e-6)."""
ZERO = 1e-9
"""Absolute difference that is nothing, for derivatives that vanish."""
ROUNDING = 8
"""Multiples of the machine's precision, relative to the largest derivatives, that are rounding: an attention's key
bias has a derivative of exactly zero, and what is computed of it is rounding alone."""
SEED = 0
"""The sums of a check are random, but the same every time."""


def differing(
    model: nn.Module, inputs: Inputs, chosen: Sequence[Scalars], vectors: Tensor, rows: Tensor, taps: Taps
) -> list[Scalars]:
    """The tensors whose fast derivatives differ from literal ones for some sample.

    Two comparisons: the first sample by itself, and a sum of all rows, weighted by random numbers, with the gradient of
    the same sum of logits, which is one backward pass. A wrong row cannot hide in such a sum but by chance
    (Freivalds 1979).

    Args:
        model: (n, …) → outputs (n, O).
        inputs: of n samples.
        chosen: K tensors with D scalars each.
        vectors: (M, n, O).
        rows: the fast derivatives, (D, M, n, K).
        taps: of the pass that gave them.
    """
    alone = literal_rows(model, inputs[:1], chosen, vectors[:1, :1], taps)[:, 0, 0]  # (D, K)
    wrong = _differ(rows[:, :1, :1], alone, torch.ones(1, 1))
    weights = torch.randn(*vectors.shape[:2], generator=torch.Generator().manual_seed(SEED)).to(vectors)  # (M, n)
    together = literal_sum(model, inputs, chosen, torch.einsum("mn,mno->no", weights, vectors), taps)  # (D, K)
    wrong |= _differ(rows, together, weights)
    return [scalars for scalars, off in zip(chosen, wrong, strict=True) if off]


def _differ(rows: Tensor, literal: Tensor, weights: Tensor) -> Tensor:
    """Whether Σ_mn weights · rows is not ``literal`` (D, K), for each tensor: (K,)."""
    rounding = ROUNDING * torch.finfo(rows.dtype).eps
    rows, literal, weights = (tensor.cpu().double() for tensor in (rows, literal, weights))
    ours = torch.einsum("mn,dmnk->dk", weights, rows)
    size = torch.einsum("mn,dmnk->dk", weights.square(), rows.square()).sqrt()  # what a random sum is about
    size = torch.maximum(size.norm(dim=0), literal.norm(dim=0))  # (K,)
    wrong: Tensor = (ours - literal).norm(dim=0) > TOLERANCE * size + torch.clamp(rounding * size.max(), min=ZERO)
    return wrong


@torch.no_grad()
def without_samples_first(model: nn.Module, inputs: Inputs, chosen: Sequence[Scalars], taps: Taps) -> list[Tensor]:
    """Of the doubtful parameters those of layers whose first axis does not hold the samples.

    A pass of one sample tells: the axis must have the length 1 there.
    """
    if not taps.doubtful:
        return []
    one = Taps(chosen, RULES, samples=1, calibrate=taps.calibrate, statistics=taps.statistics)
    logits_of(model, inputs[:1], one)
    parameters = (s.parameter for s in chosen if id(s.parameter) in taps.doubtful)
    return [p for p in parameters if one.lengths.get(id(p)) != [1] * len(taps.lengths[id(p)])]


def must_use_its_weights(model: nn.Module, unused: Sequence[Scalars]) -> None:
    """A parameter that a pass does not use is unused, or the network keeps what it computed from it earlier.

    Raises:
        ScoreError: a module has an unused parameter, and keeps a tensor that is neither parameter nor buffer.
    """
    ids = {id(scalars.parameter) for scalars in unused}
    for name, module in model.named_modules() if ids else ():
        own = [key for key, parameter in module.named_parameters(recurse=False) if id(parameter) in ids]
        if own and (kept := keeps_tensors(module)):
            raise ScoreError(
                f"{name or type(model).__name__}: must compute what it needs from its weights in every pass, but does "
                f"not use {', '.join(own)} and keeps a tensor in {', '.join(kept)}, which may have been computed from "
                "it. Empty what is kept (many networks do in train()); if it does not depend on weights, make it a "
                "buffer (register_buffer)"
            )
