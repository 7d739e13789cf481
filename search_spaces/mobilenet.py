"""The MobileNetV2 space published with ZenNAS (arXiv 2102.01063) and searched by ZiCo, AZ-NAS and VKDNW.

Four stages, each halving the resolution at its first super-block, with up to three super-blocks each, as genes of
fixed length. Beside this file, ``mobilenet_structure`` has the published text form, ``mobilenet_network`` the PyTorch
modules, ``mobilenet_parts`` what is counted, ``mobilenet_mutation`` the published mutation, ``mobilenet_widths`` the
rule that keeps widths sensible.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property, lru_cache
from itertools import chain
from typing import Annotated, Literal

import annotated_types as at
import numpy as np
from torch import nn

from search_spaces import mobilenet_network as network
from search_spaces.genomes import genome_of, values_of
from search_spaces.mobilenet_mutation import PUBLISHED_TYPES, mutated
from search_spaces.mobilenet_parts import chain_of, parts_of
from search_spaces.mobilenet_structure import MOBILENETV2_LIKE, TYPES, Structure, SuperBlock, parse
from search_spaces.mobilenet_widths import widened
from search_spaces.resolution import ImageSpace
from vkdnw_search.errors import SpaceError
from vkdnw_search.options import check_options
from vkdnw_search.records import Gene, GeneValue, Genome, Part

STAGES, SLOTS = 4, 3
"""Stages, and super-blocks a stage has at most. No published network has more than two in a stage."""

MAX_DEPTH = 5
"""The largest depth of a super-block: published ones are split in two at 6."""

STEM_WIDTH = 64
"""The widest stem. The cap doubles with every stage, up to ``max_width``: since the resolution halves, a residual unit
at the cap costs the same, 100M multiply-adds at 224 px, in every stage. The published networks of up to 600M FLOPs that
``tests/golden`` lists use at most half of it."""

TYPE_NAMES = tuple(f"E{expansion}K{kernel}" for expansion, kernel in TYPES)


@dataclass(frozen=True, kw_only=True)
class MobileNet(ImageSpace):
    """Networks of inverted residual super-blocks; the defaults are the published ones for ImageNet.

    Raises:
        SpaceError: an option is out of bounds.
    """

    num_classes: Annotated[int, at.Interval(ge=2, le=100_000), "classes"] = 1000
    last_width: Annotated[int, at.Interval(ge=8, le=16_384), "channels of the last convolution, never searched"] = 2048
    max_width: Annotated[
        int, at.Interval(ge=64, le=4096), at.MultipleOf(8), "most channels of any super-block; early stages have less"
    ] = 512
    least_width: Annotated[
        float, at.Interval(ge=0, le=1), "a block has at least this share of the most channels before it; 0: any"
    ] = 0.7
    least_waist: Annotated[
        float, at.Interval(ge=0, le=1), "inside a block are at least this share of the most channels before it; 0: any"
    ] = 0.5
    least_bottleneck: Annotated[
        float, at.Interval(ge=0, le=1), "inside a block are at least this share of its own channels; 0: any"
    ] = 0
    least_stem: Annotated[
        int, at.Interval(ge=8, le=STEM_WIDTH), at.MultipleOf(8), "fewest channels of the stem; 8: as published"
    ] = 16
    type_bias: Annotated[
        Literal["uniform", "published"], "how a mutation draws types: alike, or as the published code does"
    ] = "uniform"
    replacements: Annotated[int, at.Interval(ge=1, le=14), "blocks that one mutation draws anew"] = 2

    def __post_init__(self) -> None:
        check_options(self, SpaceError)

    @property
    def name(self) -> str:
        """The name under which the space is installed."""
        return "mobilenet"

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The stem's channels, then type, out, btn and depth of each super-block; depth 0 leaves it out."""
        genes = [Gene("stem.out", self._widths(0), ordered=True)]
        for stage in range(1, STAGES + 1):
            for slot in range(1, SLOTS + 1):
                block = f"stage{stage}.block{slot}"
                genes += [
                    Gene(f"{block}.type", TYPE_NAMES),
                    Gene(f"{block}.out", self._widths(stage), ordered=True),
                    Gene(f"{block}.btn", self._widths(stage), ordered=True),
                    Gene(f"{block}.depth", tuple(range(1 if slot == 1 else 0, MAX_DEPTH + 1)), ordered=True),
                ]
        return tuple(genes)

    @property
    def free_operators(self) -> frozenset[str]:
        """The addition of shortcuts, which fvcore does not count."""
        return frozenset({"aten::add"})

    @property
    def references(self) -> dict[str, str]:
        """MobileNetV2's channels and strides in super-blocks; the units are those of this space, not MobileNetV2's."""
        blocks = (SuperBlock(6, 3, out, stride, out, depth) for out, stride, depth in MOBILENETV2_LIKE)
        return {"mobilenetv2_like": Structure(32, tuple(blocks), self.last_width).key}

    def decode(self, genome: Genome) -> Structure:
        """The canonical structure of ``genome``."""
        return self._structure(*self._read(genome))

    def encode(self, architecture: Structure) -> Genome:
        """A genome of ``architecture``.

        Raises:
            SpaceError: the genes cannot express it; the message names the first that cannot.
        """
        if architecture.last != self.last_width:
            raise SpaceError(f"{self.name}, last_width: is {self.last_width}, but the network has {architecture.last}")
        if architecture.stem < self.least_stem:
            raise SpaceError(
                f"{self.name}, least_stem: the stem must have {self.least_stem} channels at least, but has "
                f"{architecture.stem}: {architecture.key}. Set it to {architecture.stem} to allow this one"
            )
        stages: list[list[SuperBlock]] = []
        for block in architecture.blocks:
            if block.stride == 2:
                stages.append([])
            if not stages:
                raise SpaceError(
                    f"{self.name}: the first super-block must have stride 2, but has 1: {architecture.key}"
                )
            stages[-1] += _pieces(block)
        if len(stages) != STAGES or any(len(stage) > SLOTS for stage in stages):
            raise SpaceError(
                f"{self.name}: must have {STAGES} stages (a stage begins at a stride of 2) of at most {SLOTS} "
                f"super-blocks of depth {MAX_DEPTH}, but has {[len(stage) for stage in stages]}: {architecture.key}"
            )
        genome = self._write(architecture.stem, stages)
        for block, wide in zip(chain(*stages), chain(*self._widened(architecture.stem, stages)), strict=True):
            if block != wide:
                raise SpaceError(
                    f"{self.name}: widths must not fall below least_width = {self.least_width:g} of the widest before, "
                    f"nor btn below least_waist = {self.least_waist:g} of it or least_bottleneck = "
                    f"{self.least_bottleneck:g} of out, but the block {block.out}, {block.btn} (out, btn) would have "
                    f"to be {wide.out}, {wide.btn}: {architecture.key}. Set these options to 0 to allow any widths"
                )
        return genome

    def parse(self, text: str) -> Structure:
        """The structure in its published text form; it need not be one that the genes can express.

        Raises:
            SpaceError: naming the position, what was expected there and what stands there.
        """
        return parse(text)

    def layers(self, architecture: Structure) -> int:
        """The published depth: the sum of depths, each two residual units; stem and last convolution are 1 each."""
        return 2 + sum(block.depth for block in architecture.blocks)

    def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """The published mutation (:mod:`search_spaces.mobilenet_mutation`), drawn again until the network differs."""
        stem, stages = self._read(genome)
        before = self._structure(stem, stages)
        while True:
            changed = mutated(
                stem,
                stages,
                caps=[self._cap(stage) for stage in range(STAGES + 1)],
                replacements=self.replacements,
                types=TYPES if self.type_bias == "uniform" else PUBLISHED_TYPES,
                slots=SLOTS,
                max_depth=MAX_DEPTH,
                rng=rng,
            )
            wide = max(changed[0], self.least_stem)
            changed = wide, self._widened(wide, changed[1])
            if self._structure(*changed) != before:
                return self._write(*changed)

    def build(self, architecture: Structure) -> nn.Module:
        """The network: (N, channels_in, H, W) → logits (N, num_classes)."""
        return network.SuperBlockNetwork(
            stem=architecture.stem,
            blocks=tuple(astuple(block) for block in architecture.blocks),
            last=architecture.last,
            num_classes=self.num_classes,
            channels_in=self.channels_in,
        )

    def parts(self, architecture: Structure) -> Sequence[Part]:
        """Convolutions with their batch norms, and the classifier."""
        return parts_of(architecture, self.input_shape, num_classes=self.num_classes)

    def chain(self, architecture: Structure) -> Sequence[Part]:
        """Stem, residual units, last convolution, classifier."""
        return chain_of(architecture, self.input_shape, num_classes=self.num_classes)

    def source(self, architecture: Structure) -> str:
        """The blocks this module builds from, verbatim, then the structure as constants and the class ``Network``."""
        return _SOURCE.format(
            blocks=inspect.getsource(network).rstrip(),
            shape=" × ".join(map(str, self.input_shape)),
            stem=architecture.stem,
            rows="".join(f"    {astuple(block)},\n" for block in architecture.blocks),
            last=architecture.last,
            num_classes=self.num_classes,
            channels_in=self.channels_in,
        )

    def _structure(self, stem: int, stages: Sequence[Sequence[SuperBlock]]) -> Structure:
        return Structure(stem, tuple(block for stage in stages for block in stage), self.last_width)

    def _widths(self, stage: int) -> tuple[int, ...]:
        return tuple(range(8 if stage else self.least_stem, self._cap(stage) + 1, 8))

    def _cap(self, stage: int) -> int:
        """The most channels of a stage; stage 0 is the stem."""
        return min(self.max_width, STEM_WIDTH << stage)

    def _read(self, genome: Genome) -> tuple[int, list[list[SuperBlock]]]:
        """The stem's channels and each stage's super-blocks: not merged, and widened where the genes are too narrow."""
        values = values_of(genome, self.genes, space=self.name)
        stages: list[list[SuperBlock]] = []
        for start in range(1, len(values), 4 * SLOTS):
            rows = (values[i : i + 4] for i in range(start, start + 4 * SLOTS, 4))
            stages.append([_block(*row, stride=2 if slot == 0 else 1) for slot, row in enumerate(rows) if row[3]])
        return int(values[0]), self._widened(int(values[0]), stages)

    def _widened(self, stem: int, stages: list[list[SuperBlock]]) -> list[list[SuperBlock]]:
        """These super-blocks, none narrower than the options allow."""
        width, waist, bottleneck = self.least_width, self.least_waist, self.least_bottleneck
        return widened(stem, stages, least_width=width, least_waist=waist, least_bottleneck=bottleneck)

    def _write(self, stem: int, stages: Sequence[Sequence[SuperBlock]]) -> Genome:
        """The genome of these blocks. A slot without a block repeats the one before: one step of its depth adds it."""
        values: list[GeneValue] = [stem]
        for stage in stages:
            absent = [replace(stage[-1], depth=0)] * (SLOTS - len(stage))
            for block in [*stage, *absent]:
                values += [f"E{block.expansion}K{block.kernel}", block.out, block.btn, block.depth]
        return genome_of(values, self.genes, space=self.name)


