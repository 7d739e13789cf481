"""An image classifier of NAS-Bench-Macro (CVPR 2021, arXiv 2103.11922), in PyTorch alone: eight layers in a row."""

from __future__ import annotations

import torch
from torch import nn

STAGES = (2, 3, 3)  # layers; the first layer of a stage halves the resolution and doubles the channels
STEM, LAST = 32, 1280  # channels
BLOCKS = {1: (3, 3), 2: (5, 6)}  # layer → kernel, expansion; layer 0 is the identity


class ConvBN(nn.Sequential):
    """Convolution without bias that keeps the resolution (or divides it by ``stride``), batch norm, perhaps ReLU."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, relu: bool = False
    ) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.ReLU() if relu else nn.Identity())


class Block(nn.Module):
    """MobileNetV2's inverted residual: 1×1 up, depthwise k×k, 1×1 down; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, expansion: int, stride: int) -> None:
        super().__init__()
        width = expansion * inputs
        self.main = nn.Sequential(
            ConvBN(inputs, width, relu=True),
            ConvBN(width, width, kernel=kernel, stride=stride, groups=width, relu=True),
            ConvBN(width, outputs),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) → (N, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""
        y: torch.Tensor = self.main(x)
        return y + x if self.shortcut else y


def layer(choice: int, inputs: int, outputs: int, stride: int) -> nn.Module:
    """Layer 0, 1 or 2 of the benchmark; an identity that must change the shape is a 1×1 convolution."""
    if choice in BLOCKS:
        kernel, expansion = BLOCKS[choice]
        return Block(inputs, outputs, kernel=kernel, expansion=expansion, stride=stride)
    return nn.Identity() if stride == 1 and inputs == outputs else ConvBN(inputs, outputs, stride=stride)


class Stem(ConvBN):
    """The first convolution: (N, channels_in, H, W) → (N, STEM, H, W)."""

    def __init__(self, channels_in: int = 3) -> None:
        super().__init__(channels_in, STEM, kernel=3, relu=True)


class Last(ConvBN):
    """The last convolution: (N, inputs, H, W) → (N, LAST, H, W)."""

    def __init__(self, inputs: int) -> None:
        super().__init__(inputs, LAST, relu=True)


class Classifier(nn.Sequential):
    """Global average pooling and a linear layer: (N, inputs, H, W) → logits (N, num_classes)."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes))


class MacroNetwork(nn.Module):
    """Stem, one layer for each of ``choices``, a last 1×1 convolution, classifier. Identities are left out."""

    def __init__(self, choices: tuple[int, ...], *, num_classes: int, channels_in: int = 3) -> None:
        super().__init__()
        self.stem = Stem(channels_in)
        body: list[nn.Module] = []
        width = STEM
        remaining = iter(choices)
        for length in STAGES:
            for number in range(length):
                inputs, width = width, width if number else 2 * width
                body.append(layer(next(remaining), inputs, width, 1 if number else 2))
        self.body = nn.Sequential(*(module for module in body if not isinstance(module, nn.Identity)))
        self.last = Last(width)
        self.classifier = Classifier(LAST, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels_in, H, W) → logits (N, num_classes)."""
        logits: torch.Tensor = self.classifier(self.last(self.body(self.stem(x))))
        return logits

    def stages(self) -> list[nn.Module]:
        """Stem, layers and last convolution in order: their outputs are the successive features."""
        return [self.stem, *self.body, self.last]
