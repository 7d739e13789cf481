"""Small networks of kinds that other projects have: pruned by an index, for images of one size."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Pruned(nn.Module):
    """Blocks that select their input channels by an index, which loading weights would set (as in CondenseNet)."""

    def __init__(self, *, set_index: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(12 + 4 * i, 4, 1, groups=4) for i in range(40))
        for block in self.blocks:
            channels = block.in_channels
            index = torch.randperm(channels) if set_index else torch.zeros(channels, dtype=torch.int64)
            block.register_buffer("index", index)
        self.fc = nn.Linear(172, 4)
        self.register_buffer("index", torch.randperm(172) if set_index else torch.full((172,), 12))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = torch.cat([x, block(x[:, block.index].relu())], dim=1)
        return self.fc(x.mean(dim=(2, 3))[:, self.index])


class Fixed(nn.Module):
    """A network for ``side`` × ``side`` images of ``channels``, which refuses all others without a word."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.side, self.conv, self.fc = side, nn.Conv2d(channels, 4, 3, padding=1), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] == self.side
        return self.fc(self.conv(x).mean(dim=(2, 3)))
