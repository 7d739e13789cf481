"""A model with choices whose outputs stand at every position."""

from __future__ import annotations

from torch import nn

from vkdnw_search.choices import Choice


class Dense(nn.Sequential):
    """One or two convolutions of some width, and a classifier of each position."""

    def __init__(self, num_classes: int = 3) -> None:
        width = Choice("width", 6, 10)
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        for _ in range(Choice("depth", 0, 1)):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(width, num_classes, 1))
