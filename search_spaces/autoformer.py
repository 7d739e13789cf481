"""Vision transformers of AutoFormer (Chen et al., ICCV 2021, arXiv 2107.00651, table 1), in its three sizes.

Embedding and depth are chosen for the network, heads and MLP ratio for each block; a head has 64 channels. As in
the published code, norms come first and the mean of the patches is classified. Left out: relative positions beside
the absolute ones. A network's text is its embedding and then heads and MLP ratio of each block, such as
``e192-h3r3.5-h4r4-h3r4``.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Literal, NamedTuple

import annotated_types as at
from torch import nn

from search_spaces import autoformer_network as network
from search_spaces.genomes import genome_of, values_of
from search_spaces.resolution import ImageSpace, Size
from search_spaces.scanner import Scanner
from vkdnw_search.errors import SpaceError
from vkdnw_search.options import check_options
from vkdnw_search.records import Gene, GeneValue, Genome, Part


class Ranges(NamedTuple):
    """The choices of one size of network."""

    embedding: tuple[int, ...]
    depth: tuple[int, ...]
    heads: tuple[int, ...]
    ratio: tuple[float, ...]


SIZES: dict[str, Ranges] = {
    "tiny": Ranges((192, 216, 240), (12, 13, 14), (3, 4), (3.5, 4.0)),
    "small": Ranges((320, 384, 448), (12, 13, 14), (5, 6, 7), (3.0, 3.5, 4.0)),
    "base": Ranges((528, 576, 624), (14, 15, 16), (8, 9, 10), (3.0, 3.5, 4.0)),
}
"""The published search spaces: 4 to 9, 14 to 34 and 42 to 75 million parameters."""

FREE = ("add", "mul", "softmax", "gelu", "mean")
"""Operators of a transformer that fvcore does not count: one pass over the values each."""

_RATIO = re.compile(r"([1-9][0-9]?(\.5)?|0\.5)(?![0-9.])")


@dataclass(frozen=True, slots=True)
class Transformer:
    """A network: channels of the embedding, and (heads, MLP ratio) of each block."""

    embedding: int
    blocks: tuple[tuple[int, float], ...]

    @property
    def key(self) -> str:
        """The network as text."""
        return "-".join([f"e{self.embedding}", *(f"h{heads}r{ratio:g}" for heads, ratio in self.blocks)])

    @property
    def widths(self) -> tuple[network.Block, ...]:
        """The heads and hidden channels of each block."""
        return tuple((heads, int(self.embedding * ratio)) for heads, ratio in self.blocks)


@dataclass(frozen=True, kw_only=True)
class AutoFormer(ImageSpace):
    """Vision transformers that differ in embedding, depth, heads and MLP width; the defaults are those for ImageNet.

    Raises:
        SpaceError: an option is out of bounds, or a side of the input is no multiple of the patch.
    """

    size: Annotated[Literal["tiny", "small", "base"], "which of the three published spaces"] = "tiny"
    patch: Annotated[
        int, at.Interval(ge=2, le=64), "height and width of a patch, by which those of the input are divisible"
    ] = 16
    num_classes: Annotated[int, at.Interval(ge=2, le=100_000), "classes"] = 1000

    def __post_init__(self) -> None:
        check_options(self, SpaceError)
        if any(side % self.patch for side in self.sides):
            raise SpaceError(
                f"AutoFormer, resolution: must be a multiple of the patch, {self.patch}, but is {self.resolution}"
            )

    @property
    def name(self) -> str:
        """The name under which the space is installed."""
        return "autoformer"

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """Embedding and depth, then heads and MLP ratio of each block that the largest depth has."""
        ranges = SIZES[self.size]
        blocks = [
            gene
            for number in range(1, ranges.depth[-1] + 1)
            for gene in (
                Gene(f"block{number}.heads", ranges.heads, ordered=True),
                Gene(f"block{number}.ratio", ranges.ratio, ordered=True),
            )
        ]
        return (
            Gene("embedding", ranges.embedding, ordered=True),
            Gene("depth", ranges.depth, ordered=True),
            *blocks,
        )

    @property
    def free_operators(self) -> frozenset[str]:
        """What fvcore does not count, in a transformer."""
        return frozenset(f"aten::{name}" for name in FREE)

    def decode(self, genome: Genome) -> Transformer:
        """The network of ``genome``. Genes of blocks beyond the depth say nothing."""
        embedding, depth, *values = values_of(genome, self.genes, space=self.name)
        pairs = zip(values[::2], values[1::2], strict=True)
        blocks = tuple((int(heads), float(ratio)) for heads, ratio in pairs)
        return Transformer(int(embedding), blocks[: int(depth)])

    def encode(self, architecture: Transformer) -> Genome:
        """A genome of ``architecture``; blocks beyond the depth repeat the last.

        Raises:
            SpaceError: the genes cannot express it; the message names the first that cannot.
        """
        depth = len(architecture.blocks)
        values: list[GeneValue] = [architecture.embedding, depth]
        missing = [architecture.blocks[-1]] * max(0, SIZES[self.size].depth[-1] - depth)
        for block in [*architecture.blocks, *missing][: SIZES[self.size].depth[-1]]:
            values += block
        return genome_of(values, self.genes, space=self.name)

    def parse(self, text: str) -> Transformer:
        """The network written as ``text``; it need not be one that the genes can express.

        Raises:
            SpaceError: naming the position, what was expected there and what stands there.
        """
        scanner = Scanner(text.strip(), f"{self.name} network")
        scanner.literal("e")
        embedding = scanner.number("the channels of the embedding")
        blocks: list[tuple[int, float]] = []
        while not blocks or scanner.position < len(scanner.text):
            scanner.literal("-h")
            heads = scanner.number("heads")
            scanner.literal("r")
            blocks.append((heads, float(scanner.pattern(_RATIO, "an MLP ratio such as 3.5"))))
        return Transformer(embedding, tuple(blocks))

    def layers(self, architecture: Transformer) -> int:
        """The number of transformer blocks."""
        return len(architecture.blocks)

    def build(self, architecture: Transformer) -> nn.Module:
        """The network: (N, channels_in, H, W) → logits (N, num_classes)."""
        return network.VisionTransformer(
            channels=architecture.embedding,
            blocks=architecture.widths,
            grid=self._grid,
            patch=self.patch,
            num_classes=self.num_classes,
            channels_in=self.channels_in,
        )

    def parts(self, architecture: Transformer) -> Sequence[Part]:
        """Embedding, blocks, classifier. Widths have few values in this space, so they are part of the kind."""
        channels, shape = architecture.embedding, (math.prod(self._grid) + 1, architecture.embedding)
        return [
            _part(_embedding, self.input_shape, channels, *self._grid, self.patch, self.channels_in),
            *(_part(network.TransformerBlock, shape, channels, *block) for block in architecture.widths),
            _part(network.Classifier, shape, channels, self.num_classes),
        ]

    def chain(self, architecture: Transformer) -> Sequence[Part]:
        """The parts, which are whole blocks."""
        return self.parts(architecture)

    def source(self, architecture: Transformer) -> str:
        """The blocks this module builds from, verbatim, then the network as constants and the class ``Network``."""
        return _SOURCE.format(
            blocks=inspect.getsource(network).rstrip(),
            channels=architecture.embedding,
            rows="".join(f"    {block},\n" for block in architecture.widths),
            grid=self._grid,
            patch=self.patch,
            num_classes=self.num_classes,
            channels_in=self.channels_in,
        )

    @property
    def _grid(self) -> Size:
        """Patches along the height and along the width."""
        height, width = self.sides
        return height // self.patch, width // self.patch


_SOURCE = '''{blocks}


CHANNELS = {channels}
BLOCKS: tuple[Block, ...] = (
    # heads, hidden channels of the MLP
{rows})
GRID, PATCH = {grid}, {patch}  # patches along height and width, and pixels along a patch


class Network(VisionTransformer):
    """The architecture above, for any number of classes."""

    def __init__(self, num_classes: int = {num_classes}, *, channels_in: int = {channels_in}) -> None:
        super().__init__(
            channels=CHANNELS,
            blocks=BLOCKS,
            grid=GRID,
            patch=PATCH,
            num_classes=num_classes,
            channels_in=channels_in,
        )
'''


def _embedding(channels: int, height: int, width: int, patch: int, channels_in: int) -> nn.Module:
    return network.Embedding(channels, grid=(height, width), patch=patch, channels_in=channels_in)


@lru_cache(maxsize=1024)
def _part(make: Callable[..., nn.Module], shape: tuple[int, ...], *arguments: int) -> Part:
    """What ``make(*arguments)`` gives, for an input of that shape."""
    return Part(kind=(make.__name__, shape, arguments), widths=(), make=lambda: (make(*arguments), shape))
