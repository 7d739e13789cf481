"""The text of a network of residual super-blocks, as ZenNAS publishes it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from search_spaces.scanner import Scanner
from vkdnw_search.errors import nearest

TYPES = ("K1K3K1", "K1K5K1", "K1K7K1", "K3K3", "K5K5", "K7K7")
"""Kernels in the order in which they are applied: three make a bottleneck."""

STEM, LAST = "SuperConvK3BNRELU", "SuperConvK1BNRELU"
_WORD = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class SuperBlock:
    """``depth`` units (pairs, if of three convolutions) with ``btn`` channels within and ``out`` after each."""

    type: str
    out: int
    stride: int
    btn: int
    depth: int


@dataclass(frozen=True, slots=True)
class Structure:
    """A network: channels and stride of the stem, super-blocks, channels of the last convolution."""

    stem: int
    stem_stride: int
    blocks: tuple[SuperBlock, ...]
    last: int

    @property
    def key(self) -> str:
        """The published form."""
        text, width = [f"{STEM}(3,{self.stem},{self.stem_stride},1)"], self.stem
        for b in self.blocks:
            text.append(f"SuperRes{b.type}({width},{b.out},{b.stride},{b.btn},{b.depth})")
            width = b.out
        return "".join([*text, f"{LAST}({width},{self.last},1,1)"])


def parse(text: str) -> Structure:
    """The structure written as ``text``.

    Raises:
        SpaceError: naming the position, what was expected there and what stands there.
    """
    scanner = Scanner(text.strip(), "super-block structure")
    scanner.literal(f"{STEM}(3,")
    stem = width = scanner.number(f"the output channels of {STEM}")
    scanner.literal(",")
    stride = scanner.number(f"the stride of {STEM}", allowed=(1, 2))
    scanner.literal(",1)")
    blocks = []
    while (name := _name(scanner)) != LAST:
        blocks.append(_block(scanner, name, width))
        width = blocks[-1].out
    scanner.literal(f"({width},")
    last = scanner.number(f"the output channels of {LAST}")
    scanner.literal(",1,1)")
    scanner.end()
    return Structure(stem, stride, tuple(blocks), last)


def _name(scanner: Scanner) -> str:
    start, known = scanner.position, [*(f"SuperRes{type}" for type in TYPES), LAST]
    name = scanner.pattern(_WORD, f"SuperRes… or {LAST}")
    if name not in known:
        raise scanner.error(f"one of {', '.join(known)}", hint=nearest(name, known), at=start)
    return name


def _block(scanner: Scanner, name: str, width: int) -> SuperBlock:
    """What follows the ``name`` of a super-block that has ``width`` input channels."""
    scanner.literal(f"({width},")
    out = scanner.number(f"the output channels of {name}")
    scanner.literal(",")
    stride = scanner.number(f"the stride of {name}", allowed=(1, 2))
    scanner.literal(",")
    btn = scanner.number(f"the bottleneck channels of {name}")
    scanner.literal(",")
    depth = scanner.number(f"the depth of {name}")
    scanner.literal(")")
    return SuperBlock(name.removeprefix("SuperRes"), out, stride, btn, depth)
