"""Small networks whose backward pass computes something again: checkpoints, reversible blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Checkpointed(nn.Module):
    """Convolution and batch norm in a checkpoint, as memory-efficient DenseNets have them.

    Args:
        reentrant: which of PyTorch's two implementations; None runs the same without a checkpoint.
    """

    def __init__(self, reentrant: bool | None, classes: int = 4) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.dense = nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1, bias=False))
        self.fc = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.dense(x) if self.reentrant is None else checkpoint(self.dense, x, use_reentrant=self.reentrant)
        return self.fc((x + y).mean(dim=(2, 3)))


class _Reversed(torch.autograd.Function):
    """y₁ = x₁ + f(x₂), y₂ = x₂ + g(y₁), of which the backward pass computes x again from y.

    ``returns``: it is given the weights and returns their derivatives, and frees the halves of its input; otherwise it
    leaves them in ``.grad``, and its result is forgotten after one backward pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, f: nn.Module, g: nn.Module, returns: bool, *weights: Tensor) -> Tensor:
        x1, x2 = (half.contiguous() for half in x.chunk(2, dim=1))
        y1 = x1 + f(x2)
        y2 = x2 + g(y1)
        if returns:
            x1.set_()
            x2.set_()
        ctx.f, ctx.g, ctx.y, ctx.returns = f, g, torch.cat([y1, y2], dim=1), returns
        return ctx.y.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        y, f, g = ctx.y, ctx.f, ctx.g
        del ctx.y
        y1, y2 = y.chunk(2, dim=1)
        x2 = y2 - g(y1)
        x1 = y1 - f(x2)
        with torch.enable_grad():
            x1, x2 = x1.detach().requires_grad_(), x2.detach().requires_grad_()
            z1 = x1 + f(x2)
            z = torch.cat([z1, x2 + g(z1)], dim=1)
        if ctx.returns:
            weights = [*f.parameters(), *g.parameters()]
            of_x1, of_x2, *of_weights = torch.autograd.grad(z, [x1, x2, *weights], gradients[0])
            return torch.cat([of_x1, of_x2], dim=1), None, None, None, *of_weights
        torch.autograd.backward(z, gradients[0])
        return torch.cat([x1.grad, x2.grad], dim=1), None, None, None


class Block(nn.Module):
    """A reversible block of two branches.

    Args:
        how: ``returns`` or ``leaves`` the derivatives of its weights; ``plain`` computes the same without a function.
    """

    def __init__(self, how: str, f: nn.Module, g: nn.Module) -> None:
        super().__init__()
        self.how, self.f, self.g = how, f, g

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "plain":
            x1, x2 = x.chunk(2, dim=1)
            y1 = x1 + self.f(x2)
            return torch.cat([y1, x2 + self.g(y1)], dim=1)
        returns = self.how == "returns"
        apply: Callable[..., Tensor] = _Reversed.apply
        return apply(x, self.f, self.g, returns, *(self.parameters() if returns else ()))


class Reversible(nn.Module):
    """Two reversible blocks between a stem and a head, the second of them around another.

    Args:
        how: as a block has it.
        shared: whether both branches of a block use one batch norm.
    """

    def __init__(self, how: str, *, shared: bool = False, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        f, g = _branch(4), _branch(4)
        if shared:
            g[0] = f[0]
        inner = Block(how, _branch(2), _branch(2))
        self.blocks = nn.Sequential(Block(how, f, g), Block(how, inner, _branch(4)))
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.blocks(self.stem(x))).relu().mean(dim=(2, 3)))


def _branch(width: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
