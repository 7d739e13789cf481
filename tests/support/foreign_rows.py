"""Fisher rows of a network that others wrote against a literal Jacobian, and what scoring may not change in one."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tests.support.oracles import calibrate_in_order, jacobian
from vkdnw_search.fisher.information import FisherPass, choose_scalars
from vkdnw_search.fisher.likelihood import categorical, cotangents

TOLERANCE = 1e-6
"""Relative difference in Frobenius norm; in float64 correct rows differ by less than 1e-9."""


class Comparison(NamedTuple):
    """Of rows with literal ones: the largest relative difference of a draw, and the tensors that a check mended."""

    difference: float
    mended: tuple[str, ...]


def compared(model: nn.Module, images: Tensor, *, tensors: int, draws: int, calibrate: bool) -> Comparison:
    """The rows of ``tensors`` of a float64 ``model``, spread over it, against one backward pass a sample and class.

    Calibrating changes its running statistics. A batch norm that is used twice would have those of its last use.
    """
    chosen = choose_scalars(
        model,
        parameters=tensors,
        draws=draws,
        positions="random",
        selection="spread",
        generator=torch.Generator().manual_seed(2),
    )
    found = FisherPass(calibrate=calibrate, check=True).checked_rows(
        model, images, chosen, generator=torch.Generator().manual_seed(3)
    )
    if calibrate:
        calibrate_in_order(model, images)
    literal = literal_rows(model, images, [[(s.name, s.indices[draw]) for s in chosen] for draw in range(draws)])
    assert literal.norm() > 0
    off = [(ours - theirs).norm() / theirs.norm() for ours, theirs in zip(found.rows, literal, strict=True)]
    return Comparison(float(max(off)), found.wrong)


def literal_rows(model: nn.Module, images: Tensor, chosen: list[list[tuple[str, tuple[int, ...]]]]) -> Tensor:
    """v_mnᵀ J_n for the directions that generator 3 gives, by one backward pass for each sample and class: (D, M·N, K).

    F = Σ rowsᵀ rows / N has to be its definition as well, which knows no directions.
    """
    with torch.no_grad():
        p = model(images).softmax(dim=1)  # (N, C)
    classes = p.shape[1]
    noise = torch.randn(*p.shape, classes - 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    v = cotangents(categorical(p), noise)  # (M, N, C)
    flat = [scalar for draw in chosen for scalar in draw]
    J = jacobian(model, images, flat).unflatten(2, (len(chosen), -1))  # (N, C, D, K)
    rows = torch.einsum("mnc,ncdk->dmnk", v, J).flatten(1, 2)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]  # (N, C, C)
    fisher = torch.einsum("nadk,nab,nbdl->dkl", J, middle, J)
    assert (rows.mT @ rows - fisher).norm() <= 1e-9 * fisher.norm()
    return rows


def state_of(model: nn.Module) -> list[Any]:
    """What a score must leave as it is, to be compared by :func:`same_state`: tensors copied, all else by identity."""
    tensors = [(name, tensor.clone()) for name, tensor in [*model.named_parameters(), *model.named_buffers()]]
    modules = [(name, module.training, sorted(vars(module))) for name, module in model.named_modules()]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    grads = [(p.requires_grad, None if p.grad is None else p.grad.clone()) for p in model.parameters()]
    return [tensors, modules, hooks, grads, torch.get_rng_state()]


def same_state(before: Any, after: Any) -> bool:
    """Whether two states are equal, NaN with NaN."""
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return before.shape == after.shape and torch.allclose(before, after, rtol=0, atol=0, equal_nan=True)
    if isinstance(before, list | tuple) and type(before) is type(after):
        return len(before) == len(after) and all(map(same_state, before, after))
    return bool(before == after)
