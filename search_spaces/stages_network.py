"""An image classifier of mobile blocks in the words of timm's model strings, in PyTorch alone.

``cn`` is a convolution, ``ds`` a depthwise separable one, ``ir`` an inverted residual (MobileNetV2, arXiv 1801.04381),
``er`` an edge residual: an inverted residual whose first convolution is a full k×k one (EfficientNet-EdgeTPU).
"""

from __future__ import annotations

import torch
from torch import nn

Block = tuple[str, int, int, int, int, float]  # type, kernel, stride, expansion, out, squeeze-excitation ratio

ACTIVATIONS = {"relu": nn.ReLU, "relu6": nn.ReLU6, "silu": nn.SiLU, "hardswish": nn.Hardswish}


def round8(width: float) -> int:
    """The nearest multiple of 8, the upper one if that is below 90 % of ``width``; at least 8."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8


class ConvBN(nn.Sequential):
    """Convolution that keeps the resolution (or divides it by ``stride``, rounded up), batch norm, perhaps ``act``."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, act: str = ""
    ) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), ACTIVATIONS[act]() if act else nn.Identity())


class SqueezeExcitation(nn.Module):
    """Multiplies every channel by a number in (0, 1) that is a function of all channels' means (arXiv 1709.01507)."""

    def __init__(self, channels: int, inner: int, act: str) -> None:
        super().__init__()
        squeeze, excite = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), squeeze, ACTIVATIONS[act](), excite, nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → the same shape."""
        y: torch.Tensor = x * self.gate(x)
        return y


class Unit(nn.Module):
    """One block; all but ``cn`` end without activation, and have a shortcut where the shape stays."""

    def __init__(
        self, type: str, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int, se: float, act: str
    ) -> None:
        super().__init__()
        width = inputs if type == "ds" else round8(expansion * inputs)
        layers: list[nn.Module] = []
        if type == "cn":
            layers.append(ConvBN(inputs, outputs, kernel=kernel, stride=stride, act=act))
        elif type == "er":
            layers.append(ConvBN(inputs, width, kernel=kernel, stride=stride, act=act))
        else:
            if type == "ir":
                layers.append(ConvBN(inputs, width, act=act))
            layers.append(ConvBN(width, width, kernel=kernel, stride=stride, groups=width, act=act))
        if type != "cn":
            if se:
                layers.append(SqueezeExcitation(width, max(1, round(se * inputs)), act))
            layers.append(ConvBN(width, outputs))
        self.main = nn.Sequential(*layers)
        self.shortcut = type != "cn" and stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) → (N, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""
        y: torch.Tensor = self.main(x)
        return y + x if self.shortcut else y


class Classifier(nn.Sequential):
    """Global average pooling and a linear layer: (N, inputs, H, W) → logits (N, num_classes)."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes))


class MobileNetwork(nn.Module):
    """Stem (3×3), one unit for each of ``blocks``, a last 1×1 convolution, global average pooling, classifier."""

    def __init__(
        self,
        *,
        stem: int,
        stem_stride: int,
        blocks: tuple[Block, ...],
        last: int,
        act: str,
        num_classes: int,
        channels_in: int = 3,
    ) -> None:
        super().__init__()
        self.stem = ConvBN(channels_in, stem, kernel=3, stride=stem_stride, act=act)
        body: list[nn.Module] = []
        width = stem
        for type, kernel, stride, expansion, out, se in blocks:
            unit = Unit(type, width, out, kernel=kernel, stride=stride, expansion=expansion, se=se, act=act)
            body.append(unit)
            width = out
        self.body = nn.Sequential(*body)
        self.last = ConvBN(width, last, act=act)
        self.classifier = Classifier(last, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels_in, H, W) → logits (N, num_classes)."""
        logits: torch.Tensor = self.classifier(self.last(self.body(self.stem(x))))
        return logits

    def stages(self) -> list[nn.Module]:
        """Stem, units and last convolution in order: their outputs are the successive features."""
        return [self.stem, *self.body, self.last]
