"""Search spaces whose networks are sound, but awkward to write in other forms than Python."""

from __future__ import annotations

from tests.support.tiny_space import Tiny, TinyArchitecture

HEAD = """import torch
from torch import nn


class Network(nn.Module):
    def __init__(self, num_classes={classes}):
        super().__init__()
        self.stem = nn.Conv2d(3, {width}, 1)
        self.first = nn.Conv2d({width}, {width}, 1)
        self.second = nn.Conv2d({width}, {width}, 1)
        self.head = nn.Linear({width}, num_classes)
        self.register_buffer("corner", torch.eye({width})[:, :2])
"""

TIED = """        self.second.weight = self.first.weight

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.second(self.first(x).relu()).mean((2, 3)))
"""

UNTRACEABLE = """
    def forward(self, x):
        x = self.stem(x)
        branch = self.first if x.detach().sum() > 0 else self.second
        return self.head(branch(x).mean((2, 3)))
"""


class Tied(Tiny):
    """Two layers share a weight, and one buffer is part of a larger tensor."""

    name = "tied"

    def source(self, architecture: TinyArchitecture) -> str:
        return HEAD.format(classes=self.num_classes, width=architecture.width) + TIED


class Untraceable(Tied):
    """The way through the network depends on its numbers."""

    name = "untraceable"

    def source(self, architecture: TinyArchitecture) -> str:
        return HEAD.format(classes=self.num_classes, width=architecture.width) + UNTRACEABLE


SPACES = {"tied": Tied, "untraceable": Untraceable}
