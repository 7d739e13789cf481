"""The images of a space: how recipes say their channels and size, and how the size changes from layer to layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import annotated_types as at

Size = tuple[int, int]
"""Height and width, in pixels."""

Side = Annotated[int, at.Interval(ge=8, le=1024)]

AT = "input height and width, at which FLOPs are counted: a number for both, or [H, W]"
"""The meaning of the option."""


@dataclass(frozen=True, kw_only=True)
class ImageSpace:
    """The options of a space of networks for images: their size and channels."""

    resolution: Annotated[Side | tuple[Side, Side], AT] = 224
    channels_in: Annotated[int, at.Interval(ge=1, le=1024), "channels of the images: 3 for colour, 1 for grey"] = 3

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape of one input, (C, H, W)."""
        return (self.channels_in, *self.sides)

    @property
    def sides(self) -> Size:
        """Height and width of an input."""
        return (self.resolution, self.resolution) if isinstance(self.resolution, int) else self.resolution


def divided(side: int, stride: int) -> int:
    """The height or width after a stride, with padding of half the kernel: rounded up."""
    return -(-side // stride)


def reduced(size: Size, stride: int) -> Size:
    """Height and width after a stride, with padding of half the kernel: rounded up."""
    height, width = size
    return divided(height, stride), divided(width, stride)
