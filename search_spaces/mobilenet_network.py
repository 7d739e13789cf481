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


class SqueezeExcitation(nn.Module):
    """Multiplies every channel by a number in (0, 1) that is a function of all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, round(channels / 4))
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            ConvBN(channels, inner, relu=True),
            ConvBN(inner, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → the same shape."""
        y: torch.Tensor = x * self.gate(x)
        return y


class DropPath(nn.Module):
    """In training, leaves out the whole input of a sample with probability ``rate`` (arXiv 1603.09382)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → the same shape; the expectation is x."""
        if not self.training:
            return x
        kept = (torch.rand(len(x), 1, 1, 1, device=x.device) >= self.rate).to(x.dtype)
        return x * kept / (1 - self.rate)


class Unit(nn.Module):
    """Inverted residual: 1×1 up to ``width``, depthwise k×k, 1×1 down to ``outputs``, plus a shortcut, then ReLU."""

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        *,
        kernel: int,
        stride: int,
        project: bool,
        squeeze_excitation: bool = False,
    ) -> None:
        super().__init__()
        self.expand = ConvBN(inputs, width, relu=True)
        self.depthwise = ConvBN(width, width, kernel=kernel, stride=stride, groups=width, relu=True)
        self.excite = SqueezeExcitation(width) if squeeze_excitation else nn.Identity()
        self.reduce = ConvBN(width, outputs)
        # The published projection has a bias, though the batch norm after it takes it away again.
        self.shortcut = ConvBN(inputs, outputs, stride=stride, bias=True) if project else nn.Identity()
        self.drop_path: nn.Module = nn.Identity()
        self.act = nn.ReLU()  # unlike MobileNetV2, whose bottleneck is linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) → (N, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""
        residual = self.reduce(self.excite(self.depthwise(self.expand(x))))
        y: torch.Tensor = self.act(self.drop_path(residual) + self.shortcut(x))
        return y


class SuperBlock(nn.Sequential):
    """``depth`` pairs of units, each pair going through ``btn`` channels to ``out``.

    A unit's inner width is ``expansion`` times its *output* (MobileNetV2: its input). The first unit alone has the
    stride, and always a projection; the others have one only where the number of channels changes.
    """

    def __init__(
        self,
        inputs: int,
        *,
        expansion: int,
        kernel: int,
        out: int,
        stride: int,
        btn: int,
        depth: int,
        squeeze_excitation: bool = False,
    ) -> None:
        units: list[nn.Module] = []
        for layer in range(depth):
            first = layer == 0
            inner, outer = round8(btn * expansion), round8(out * expansion)
            squeeze = first or inputs != btn
            for from_, width, to, step, project in (
                (inputs, inner, btn, stride if first else 1, squeeze),
                (btn, outer, out, 1, btn != out),
            ):
                units.append(
                    Unit(
                        from_,
                        width,
                        to,
                        kernel=kernel,
                        stride=step,
                        project=project,
                        squeeze_excitation=squeeze_excitation,
                    )
                )
            inputs = out
        super().__init__(*units)


class Classifier(nn.Sequential):
    """Global average pooling and a linear layer: (N, inputs, H, W) → logits (N, num_classes)."""

    def __init__(self, inputs: int, num_classes: int, *, dropout: float = 0.0) -> None:
        flatten = nn.Sequential(nn.Flatten(), nn.Dropout(dropout)) if dropout else nn.Flatten()
        super().__init__(nn.AdaptiveAvgPool2d(1), flatten, nn.Linear(inputs, num_classes))


class SuperBlockNetwork(nn.Module):
    """Stem (3×3, stride 2), super-blocks, a last 1×1 convolution, global average pooling, classifier.

    The options are for training; the network that is searched has none of them.

    Args:
        channels_in: of the images.
        squeeze_excitation: in every unit, after the depthwise convolution, as published networks are trained.
        drop_path: probability that the last unit is left out for a sample; that of earlier units rises to it linearly.
        dropout: probability that a feature is left out before the classifier.
        bn_momentum: weight of one batch in the running statistics; published: 0.01.
    """

    def __init__(
        self,
        *,
        stem: int,
        blocks: tuple[Block, ...],
        last: int,
        num_classes: int,
        channels_in: int = 3,
        squeeze_excitation: bool = False,
        drop_path: float = 0.0,
        dropout: float = 0.0,
        bn_momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.stem = ConvBN(channels_in, stem, kernel=3, stride=2, relu=True)
        body: list[nn.Module] = []
        width = stem
        for expansion, kernel, out, stride, btn, depth in blocks:
            body.append(
                SuperBlock(
                    width,
                    expansion=expansion,
                    kernel=kernel,
                    out=out,
                    stride=stride,
                    btn=btn,
                    depth=depth,
                    squeeze_excitation=squeeze_excitation,
                )
            )
            width = out
        self.body = nn.Sequential(*body)
        self.last = ConvBN(width, last, relu=True)
        self.classifier = Classifier(last, num_classes, dropout=dropout)
        self._regularize(drop_path, bn_momentum)

    def _regularize(self, drop_path: float, bn_momentum: float) -> None:
        units = [module for module in self.modules() if isinstance(module, Unit)]
        for number, unit in enumerate(units, start=1):
            if drop_path > 0:
                unit.drop_path = DropPath(drop_path * number / len(units))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = bn_momentum

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels_in, H, W) → logits (N, num_classes)."""
        logits: torch.Tensor = self.classifier(self.last(self.body(self.stem(x))))
        return logits

    def stages(self) -> list[nn.Module]:
        """Stem, residual units and last convolution in order: their outputs are the successive features."""
        return [self.stem, *(unit for block in self.body for unit in block.children()), self.last]
