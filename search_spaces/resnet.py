"""The ResNet-like space of ZenNAS (arXiv 2102.01063, "XXBL"): super-blocks of residual units, full convolutions only.

Four stages of up to three super-blocks each, as genes of fixed length. A super-block is of type ``K1KxK1`` (bottleneck
units, in pairs) or ``KxKx``, x being 3, 5 or 7. A network's text is the published one, here on several lines::

    SuperConvK3BNRELU(3,24,2,1)
    SuperResK3K3(24,32,2,64,1)
    SuperResK1K5K1(32,320,2,120,1)
    SuperConvK1BNRELU(320,2384,1,1)

``SuperRes⟨type⟩(in,out,stride,btn,depth)``; every super-block begins with a projection, so no two texts are one
network. The published search multiplies channels by 1.25, 1.5, 2 or 2.5; here channels are choices of that order.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cached_property, lru_cache
from typing import Annotated

import annotated_types as at
from torch import nn

from search_spaces import resnet_network as network
from search_spaces.genomes import genome_of, values_of
from search_spaces.resnet_structure import TYPES, Structure, SuperBlock, parse
from search_spaces.resolution import ImageSpace, Size, reduced
from vkdnw_search.errors import SpaceError
from vkdnw_search.options import check_options
from vkdnw_search.records import Gene, GeneValue, Genome, Part

STAGES, SLOTS = 4, 3
"""Stages, and super-blocks a stage has at most."""

MAX_DEPTH = 5
"""Of a super-block: published ones are split in two at 6."""

_NARROW = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256)
WIDTHS = (*_NARROW, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048)
"""Channels: four choices an octave from 32 on."""

STEM_WIDTHS, LAST_WIDTHS = tuple(w for w in WIDTHS if w <= 64), tuple(w for w in WIDTHS if w >= 128)


@dataclass(frozen=True, kw_only=True)
class ResNet(ImageSpace):
    """Networks of residual super-blocks; the defaults are the published ones for ImageNet.

    Raises:
        SpaceError: an option is out of bounds.
    """

    num_classes: Annotated[int, at.Interval(ge=2, le=100_000), "classes"] = 1000
    max_width: Annotated[int, at.Interval(ge=32, le=2048), "most channels of any super-block"] = 1024
    small_images: Annotated[bool, "keep the resolution in stem and first stage, as published for CIFAR"] = False

    def __post_init__(self) -> None:
        check_options(self, SpaceError)

    @property
    def name(self) -> str:
        """The name under which the space is installed."""
        return "resnet"

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The stem's channels; type, out, btn, depth of each super-block (depth 0 leaves it out); the last channels."""
        widths = tuple(width for width in WIDTHS if width <= self.max_width)
        genes = [Gene("stem.out", STEM_WIDTHS, ordered=True)]
        for stage in range(1, STAGES + 1):
            for slot in range(1, SLOTS + 1):
                block = f"stage{stage}.block{slot}"
                genes += [
                    Gene(f"{block}.type", TYPES),
                    Gene(f"{block}.out", widths, ordered=True),
                    Gene(f"{block}.btn", widths, ordered=True),
                    Gene(f"{block}.depth", tuple(range(1 if slot == 1 else 0, MAX_DEPTH + 1)), ordered=True),
                ]
        return (*genes, Gene("last.out", LAST_WIDTHS, ordered=True))

    @property
    def free_operators(self) -> frozenset[str]:
        """The addition of shortcuts, which fvcore does not count."""
        return frozenset({"aten::add"})

    def decode(self, genome: Genome) -> Structure:
        """The structure of ``genome``."""
        stem, *values, last = values_of(genome, self.genes, space=self.name)
        blocks = []
        for number in range(STAGES * SLOTS):
            kind, out, btn, depth = values[4 * number : 4 * number + 4]
            stage, slot = divmod(number, SLOTS)
            if depth:
                stride = self._strides[stage] if slot == 0 else 1
                blocks.append(SuperBlock(str(kind), int(out), stride, int(btn), int(depth)))
        return Structure(int(stem), self._stem_stride, tuple(blocks), int(last))

    def encode(self, architecture: Structure) -> Genome:
        """A genome of ``architecture``. A slot without a block repeats the one before: one step of its depth adds it.

        Raises:
            SpaceError: the genes cannot express it; the message names the first that cannot.
        """
        stages = _stages(architecture)
        if len(stages) != STAGES or any(len(stage) > SLOTS for stage in stages):
            raise SpaceError(
                f"{self.name}: must have {STAGES} stages (a stage begins at a stride of 2) of at most {SLOTS} "
                f"super-blocks, but has {[len(stage) for stage in stages]}: {architecture.key}"
            )
        values: list[GeneValue] = [architecture.stem]
        for stage in stages:
            for slot in range(SLOTS):
                block = stage[min(slot, len(stage) - 1)]
                values += [block.type, block.out, block.btn, block.depth if slot < len(stage) else 0]
        genome = genome_of([*values, architecture.last], self.genes, space=self.name)
        if self.decode(genome) != architecture:
            raise SpaceError(
                f"{self.name}: strides of stem and stages must be {self._stem_stride} and {self._strides}, but are "
                f"others: {architecture.key}"
            )
        return genome

    def parse(self, text: str) -> Structure:
        """The structure in its published text form; it need not be one that the genes can express.

        Raises:
            SpaceError: naming the position, what was expected there and what stands there.
        """
        return parse(text)

    def layers(self, architecture: Structure) -> int:
        """Published depth: the sum of depths, stem and last convolution being 1 each."""
        return 2 + sum(block.depth for block in architecture.blocks)

    def build(self, architecture: Structure) -> nn.Module:
        """The network: (N, channels_in, H, W) → logits (N, num_classes)."""
        return network.ResidualNetwork(
            stem=architecture.stem,
            stem_stride=architecture.stem_stride,
            blocks=tuple(astuple(block) for block in architecture.blocks),
            last=architecture.last,
            num_classes=self.num_classes,
            channels_in=self.channels_in,
        )

    def parts(self, architecture: Structure) -> Sequence[Part]:
        """Convolutions with their batch norms, and the classifier."""
        size = self.sides
        parts = [_conv(self.channels_in, architecture.stem, 3, architecture.stem_stride, False, size)]
        width, size = architecture.stem, reduced(size, architecture.stem_stride)
        for b in architecture.blocks:
            parts += _super_block(width, b.type, b.out, b.stride, b.btn, b.depth, size)
            width, size = b.out, reduced(size, b.stride)
        parts.append(_conv(width, architecture.last, 1, 1, False, size))
        return [*parts, _classifier(architecture.last, size, self.num_classes)]

    def chain(self, architecture: Structure) -> Sequence[Part]:
        """Stem, residual units, last convolution, classifier."""
        size, width = self.sides, architecture.stem
        blocks = [_conv_block(self.channels_in, width, 3, architecture.stem_stride, size)]
        size = reduced(size, architecture.stem_stride)
        for b in architecture.blocks:
            blocks.append(_unit_block(width, b.type, b.btn, b.out, b.stride, True, size))
            width, size = b.out, reduced(size, b.stride)
            if b.depth > 1 or b.type.count("K") == 3:
                blocks.append(_unit_block(width, b.type, b.btn, b.out, 1, False, size))  # others are like it
        last = _conv_block(width, architecture.last, 1, 1, size)
        return [*blocks, last, _classifier(architecture.last, size, self.num_classes)]

    def source(self, architecture: Structure) -> str:
        """The blocks this module builds from, verbatim, then the structure as constants and the class ``Network``."""
        return _SOURCE.format(
            blocks=inspect.getsource(network).rstrip(),
            stem=architecture.stem,
            stem_stride=architecture.stem_stride,
            rows="".join(f'    ("{b.type}", {b.out}, {b.stride}, {b.btn}, {b.depth}),\n' for b in architecture.blocks),
            last=architecture.last,
            num_classes=self.num_classes,
            channels_in=self.channels_in,
        )

    @property
    def _stem_stride(self) -> int:
        return 1 if self.small_images else 2

    @property
    def _strides(self) -> tuple[int, ...]:
        return (1, 2, 2, 2) if self.small_images else (2, 2, 2, 2)


