"""Small networks that a fast derivative may get wrong: operations in place, axes in another order, hidden weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Preactivation(nn.Module):
    """A bottleneck that adds its shortcut in place to the result of a pointwise convolution."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.narrow, self.wide = nn.Conv2d(6, 4, 3, padding=1, bias=False), nn.Conv2d(4, 6, 1, bias=False)
        self.fc = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.wide(self.narrow(self.norm(x).relu_()).relu_())
        y += x
        return self.fc(y.mean(dim=(2, 3)))


class SqueezeExcitation(nn.Module):
    """A gate of one hidden channel, rectified in place: it is off for most samples."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.squeeze, self.excite = nn.Conv2d(6, 1, 1), nn.Conv2d(1, 6, 1)
        self.fc = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu_()
        y = F.adaptive_avg_pool2d(x, 1)
        y = self.excite(self.squeeze(y - y.mean(dim=1, keepdim=True) - 0.05).relu_())
        return self.fc((x * y.sigmoid_()).mean(dim=(2, 3)))


class HalvedInPlace(nn.Module):
    """Half of the channels of a pointwise convolution are rectified in place, through a view (as in Ghost modules)."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.point, self.cheap = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.fc = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.point(x)
        y[:, 4:].mul_(2)
        y[:, :4].relu_()
        return self.fc(torch.cat([y, F.hardtanh(self.cheap(y), inplace=True)], dim=1).mean(dim=(2, 3)))


class TokenMixer(nn.Module):
    """Linear layers over tokens with an in-place activation and addition; frozen patches that are scaled in place."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 6, 4, 4)
        self.point = nn.Conv2d(6, 6, 1)
        self.norm = nn.LayerNorm(6)
        self.mlp = nn.Sequential(nn.Linear(6, 10), nn.ReLU(inplace=True), nn.Linear(10, 6))
        self.fc = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.point(self.patch(x))
        x *= 0.5
        x = x.flatten(2).transpose(1, 2)
        y = self.mlp(self.norm(x))
        y += x
        return self.fc(y.mean(dim=1))


class SequenceFirst(nn.Module):
    """Tokens come first and samples second; of an image of 8 × 12 there are as many tokens as samples in the tests."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 5, 4, 4)
        self.norm, self.mlp, self.scale = nn.LayerNorm(5), nn.Linear(5, 5), nn.Parameter(torch.rand(5))
        self.token = nn.Parameter(torch.randn(1, 5))
        self.fc = nn.Linear(5, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).permute(2, 0, 1)  # (tokens, N, channels)
        token = self.token.expand(x.shape[0], -1)[:, None]
        x = x + torch.tanh(self.mlp(self.norm(x) + token)) * self.scale
        return self.fc(x.square().mean(dim=0))


class Queries(nn.Module):
    """A linear layer over a table of weights with as many rows as there are samples in the tests."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 5, 4, 4)
        self.table, self.offset = nn.Parameter(torch.randn(6, 3)), nn.Parameter(torch.randn(3))
        self.query = nn.Linear(3, 5)
        self.fc = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(self.table.detach().cos() + self.offset)  # (6, 5)
        attention = query @ self.patch(x).flatten(2)  # (N, 6, tokens)
        return self.fc(attention.square().mean(dim=2))


class TokensOfBatchNorm(nn.Module):
    """The result of a batch norm as tokens.

    Its gradient has the channels last in memory, while its input has them second: for a batch of one PyTorch's own
    derivative of a batch norm in evaluation mode is wrong then (2.13, CPU).
    """

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6)
        self.mlp = nn.Linear(6, 6)
        self.fc = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).flatten(2).transpose(1, 2)
        return self.fc((x + torch.tanh(self.mlp(x))).square().mean(dim=1))


class _Scale(torch.autograd.Function):
    """x ∘ w by a function of its own, in which no function with weights can be seen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        return gradient * weight, (gradient * x).flatten(0, -2).sum(dim=0)


class HiddenWeights(nn.Module):
    """Weights inside a function of its own, written into a tensor, and in a layer whose input changes afterwards."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 5, 2, 2)
        self.scale, self.token = nn.Parameter(torch.rand(5) + 0.5), nn.Parameter(torch.randn(5))
        self.linear = nn.Linear(5, 5)
        self.fc = nn.Linear(5, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).permute(0, 2, 3, 1)[:, :, :3]
        y = self.linear(x)  # autograd needs no more than its own copy of x, which has gaps in memory
        x.tanh_()
        x = torch.cat([x[:, :1], x], dim=1)
        x[:, 0] = self.token
        x = _Scale.apply(x, self.scale)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return self.fc((x.sum(dim=(1, 2)) * y.sigmoid().mean(dim=(1, 2))).square())


UNRULY = {
    "shortcut added in place": (Preactivation, (3, 8, 8)),
    "squeeze rectified in place": (SqueezeExcitation, (3, 8, 8)),
    "half rectified in place": (HalvedInPlace, (3, 6, 6)),
    "tokens changed in place": (TokenMixer, (3, 8, 8)),
    "sequence first": (SequenceFirst, (3, 8, 12)),
    "table of queries": (Queries, (3, 8, 8)),
    "tokens of a batch norm": (TokensOfBatchNorm, (3, 9, 9)),
    "hidden weights": (HiddenWeights, (3, 8, 8)),
}
