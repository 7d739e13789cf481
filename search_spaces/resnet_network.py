"""An image classifier of residual super-blocks (ResNet-like, of ZenNAS, arXiv 2102.01063), in PyTorch alone."""

from __future__ import annotations

import torch
from torch import nn

Block = tuple[str, int, int, int, int]  # type, out, stride, btn, depth: see SuperBlock

BATCH_NORM_EPS = 1e-3  # the published value; PyTorch's default is 1e-5


class ConvBN(nn.Module):
    """Convolution that keeps the resolution (or divides it by ``stride``, rounded up), batch norm, perhaps ReLU."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, bias: bool = False, relu: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)
        self.norm = nn.BatchNorm2d(outputs, eps=BATCH_NORM_EPS)
        self.act = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) → (N, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""
        y: torch.Tensor = self.act(self.norm(self.conv(x)))
        return y


class Unit(nn.Module):
    """A residual unit: ``K1KxK1`` is 1×1, k×k, 1×1 with ``btn`` channels between, ``KxKx`` is k×k, k×k; then ReLU."""

    def __init__(self, type: str, inputs: int, btn: int, outputs: int, *, stride: int, project: bool) -> None:
        super().__init__()
        kernels = [int(digit) for digit in type.split("K")[1:]]  # K1K3K1 → 1, 3, 1
        strides = [1, stride, 1] if len(kernels) == 3 else [stride, 1]
        widths = [inputs, *[btn] * (len(kernels) - 1), outputs]
        self.main = nn.Sequential(
            *(
                ConvBN(widths[i], widths[i + 1], kernel=kernel, stride=strides[i], relu=i < len(kernels) - 1)
                for i, kernel in enumerate(kernels)
            )
        )
        # The published projection has a bias, though the batch norm after it takes it away again.
        self.shortcut = ConvBN(inputs, outputs, stride=stride, bias=True) if project else nn.Identity()
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) → (N, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""
        y: torch.Tensor = self.act(self.main(x) + self.shortcut(x))
        return y


class SuperBlock(nn.Sequential):
    """``depth`` units of type ``KxKx``, or pairs of units of type ``K1KxK1``, with ``btn`` channels within each.

    The first unit alone has the stride, and always a projection as its shortcut; the others have the identity.
    """

    def __init__(self, inputs: int, *, type: str, out: int, stride: int, btn: int, depth: int) -> None:
        units = 2 * depth if type.count("K") == 3 else depth
        super().__init__(
            Unit(type, inputs, btn, out, stride=stride, project=True),
            *(Unit(type, out, btn, out, stride=1, project=False) for _ in range(units - 1)),
        )


class Classifier(nn.Sequential):
    """Global average pooling and a linear layer: (N, inputs, H, W) → logits (N, num_classes)."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes))


class ResidualNetwork(nn.Module):
    """Stem (3×3), super-blocks, a last 1×1 convolution, global average pooling, classifier.

    Args:
        channels_in: of the images.
    """

    def __init__(
        self,
        *,
        stem: int,
        stem_stride: int,
        blocks: tuple[Block, ...],
        last: int,
        num_classes: int,
        channels_in: int = 3,
    ) -> None:
        super().__init__()
        self.stem = ConvBN(channels_in, stem, kernel=3, stride=stem_stride, relu=True)
        body: list[nn.Module] = []
        width = stem
        for type, out, stride, btn, depth in blocks:
            body.append(SuperBlock(width, type=type, out=out, stride=stride, btn=btn, depth=depth))
            width = out
        self.body = nn.Sequential(*body)
        self.last = ConvBN(width, last, relu=True)
        self.classifier = Classifier(last, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels_in, H, W) → logits (N, num_classes)."""
        logits: torch.Tensor = self.classifier(self.last(self.body(self.stem(x))))
        return logits

    def stages(self) -> list[nn.Module]:
        """Stem, residual units and last convolution in order: their outputs are the successive features."""
        return [self.stem, *(unit for block in self.body for unit in block.children()), self.last]
