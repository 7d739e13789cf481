"""A sub-network of Once-for-all's MobileNetV3 (Cai et al., ICLR 2020, arXiv 1908.09791), in PyTorch alone.

MobileNetV3-Large (arXiv 1905.02244) at width 1.0, in which every stage has a depth and every block a kernel and an
expansion of its own.
"""

from __future__ import annotations

import torch
from torch import nn

Block = tuple[int, int]  # kernel, expansion
Stage = tuple[int, int, type[nn.Module], bool]  # channels, stride of the first block, activation, squeeze-excitation

STAGES: tuple[Stage, ...] = (
    (24, 2, nn.ReLU, False),
    (40, 2, nn.ReLU, True),
    (80, 2, nn.Hardswish, False),
    (112, 1, nn.Hardswish, True),
    (160, 2, nn.Hardswish, True),
)
STEM, LAST, FEATURES = 16, 960, 1280  # channels; the features are what the classifier sees
REDUCTION = 4  # how much narrower a squeeze-excitation is than what it looks at


def round8(width: float) -> int:
    """The nearest multiple of 8, the upper one if that is below 90 % of ``width``; at least 8."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8


class ConvBN(nn.Sequential):
    """Convolution that keeps the resolution (or divides it by ``stride``, rounded up), batch norm, perhaps ``act``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: type[nn.Module] = nn.Identity,
    ) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), act())


class SqueezeExcitation(nn.Module):
    """Multiplies every channel by a number in [0, 1] that is a function of all channels' means (arXiv 1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = round8(channels // REDUCTION)
        squeeze, excite = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), squeeze, nn.ReLU(), excite, nn.Hardsigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → the same shape."""
        y: torch.Tensor = x * self.gate(x)
        return y


class Unit(nn.Module):
    """Inverted residual: 1×1 up to ``expansion`` times the input (not where that is 1), depthwise k×k, perhaps
    squeeze-excitation, 1×1 down without activation; a shortcut where the shape stays."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int,
        expansion: int,
        stride: int = 1,
        act: type[nn.Module] = nn.ReLU,
        squeeze: bool = False,
    ) -> None:
        super().__init__()
        width = round8(expansion * inputs)
        layers: list[nn.Module] = [ConvBN(inputs, width, act=act)] if expansion > 1 else []
        layers.append(ConvBN(width, width, kernel=kernel, stride=stride, groups=width, act=act))
        if squeeze:
            layers.append(SqueezeExcitation(width))
        self.main = nn.Sequential(*layers, ConvBN(width, outputs))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) → (N, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""
        y: torch.Tensor = self.main(x)
        return y + x if self.shortcut else y


class Stem(nn.Sequential):
    """The first convolution, and a block that is the same in all networks: (N, C, H, W) → (N, STEM, ⌈H/2⌉, ⌈W/2⌉)."""

    def __init__(self, channels_in: int = 3) -> None:
        conv = ConvBN(channels_in, STEM, kernel=3, stride=2, act=nn.Hardswish)
        super().__init__(conv, Unit(STEM, STEM, kernel=3, expansion=1))


class StageUnit(Unit):
    """The first block of stage ``stage``, counted from 0, or a later one, which changes neither width nor size."""

    def __init__(self, stage: int, kernel: int, expansion: int, *, first: bool) -> None:
        channels, stride, act, squeeze = STAGES[stage]
        before = STAGES[stage - 1][0] if stage else STEM
        super().__init__(
            before if first else channels,
            channels,
            kernel=kernel,
            expansion=expansion,
            stride=stride if first else 1,
            act=act,
            squeeze=squeeze,
        )


class Last(ConvBN):
    """The last convolution: (N, C, H, W) → (N, LAST, H, W)."""

    def __init__(self) -> None:
        super().__init__(STAGES[-1][0], LAST, act=nn.Hardswish)


class Classifier(nn.Sequential):
    """Global average pooling, a layer to FEATURES without batch norm, a linear layer: (N, LAST, H, W) → logits."""

    def __init__(self, num_classes: int) -> None:
        features = nn.Linear(LAST, FEATURES, bias=False)
        linear = nn.Linear(FEATURES, num_classes)
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), features, nn.Hardswish(), linear)


class OfaMobileNetV3Network(nn.Module):
    """Stem, five stages of blocks, a last 1×1 convolution, classifier."""

    def __init__(self, blocks: tuple[tuple[Block, ...], ...], *, num_classes: int, channels_in: int = 3) -> None:
        super().__init__()
        self.stem = Stem(channels_in)
        self.body = nn.Sequential(
            *(
                StageUnit(stage, kernel, expansion, first=number == 0)
                for stage, row in enumerate(blocks)
                for number, (kernel, expansion) in enumerate(row)
            )
        )
        self.last = Last()
        self.classifier = Classifier(num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels_in, H, W) → logits (N, num_classes)."""
        logits: torch.Tensor = self.classifier(self.last(self.body(self.stem(x))))
        return logits

    def stages(self) -> list[nn.Module]:
        """First convolution, blocks and last convolution in order: their outputs are the successive features."""
        return [*self.stem, *self.body, self.last]
