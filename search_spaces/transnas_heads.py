"""Networks of an encoder and a head, for the seven tasks of TransNAS-Bench-101 (arXiv 2105.11871)."""

from __future__ import annotations

import torch
from torch import nn

from search_spaces.transnas_network import Encoder

SIDE = 3  # a jigsaw has SIDE × SIDE tiles
DEEPEST = 6  # layers of a decoder that may double the resolution


class Classifier(nn.Sequential):
    """Global average pooling and a linear layer: (N, width, H, W) → (N, outputs)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, outputs))


class Tiles(nn.Module):
    """Cuts images into tiles: (N, C, H, W) → (9 N, C, H // 3, W // 3), those of an image in a row, line by line.

    What remains of H and W is left out.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The tiles of all images."""
        height, width = x.shape[2] // SIDE, x.shape[3] // SIDE
        cut = x.unfold(2, height, height).unfold(3, width, width)  # (N, C, 3, 3, height, width)
        return cut.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


class JigsawClassifier(nn.Module):
    """A linear layer on the pooled features of all tiles of an image, one tile behind the other."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(SIDE * SIDE * width, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features of tiles (9 N, width, H, W) → (N, outputs)."""
        y: torch.Tensor = self.linear(self.pool(x).view(-1, self.linear.in_features))
        return y


class Decoder(nn.Sequential):
    """A 3×3 convolution, six layers that halve the channels, a convolution to the outputs; the last layers also double
    the resolution, by transposed convolution, as often as the encoder halved it: (N, width, H, W) → (N, outputs, …).

    The benchmark's decoder for segmentation, but for ReLU in place of leaky ReLU, and no biases before batch norms.
    Its decoder for images to images is like it, of 14 layers and with a tanh at the end.
    """

    def __init__(self, width: int, outputs: int, *, channels: int, halvings: int) -> None:
        layers = [*self.layer(nn.Conv2d(width, channels, 3, padding=1, bias=False))]
        for number in range(1, DEEPEST + 1):
            inputs, channels = channels, channels // 2 if number < DEEPEST else channels
            if number > DEEPEST - halvings:
                up = nn.ConvTranspose2d(inputs, channels, 3, stride=2, padding=1, output_padding=1, bias=False)
                layers += self.layer(up)
            else:
                layers += self.layer(nn.Conv2d(inputs, channels, 3, padding=1, bias=False))
        super().__init__(*layers, nn.Conv2d(channels, outputs, 3, padding=1))

    @staticmethod
    def layer(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
        """The convolution, batch norm and ReLU."""
        return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]


class TaskNetwork(nn.Module):
    """An encoder and a head."""

    def __init__(self, encoder: Encoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, channels_in, H, W) → what the head makes of their features."""
        y: torch.Tensor = self.head(self.encoder(x))
        return y

    def stages(self) -> list[nn.Module]:
        """Stem and units in order: the modules whose outputs are the successive features."""
        return list(self.encoder)


class VectorNetwork(TaskNetwork):
    """One vector for an image, logits or numbers: (N, channels_in, H, W) → (N, outputs)."""

    def __init__(self, encoder: Encoder, outputs: int) -> None:
        super().__init__(encoder, Classifier(encoder.width, outputs))


class JigsawNetwork(TaskNetwork):
    """Cuts an image into nine tiles, all of which the same encoder sees: (N, channels_in, H, W) → logits (N, outputs).

    The benchmark feeds the encoder with one place of the nine after the other, so that its batch norms see them apart.
    """

    def __init__(self, encoder: Encoder, outputs: int) -> None:
        super().__init__(encoder, JigsawClassifier(encoder.width, outputs))
        self.tiles = Tiles()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels_in, H, W) → (N, outputs)."""
        return super().forward(self.tiles(x))


class DenseNetwork(TaskNetwork):
    """A vector for each pixel: (N, channels_in, H, W) → (N, outputs, H, W).

    H and W must be multiples of 2 to the halvings.
    """

    def __init__(self, encoder: Encoder, outputs: int) -> None:
        widest = 16 * encoder.channels  # the benchmark's 1024 behind its stem of 64
        super().__init__(encoder, Decoder(encoder.width, outputs, channels=widest, halvings=encoder.halvings))
