"""What inputs a network takes that refuses those it was given, found by trying: for the error that says so."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

SIDES = (16, 28, 32, 48, 64, 96, 112, 128, 160, 192, 224, 240, 256, 299, 331, 384)
"""Heights and widths that networks are made for, in pixels."""
LARGEST_3D = 64
"""The same of volumes, each of whose passes takes seconds from there on."""

Shape = tuple[int, ...]


@torch.no_grad()
def accepted_shape(model: nn.Module, refused: Shape) -> Shape | None:
    """The smallest input that ``model`` takes: what its first layer has for channels, in usual sizes.

    Args:
        model: in evaluation mode.
        refused: the shape of one input, without the batch, that it does not take.

    Returns:
        The shape of one input; None if none of those tried is taken.
    """
    return next((shape for shape in _candidates(model, refused) if shape != refused and _takes(model, shape)), None)


def _candidates(model: nn.Module, refused: Shape) -> Iterator[Shape]:
    """Shapes to try: the size given with other channels, then all sizes from the smallest."""
    layers = [m for m in model.modules() if isinstance(m, nn.modules.conv._ConvNd | nn.Linear)]
    first = next((m for m in layers if not isinstance(m, nn.Linear)), layers[0] if layers else None)
    if isinstance(first, nn.modules.conv._ConvNd):
        channels, axes = first.in_channels, len(first.kernel_size)
        if len(refused) == axes + 1:
            yield (channels, *refused[1:])
        yield from ((channels, *[side] * axes) for side in SIDES if axes < 3 or side <= LARGEST_3D)
    elif first is not None:
        width = first.in_features
        squares = [(c, side, side) for c in (1, 3) if c * (side := math.isqrt(width // c)) ** 2 == width]
        yield from [*squares, (width,)] if len(refused) == 3 else [(width,), *squares]
    yield from ((*refused[:1], side, side) for side in SIDES if first is None or isinstance(first, nn.Linear))


def _takes(model: nn.Module, shape: Shape) -> bool:
    example = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(0))
    try:
        model(torch.zeros(1, *shape, dtype=example.dtype, device=example.device))
    except Exception:  # whatever the network itself raises on such an input
        return False
    return True