_SOURCE = '''{blocks}


# For inputs of {shape}, though any height and width work.
STEM_CHANNELS = {stem}
BLOCKS: tuple[Block, ...] = (
    # expansion, kernel, out, stride, btn, depth
{rows})
LAST_CHANNELS = {last}


class Network(SuperBlockNetwork):
    """The architecture above, for any number of classes; the other options are those of SuperBlockNetwork."""

    def __init__(
        self,
        num_classes: int = {num_classes},
        *,
        channels_in: int = {channels_in},
        squeeze_excitation: bool = False,
        drop_path: float = 0.0,
        dropout: float = 0.0,
        bn_momentum: float = 0.1,
    ) -> None:
        super().__init__(
            stem=STEM_CHANNELS,
            blocks=BLOCKS,
            last=LAST_CHANNELS,
            num_classes=num_classes,
            channels_in=channels_in,
            squeeze_excitation=squeeze_excitation,
            drop_path=drop_path,
            dropout=dropout,
            bn_momentum=bn_momentum,
        )
'''


@lru_cache(maxsize=2**14)
def _block(name: GeneValue, out: GeneValue, btn: GeneValue, depth: GeneValue, *, stride: int) -> SuperBlock:
    """The super-block of four gene values."""
    expansion, kernel = TYPES[TYPE_NAMES.index(str(name))]
    return SuperBlock(expansion, kernel, int(out), stride, int(btn), int(depth))


def _pieces(block: SuperBlock) -> list[SuperBlock]:
    """``block``, which may be a merger of several, in pieces no deeper than a gene can say."""
    if block.btn == block.out:  # pieces of such a block are another network: they begin with a projection
        return [block]
    depths = [min(MAX_DEPTH, block.depth - start) for start in range(0, block.depth, MAX_DEPTH)]
    return [replace(block, depth=depth, stride=1 if number else block.stride) for number, depth in enumerate(depths)]
