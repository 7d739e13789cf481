"""Slow and obvious versions of what the project computes cleverly; independent of its code."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def calibrate_in_order(model: nn.Module, images: Tensor) -> None:
    """Set each batch norm's running statistics to those of its own input, in the order of the forward pass."""

    def before(module: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().transpose(0, 1).flatten(1)  # (C, …)
        module.running_mean = x.mean(dim=1)
        module.running_var = (x - x.mean(dim=1, keepdim=True)).square().mean(dim=1)

    handles = [m.register_forward_pre_hook(before) for m in model.modules() if isinstance(m, _BatchNorm)]
    with torch.no_grad():
        model.eval()(images)
    for handle in handles:
        handle.remove()


def jacobian(model: nn.Module, images: Tensor, chosen: list[tuple[str, tuple[int, ...]]]) -> Tensor:
    """∂z_c/∂θ_k by one backward pass for each sample and class: (N, C, K).

    Each sample stands in a batch with itself: PyTorch's derivative of a batch norm in evaluation mode is wrong for
    batches of one whose gradient has another layout in memory than the input (2.13, CPU).
    """
    parameters = dict(model.named_parameters())
    samples = []
    for image in images:
        logits = model(torch.stack([image, image]))[0]
        rows = []
        for logit in logits:
            gradients = torch.autograd.grad(
                logit, [parameters[name] for name, _ in chosen], retain_graph=True, allow_unused=True
            )
            rows.append(
                torch.stack(
                    [
                        logit.new_zeros(()) if g is None else g[index]
                        for g, (_, index) in zip(gradients, chosen, strict=True)
                    ]
                )
            )
        samples.append(torch.stack(rows))
    return torch.stack(samples)


def fisher_matrix(
    model: nn.Module, images: Tensor, chosen: list[tuple[str, tuple[int, ...]]], smoothing: float = 0.0
) -> Tensor:
    """1/N Σ_n J_nᵀ (diag(p_n) − p_n p_nᵀ) J_n, as it is written: (K, K)."""
    J = jacobian(model, images, chosen)
    F = 0
    for image, j in zip(images, J, strict=True):
        p = model(image[None])[0].detach().softmax(dim=0)
        p = (1 - smoothing) * p + smoothing / len(p)
        F = F + j.T @ (torch.diag(p) - torch.outer(p, p)) @ j
    return F / len(images)


def entropy_of_deciles(eigenvalues: list[float]) -> float:
    """By sorting and interpolating by hand."""
    values = sorted(eigenvalues)
    deciles = []
    for k in range(1, 10):
        place = (len(values) - 1) * k / 10
        low = math.floor(place)
        high = min(low + 1, len(values) - 1)
        deciles.append(values[low] + (place - low) * (values[high] - values[low]))
    total = sum(deciles)
    return -sum(q / total * math.log(q / total) for q in deciles if q > 0)


def literal_jacobian(model: nn.Module, images: Tensor, *, tensors: int) -> dict[str, Tensor]:
    """∂z/∂θ of every weight of the first ``tensors`` tensors, sample by sample: name → (N, C, *shape).

    The literal way, as one would write it with torch.func: ``vmap(jacrev)``.
    """
    named = dict(model.named_parameters())
    chosen = {name: named[name].detach() for name in list(named)[:tensors]}
    rest = {name: p.detach() for name, p in named.items() if name not in chosen} | dict(model.named_buffers())

    def logits(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(model, (parameters, rest), (image[None],))
        return output[0]

    jacobians: dict[str, Tensor] = torch.func.vmap(torch.func.jacrev(logits), in_dims=(None, 0))(chosen, images)
    return jacobians