_SOURCE = '''{blocks}


STEM_CHANNELS, STEM_STRIDE = {stem}, {stem_stride}
BLOCKS: tuple[Block, ...] = (
    # type, out, stride, btn, depth
{rows})
LAST_CHANNELS = {last}


class Network(ResidualNetwork):
    """The architecture above, for any number of classes."""

    def __init__(self, num_classes: int = {num_classes}, *, channels_in: int = {channels_in}) -> None:
        super().__init__(
            stem=STEM_CHANNELS,
            stem_stride=STEM_STRIDE,
            blocks=BLOCKS,
            last=LAST_CHANNELS,
            num_classes=num_classes,
            channels_in=channels_in,
        )
'''


def _stages(architecture: Structure) -> list[list[SuperBlock]]:
    """The super-blocks in groups, of which each begins with a stride of 2, or with the first."""
    stages: list[list[SuperBlock]] = []
    for block in architecture.blocks:
        if block.stride == 2 or not stages:
            stages.append([])
        stages[-1].append(block)
    return stages


@lru_cache(maxsize=2**14)
def _super_block(inputs: int, type: str, out: int, stride: int, btn: int, depth: int, size: Size) -> tuple[Part, ...]:
    """The units of one super-block; all after the first are alike."""
    after = reduced(size, stride)
    first = (*_unit(inputs, type, out, stride, btn, size), _conv(inputs, out, 1, stride, True, size))
    others = _unit(out, type, out, 1, btn, after)
    return first + others * ((2 * depth if type.count("K") == 3 else depth) - 1)


