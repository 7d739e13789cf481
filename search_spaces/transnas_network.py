"""A network of TransNAS-Bench-101 (Duan et al., CVPR 2021, arXiv 2105.11871), in PyTorch alone: its encoder."""

from __future__ import annotations

import torch
from torch import nn

Edge = tuple[int, int, int]  # from node, to node, operation; node 1 is the cell's input, node 4 its output
Shape = tuple[int, int, int]  # of a unit: input channels, output channels, stride

UNITS = 2  # in each module; the first changes channels and resolution


class ReLUConvBN(nn.Sequential):
    """ReLU, then convolution without bias, then batch norm: the order of pre-activation networks."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        )


class Shift(nn.Module):
    """A skip connection that changes the shape: half of the channels come from the image moved by a pixel."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.still = nn.Conv2d(inputs, outputs // 2, 1, stride, bias=False)
        self.moved = nn.Conv2d(inputs, outputs - outputs // 2, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) → (N, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""
        x = self.relu(x)
        moved = nn.functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        y: torch.Tensor = self.norm(torch.cat([self.still(x), self.moved(moved)], dim=1))
        return y


def operation(choice: int, inputs: int, outputs: int, stride: int) -> nn.Module:
    """Operation 1 (skip), 2 (1×1 convolution) or 3 (3×3 convolution) of an edge; 0 is no edge."""
    if choice == 1:
        unchanged = stride == 1 and inputs == outputs
        return nn.Identity() if unchanged else Shift(inputs, outputs, stride=stride)
    return ReLUConvBN(inputs, outputs, kernel={2: 1, 3: 3}[choice], stride=stride)


class Cell(nn.Module):
    """Four nodes; each is the sum of its edges. ``edges`` come ordered by target: a source is ready when it is used.

    The edges from node 1 change channels and resolution, the others keep them.
    """

    def __init__(self, edges: tuple[Edge, ...], inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.edges, self.outputs, self.stride = edges, outputs, stride
        self.operations = nn.ModuleList(
            operation(choice, inputs, outputs, stride) if source == 1 else operation(choice, outputs, outputs, 1)
            for source, _, choice in edges
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) → (N, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""
        nodes = {1: x}
        for (source, target, _), transform in zip(self.edges, self.operations, strict=True):
            y = transform(nodes[source])
            nodes[target] = nodes[target] + y if target in nodes else y
        if 4 in nodes:
            return nodes[4]
        return torch.zeros_like(x[:, :1, :: self.stride, :: self.stride]).expand(-1, self.outputs, -1, -1)


class Residual(nn.Module):
    """Two 3×3 convolutions and the shortcut around them (He et al. 2016, pre-activation)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            ReLUConvBN(inputs, outputs, kernel=3, stride=stride),
            ReLUConvBN(outputs, outputs, kernel=3),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) → (N, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""
        y: torch.Tensor = self.main(x) + self.shortcut(x)
        return y


class Stem(nn.Sequential):
    """The first convolutions: (N, channels_in, H, W) → (N, channels, ⌈H/4⌉, ⌈W/4⌉)."""

    def __init__(self, channels: int, channels_in: int = 3) -> None:
        half = channels // 2
        first = nn.Conv2d(channels_in, half, 3, stride=2, padding=1, bias=False)
        super().__init__(first, nn.BatchNorm2d(half), ReLUConvBN(half, channels, kernel=3, stride=2))


def shapes(channels: int, modules: str) -> list[Shape]:
    """Those of all units behind a stem of so many channels, ``UNITS`` for each digit of ``modules``.

    2 and 4 double the channels, 3 and 4 halve the resolution.
    """
    found: list[Shape] = []
    for digit in modules:
        outputs = channels * (2 if digit in "24" else 1)
        found += [(channels, outputs, 2 if digit in "34" else 1), *[(outputs, outputs, 1)] * (UNITS - 1)]
        channels = outputs
    return found


class Encoder(nn.Sequential):
    """Stem and units, which have the shapes of ``modules``.

    Attributes:
        channels: of the stem.
        width: channels of the output.
        halvings: of the resolution, those of the stem included.
    """

    def __init__(self, channels: int, modules: str, units: list[nn.Module], channels_in: int = 3) -> None:
        super().__init__(Stem(channels, channels_in), *units)
        self.channels = channels
        self.width = shapes(channels, modules)[-1][1]
        self.halvings = 2 + sum(stride == 2 for _, _, stride in shapes(channels, modules))
