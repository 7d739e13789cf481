"""A vision transformer of AutoFormer (arXiv 2107.00651), in PyTorch alone: blocks may differ in heads and MLP width."""

from __future__ import annotations

import torch
from torch import nn

Block = tuple[int, int]  # heads, hidden channels of the MLP

HEAD_WIDTH = 64  # channels of a head, whatever the embedding


class Embedding(nn.Module):
    """Patches as tokens, after a class token, plus a position embedding, which is resized for other resolutions."""

    def __init__(self, channels: int, *, grid: tuple[int, int], patch: int, channels_in: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels_in, channels, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, channels))
        self.position = nn.Parameter(torch.zeros(1, grid[0] * grid[1] + 1, channels))
        self.grid = grid  # patches along the height, and along the width
        nn.init.trunc_normal_(self.token, std=0.02)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels_in, H, W) → (N, 1 + H/patch · W/patch, channels)."""
        y = self.patches(x)
        height, width = y.shape[2:]
        position: torch.Tensor = self.position
        if (height, width) != self.grid:
            grid = position[:, 1:].transpose(1, 2).reshape(1, -1, *self.grid)
            grid = nn.functional.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False)
            position = torch.cat([position[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
        tokens = torch.cat([self.token.expand(len(y), -1, -1), y.flatten(2).transpose(1, 2)], dim=1)
        return tokens + position


class Attention(nn.Module):
    """Self-attention with ``heads`` heads of HEAD_WIDTH channels each."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * heads * HEAD_WIDTH)
        self.project = nn.Linear(heads * HEAD_WIDTH, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, T, channels) → the same shape."""
        n, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, HEAD_WIDTH).permute(2, 0, 3, 1, 4)  # (N, heads, T, width)
        weights = (q @ k.transpose(-2, -1) * HEAD_WIDTH**-0.5).softmax(dim=-1)  # (N, heads, T, T)
        y: torch.Tensor = self.project((weights @ v).transpose(1, 2).reshape(n, t, -1))
        return y


class TransformerBlock(nn.Module):
    """Attention, then an MLP, each on a layer norm of its input and added to it."""

    def __init__(self, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(channels)
        self.attention = Attention(channels, heads)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, T, channels) → the same shape."""
        x = x + self.attention(self.attention_norm(x))
        y: torch.Tensor = x + self.mlp(self.mlp_norm(x))
        return y


class Classifier(nn.Module):
    """Layer norm, then a linear layer on the mean of all patches: (N, T, channels) → logits (N, num_classes)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The class token, which is first, took part in attention only."""
        y: torch.Tensor = self.linear(self.norm(x)[:, 1:].mean(dim=1))
        return y


class VisionTransformer(nn.Module):
    """Embedding, one transformer block for each of ``blocks``, classifier."""

    def __init__(
        self,
        *,
        channels: int,
        blocks: tuple[Block, ...],
        grid: tuple[int, int],
        patch: int,
        num_classes: int,
        channels_in: int = 3,
    ) -> None:
        super().__init__()
        self.embedding = Embedding(channels, grid=grid, patch=patch, channels_in=channels_in)
        self.body = nn.Sequential(*(TransformerBlock(channels, heads, hidden) for heads, hidden in blocks))
        self.classifier = Classifier(channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels_in, H, W) → logits (N, num_classes). H and W must be multiples of the patch."""
        logits: torch.Tensor = self.classifier(self.body(self.embedding(x)))
        return logits