def _unit(inputs: int, type: str, out: int, stride: int, btn: int, size: Size) -> tuple[Part, ...]:
    kernel, after = int(type[3]), reduced(size, stride)
    if type.count("K") == 3:
        return (
            _conv(inputs, btn, 1, 1, False, size),
            _conv(btn, btn, kernel, stride, False, size),
            _conv(btn, out, 1, 1, False, after),
        )
    return _conv(inputs, btn, kernel, stride, False, size), _conv(btn, out, kernel, 1, False, after)


@lru_cache(maxsize=2**14)
def _conv(inputs: int, outputs: int, kernel: int, stride: int, bias: bool, size: Size) -> Part:
    return Part(
        kind=("conv", kernel, stride, bias, size),
        widths=(inputs, outputs),
        make=lambda i, o: (
            network.ConvBN(i, o, kernel=kernel, stride=stride, bias=bias),
            (i, *size),
        ),
    )


@lru_cache(maxsize=256)
def _classifier(inputs: int, size: Size, num_classes: int) -> Part:
    return Part(
        kind=("classifier", size),
        widths=(inputs, num_classes),
        make=lambda i, n: (network.Classifier(i, n), (i, *size)),
    )


@lru_cache(maxsize=2**14)
def _unit_block(inputs: int, type: str, btn: int, out: int, stride: int, project: bool, size: Size) -> Part:
    return Part(
        kind=("unit", type, stride, project, size),
        widths=(btn, inputs, out) if project else (btn, inputs),
        make=lambda b, i, o=None: (
            network.Unit(type, i, b, o or i, stride=stride, project=project),
            (i, *size),
        ),
    )


@lru_cache(maxsize=2**14)
def _conv_block(inputs: int, outputs: int, kernel: int, stride: int, size: Size) -> Part:
    return Part(
        kind=("block", kernel, stride, size),
        widths=(inputs, outputs),
        make=lambda i, o: (
            network.ConvBN(i, o, kernel=kernel, stride=stride, relu=True),
            (i, *size),
        ),
    )
