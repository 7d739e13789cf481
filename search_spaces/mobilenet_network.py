"""An image classifier of inverted residual super-blocks (the space of ZenNAS, arXiv 2102.01063), in PyTorch alone."""

from __future__ import annotations

import torch
from torch import nn

Block = tuple[int, int, int, int, int, int]  # expansion, kernel, out, stride, btn, depth: see SuperBlock

BATCH_NORM_EPS = 1e-3  # the published value; PyTorch's default is 1e-5


def round8(width: float) -> int:
    """The nearest multiple of 8, at least 8; a tie goes to the even multiple."""
    return max(8, 8 * round(width / 8))


class ConvBN(nn.Module):
    """Convolution that keeps the resolution (or divides it by ``stride``, rounded up), batch norm, perhaps ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        relu: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)
        self.norm = nn.BatchNorm2d(outputs, eps=BATCH_NORM_EPS)
        self.act = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) → (N, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""
        y: torch.Tensor = self.act(self.norm(self.conv(x)))
        return y


class Unit(nn.Module):
    """Inverted residual: 1×1 up to ``width``, depthwise k×k, 1×1 down to ``outputs``, plus a shortcut, then ReLU."""

    def __init__(self, inputs: int, width: int, outputs: int, *, kernel: int, stride: int, project: bool) -> None:
        super().__init__()
        self.expand = ConvBN(inputs, width, relu=True)
        self.depthwise = ConvBN(width, width, kernel=kernel, stride=stride, groups=width, relu=True)
        self.reduce = ConvBN(width, outputs)
        # The published projection has a bias, though the batch norm after it takes it away again.
        self.shortcut = ConvBN(inputs, outputs, stride=stride, bias=True) if project else nn.Identity()
        self.act = nn.ReLU()  # unlike MobileNetV2, whose bottleneck is linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) → (N, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""
        y: torch.Tensor = self.act(self.reduce(self.depthwise(self.expand(x))) + self.shortcut(x))
        return y


class SuperBlock(nn.Sequential):
    """``depth`` pairs of units, each pair going through ``btn`` channels to ``out``.

    A unit's inner width is ``expansion`` times its *output* (MobileNetV2: its input). The first unit alone has the
    stride, and always a projection; the others have one only where the number of channels changes.
    """

    def __init__(
        self, inputs: int, *, expansion: int, kernel: int, out: int, stride: int, btn: int, depth: int
    ) -> None:
        units: list[nn.Module] = []
        for layer in range(depth):
            first = layer == 0
            inner, outer = round8(btn * expansion), round8(out * expansion)
            squeeze = first or inputs != btn
            units.append(Unit(inputs, inner, btn, kernel=kernel, stride=stride if first else 1, project=squeeze))
            units.append(Unit(btn, outer, out, kernel=kernel, stride=1, project=btn != out))
            inputs = out
        super().__init__(*units)


class Classifier(nn.Sequential):
    """Global average pooling and a linear layer: (N, inputs, H, W) → logits (N, num_classes)."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes))


class SuperBlockNetwork(nn.Module):
    """Stem (3×3, stride 2), super-blocks, a last 1×1 convolution, global average pooling, classifier."""

    def __init__(self, *, stem: int, blocks: tuple[Block, ...], last: int, num_classes: int) -> None:
        super().__init__()
        self.stem = ConvBN(3, stem, kernel=3, stride=2, relu=True)
        body: list[nn.Module] = []
        width = stem
        for expansion, kernel, out, stride, btn, depth in blocks:
            body.append(
                SuperBlock(width, expansion=expansion, kernel=kernel, out=out, stride=stride, btn=btn, depth=depth)
            )
            width = out
        self.body = nn.Sequential(*body)
        self.last = ConvBN(width, last, relu=True)
        self.classifier = Classifier(last, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) → logits (N, num_classes)."""
        logits: torch.Tensor = self.classifier(self.last(self.body(self.stem(x))))
        return logits

    def stages(self) -> list[nn.Module]:
        """Stem, residual units and last convolution in order: their outputs are the successive features."""
        return [self.stem, *(unit for block in self.body for unit in block.children()), self.last]
