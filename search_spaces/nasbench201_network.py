"""An image classifier of NAS-Bench-201 (arXiv 2001.00326), in PyTorch alone: one cell, repeated in three stages."""

from __future__ import annotations

import torch
from torch import nn

Edge = tuple[int, int, str]  # from node, to node, operation; node 0 is the cell's input, node 3 its output


class ReLUConvBN(nn.Sequential):
    """ReLU, then convolution without bias, then batch norm: the order of pre-activation networks."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        )


def operation(name: str, channels: int) -> nn.Module:
    """The operation of one edge; it keeps the shape (N, channels, H, W)."""
    match name:
        case "skip_connect":
            return nn.Identity()
        case "nor_conv_1x1":
            return ReLUConvBN(channels, channels, kernel=1)
        case "nor_conv_3x3":
            return ReLUConvBN(channels, channels, kernel=3)
        case "avg_pool_3x3":
            return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)  # the border averages what is there
    raise ValueError(f"operation: must be one of the benchmark's operations other than 'none', but is {name!r}")


class Cell(nn.Module):
    """Four nodes; each is the sum of its edges. ``edges`` come ordered by target: a source is ready when it is used."""

    def __init__(self, edges: tuple[Edge, ...], channels: int) -> None:
        super().__init__()
        self.edges = edges
        self.operations = nn.ModuleList(operation(name, channels) for _, _, name in edges)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → the same shape."""
        nodes = {0: x}
        for (source, target, _), transform in zip(self.edges, self.operations, strict=True):
            y = transform(nodes[source])
            nodes[target] = nodes[target] + y if target in nodes else y
        return nodes[3] if 3 in nodes else torch.zeros_like(x)  # no path from input to output: the cell says nothing


class Reduction(nn.Module):
    """Residual block between two stages: doubles the channels, halves the resolution (which must be even)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            ReLUConvBN(inputs, outputs, kernel=3, stride=2),
            ReLUConvBN(outputs, outputs, kernel=3),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) → (N, outputs, H/2, W/2)."""
        y: torch.Tensor = self.main(x) + self.shortcut(x)
        return y


class Stem(nn.Sequential):
    """The first convolution: (N, channels_in, H, W) → (N, channels, H, W)."""

    def __init__(self, channels: int, channels_in: int = 3) -> None:
        super().__init__(nn.Conv2d(channels_in, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))


class Classifier(nn.Sequential):
    """Global average pooling and a linear layer: (N, channels, H, W) → logits (N, num_classes)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, num_classes),
        )


class CellNetwork(nn.Module):
    """Stem, three stages of ``cells`` equal cells with a reduction between two stages, classifier."""

    def __init__(
        self, edges: tuple[Edge, ...], *, channels: int, cells: int, num_classes: int, channels_in: int = 3
    ) -> None:
        super().__init__()
        widths = (channels, 2 * channels, 4 * channels)
        body: list[nn.Module] = []
        for stage, width in enumerate(widths):
            if stage > 0:
                body.append(Reduction(widths[stage - 1], width))
            body.extend(Cell(edges, width) for _ in range(cells))
        self.stem = Stem(channels, channels_in)
        self.body = nn.Sequential(*body)
        self.classifier = Classifier(widths[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels_in, H, W) → logits (N, num_classes)."""
        logits: torch.Tensor = self.classifier(self.body(self.stem(x)))
        return logits

    def stages(self) -> list[nn.Module]:
        """Stem, cells and reductions in order: the modules whose outputs are the successive features."""
        return [self.stem, *self.body]
