"""The text of a network of inverted residual super-blocks, as ZenNAS, ZiCo, AZ-NAS and VKDNW publish it.

A structure is a stem, super-blocks and a last convolution, written without separators (here on several lines)::

    SuperConvK3BNRELU(3,8,2,1)
    SuperResIDWE6K3(8,32,2,8,1)
    SuperResIDWE6K3(32,48,2,32,1)
    SuperConvK1BNRELU(48,2048,1,1)

``SuperConvK⟨kernel⟩BNRELU(in,out,stride,1)`` is a convolution with batch norm and ReLU, and
``SuperResIDWE⟨expansion⟩K⟨kernel⟩(in,out,stride,btn,depth)`` is ``depth`` pairs of inverted residual units.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import attrgetter

from search_spaces.scanner import Scanner
from vkdnw_search.errors import nearest

TYPES = tuple((expansion, kernel) for kernel in (3, 5, 7) for expansion in (1, 2, 4, 6))
"""(expansion, kernel) of the twelve types of super-block, E1K3 first, in the order in which they are published."""

MOBILENETV2_LIKE = ((24, 2, 1), (32, 2, 2), (64, 2, 2), (96, 1, 2), (160, 2, 2), (320, 1, 1))
"""(channels, stride, pairs of units) of MobileNetV2's stages (arXiv 1801.04381, table 2) as this space can have them:
half as many pairs as there are units, rounded up, and none for the first unit, which does not halve the resolution."""

STEM, LAST = "SuperConvK3BNRELU", "SuperConvK1BNRELU"
_BLOCKS = {f"SuperResIDWE{expansion}K{kernel}": (expansion, kernel) for expansion, kernel in TYPES}
_WORD = re.compile(r"[A-Za-z0-9_]+")


_repeated = attrgetter("expansion", "kernel", "out", "btn")
"""All that every pair of units of a super-block has in common."""


@dataclass(frozen=True, slots=True)
class SuperBlock:
    """``depth`` pairs of inverted residual units, with ``btn`` channels within and ``out`` after each pair."""

    expansion: int
    kernel: int
    out: int
    stride: int
    btn: int
    depth: int

    def continues(self, before: SuperBlock) -> bool:
        """Whether the two in a row are the same network as one super-block of their summed depth.

        The first unit of a super-block always has a projection shortcut; inside, it has one if ``btn`` != ``out``.
        """
        return self.stride == 1 and self.btn != self.out and _repeated(self) == _repeated(before)


@dataclass(frozen=True, slots=True)
class Structure:
    """A canonical network of super-blocks: those that continue the one before are merged with it.

    Attributes:
        stem: output channels of the 3×3 stem of stride 2.
        blocks: in order.
        last: output channels of the last 1×1 convolution.
    """

    stem: int
    blocks: tuple[SuperBlock, ...]
    last: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", _merged(self.blocks))

    @property
    def key(self) -> str:
        """The structure in its published text form."""
        text = [f"{STEM}(3,{self.stem},2,1)"]
        width = self.stem
        for b in self.blocks:
            text.append(f"SuperResIDWE{b.expansion}K{b.kernel}({width},{b.out},{b.stride},{b.btn},{b.depth})")
            width = b.out
        return "".join([*text, f"{LAST}({width},{self.last},1,1)"])


def parse(text: str) -> Structure:
    """The structure written as ``text``, in canonical form.

    Raises:
        SpaceError: naming the position, what was expected there and what stands there.
    """
    scanner = Scanner(text.strip(), "super-block structure")
    scanner.literal(f"{STEM}(3,")
    stem = width = scanner.number(f"the output channels of {STEM}")
    scanner.literal(",2,1)")
    blocks = []
    while (name := _name(scanner)) != LAST:
        blocks.append(_block(scanner, name, width))
        width = blocks[-1].out
    scanner.literal("(")
    _input(scanner, LAST, width)
    last = scanner.number(f"the output channels of {LAST}")
    scanner.literal(",1,1)")
    scanner.end()
    return Structure(stem, tuple(blocks), last)


def _name(scanner: Scanner) -> str:
    start = scanner.position
    known = [*_BLOCKS, LAST]
    name = scanner.pattern(_WORD, f"SuperResIDWE…K… or {LAST}")
    if name not in known:
        raise scanner.error(f"SuperResIDWE{{1,2,4,6}}K{{3,5,7}} or {LAST}", hint=nearest(name, known), at=start)
    return name


def _block(scanner: Scanner, name: str, width: int) -> SuperBlock:
    """Read what follows the ``name`` of a super-block that has ``width`` input channels."""
    expansion, kernel = _BLOCKS[name]
    scanner.literal("(")
    _input(scanner, name, width)
    out = scanner.number(f"the output channels of {name}")
    scanner.literal(",")
    stride = scanner.number(f"the stride of {name}", allowed=(1, 2))
    scanner.literal(",")
    btn = scanner.number(f"the bottleneck channels of {name}")
    scanner.literal(",")
    depth = scanner.number(f"the depth of {name}")
    scanner.literal(")")
    return SuperBlock(expansion, kernel, out, stride, btn, depth)


def _input(scanner: Scanner, name: str, width: int) -> None:
    """Read the input channels, which must be the output channels of the block before, and a comma."""
    scanner.number(f"the input channels of {name}, which are those the block before gives,", allowed=(width,))
    scanner.literal(",")


def _merged(blocks: Iterable[SuperBlock]) -> tuple[SuperBlock, ...]:
    merged: list[SuperBlock] = []
    for block in blocks:
        if merged and block.continues(merged[-1]):
            merged[-1] = replace(merged[-1], depth=merged[-1].depth + block.depth)
        else:
            merged.append(block)
    return tuple(merged)
