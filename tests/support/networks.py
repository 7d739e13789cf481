"""Small hand-written networks of every kind, for tests of scores."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.unruly_networks import UNRULY


class Residual(nn.Module):
    """Convolutions with stride, dilation, groups and bias; batch norm; in-place ReLU; a projection shortcut."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.a = nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4)
        self.b = nn.BatchNorm2d(12)
        self.c = nn.Conv2d(12, 12, 3, padding="same", dilation=2, bias=False)
        self.skip = nn.Conv2d(8, 12, 1, stride=2)
        self.fc = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        y = self.c(torch.relu(self.b(self.a(x))))
        y += self.skip(x)
        return self.fc(F.relu(y).mean(dim=(2, 3)))


class Depthwise(nn.Module):
    """Depthwise convolution with squeeze-excitation; a 7×7 kernel on a small map."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(3, 6, 1, bias=False), nn.BatchNorm2d(6), nn.SiLU())
        self.depth = nn.Conv2d(6, 6, 7, stride=2, padding=3, groups=6, bias=False)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 3, 1), nn.ReLU(), nn.Conv2d(3, 6, 1), nn.Sigmoid()
        )
        self.wide = nn.Conv2d(6, 6, 7, padding=3, groups=6)
        self.norm = nn.GroupNorm(2, 6)
        self.fc = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depth(self.expand(x))
        x = x * self.gate(x)
        x = F.max_pool2d(x, 2)
        return self.fc(self.norm(self.wide(x)).flatten(2).mean(dim=2))


class Attention(nn.Module):
    """A small vision transformer: bare parameters, layer norm, attention, GELU."""

    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8) * 0.1)
        self.position = nn.Parameter(torch.randn(1, 5, 8) * 0.1)
        self.scale = nn.Parameter(torch.ones(8))
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        y = self.norm1(x)
        x = x + self.scale * self.attention(y, y, y, need_weights=False)[0]
        return self.head((x + self.mlp(self.norm2(x)))[:, 0])


class Odd(nn.Module):
    """Weights used twice, tied, transformed, unused, and through a transposed convolution."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.twice = nn.Conv2d(3, 3, 3, padding=1)
        self.up = nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1)
        self.groups = nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2, bias=False)
        self.slope = nn.PReLU(6)
        self.instance = nn.InstanceNorm2d(6, affine=True)
        self.tied = nn.Linear(6, 6)
        self.scaled = nn.utils.parametrizations.weight_norm(nn.Linear(6, classes))
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(torch.tanh(self.twice(x)))
        x = self.slope(self.instance(self.groups(self.up(x)))).mean(dim=(2, 3))
        x = self.tied(x) + F.linear(x, self.tied.weight.t())
        return self.scaled(x)


class Volume(nn.Module):
    """3-D convolution and batch norm."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 4, (1, 3, 2), stride=(1, 2, 1)),
            nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Sequence(nn.Module):
    """1-D convolutions and an RMS norm."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 6, 5, stride=2, padding=2)
        self.norm = nn.BatchNorm1d(6)
        self.up = nn.ConvTranspose1d(6, 6, 3, stride=2)
        self.rms = nn.RMSNorm(6)
        self.fc = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(torch.relu(self.norm(self.conv(x))))
        return self.fc(self.rms(x.transpose(1, 2)).mean(dim=1))


def plain_mlp(classes: int = 7) -> nn.Module:
    """Linear layers and a 1-D batch norm, with a view of the image that only works on contiguous tensors."""

    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(x.shape[0], -1)

    return nn.Sequential(Flat(), nn.Linear(48, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, classes))


class Bare(nn.Module):
    """A weight that no layer owns, above layers."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(48, 8) / 7)
        self.hidden = nn.Linear(8, 6)
        self.fc = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.hidden(torch.tanh(x.flatten(1) @ self.weight))))


class FrozenStem(nn.Module):
    """Gradients switched off for a part of the network."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3)
        self.conv = nn.Conv2d(5, 5, 3)
        self.fc = nn.Linear(5, classes)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.stem(x)
        return self.fc(torch.relu(self.conv(torch.relu(x))).mean(dim=(2, 3)))


class Viewed(nn.Module):
    """A pointwise convolution whose result is viewed as one axis; and an even kernel, padded more behind."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.even = nn.Conv2d(3, 4, 4, padding="same")
        self.point = nn.Conv2d(4, 6, 1)
        self.fc = nn.Linear(24, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.point(torch.relu(self.even(x)))).view(len(x), -1))


NETWORKS = {
    "residual": (Residual, (3, 8, 8)),
    "depthwise with squeeze-excitation": (Depthwise, (3, 8, 8)),
    "vision transformer": (Attention, (3, 8, 8)),
    "odd uses of weights": (Odd, (3, 4, 4)),
    "3-D convolution": (Volume, (1, 4, 6, 5)),
    "1-D convolution": (Sequence, (2, 9)),
    "multi-layer perceptron": (plain_mlp, (3, 4, 4)),
    "bare weight": (Bare, (3, 4, 4)),
    "frozen stem": (FrozenStem, (3, 6, 6)),
    "viewed result of an even kernel": (Viewed, (3, 2, 2)),
    **UNRULY,
}
