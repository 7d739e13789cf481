"""The MobileNetV3 space of Once-for-all (Cai et al., ICLR 2020, arXiv 1908.09791), in which accuracies are known.

Five stages of two to four blocks, each with a kernel of 3, 5 or 7 and an expansion of 3, 4 or 6: some 2·10¹⁹ networks,
all of width 1.0. A network's text has a token for each block that is there; stages are set apart by ``-``::

    k5e4_k7e3-k3e4_k3e6_k3e3-k5e4_k5e3-k7e3_k3e6_k3e6_k3e6-k5e4_k5e3_k5e4

Built on its own a network is initialized like any other; the published accuracies are those of weights inherited
from a supernet. :mod:`vkdnw_search.ranking.ofa` reads tables of them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated

import annotated_types as at
from torch import nn

from search_spaces import ofa_mobilenetv3_network as network
from search_spaces.genomes import genome_of, values_of
from search_spaces.resolution import ImageSpace, Size, reduced
from search_spaces.scanner import Scanner
from vkdnw_search.errors import SpaceError
from vkdnw_search.options import check_options
from vkdnw_search.records import Gene, GeneValue, Genome, Part

DEPTHS, KERNELS, EXPANSIONS = (2, 3, 4), (3, 5, 7), (3, 4, 6)
"""What may be chosen: for each stage, and for each of its blocks."""

SLOTS = DEPTHS[-1]
"""Blocks a stage has at most."""

FREE = ("add", "mul", "hardswish", "hardsigmoid")
"""Shortcuts, squeeze-excitation and activations, which fvcore does not count."""

_MORE = re.compile("_")


@dataclass(frozen=True, slots=True)
class SubNetwork:
    """A network: (kernel, expansion) of each block, in five stages.

    Raises:
        SpaceError: there are not five stages of two to four blocks each.
    """

    stages: tuple[tuple[network.Block, ...], ...]

    def __post_init__(self) -> None:
        depths = [len(stage) for stage in self.stages]
        if len(depths) != len(network.STAGES) or not set(depths) <= set(DEPTHS):
            raise SpaceError(
                f"ofa_mobilenetv3 network: must have {len(network.STAGES)} stages of {DEPTHS[0]} to {SLOTS} blocks, "
                f"but they have {depths}"
            )

    @property
    def key(self) -> str:
        """Its text."""
        return "-".join("_".join(f"k{kernel}e{expansion}" for kernel, expansion in stage) for stage in self.stages)


@dataclass(frozen=True, kw_only=True)
class OfaMobileNetV3(ImageSpace):
    """Sub-networks of Once-for-all's MobileNetV3-Large at width 1.0; the defaults are those for ImageNet.

    Raises:
        SpaceError: an option is out of bounds.
    """

    num_classes: Annotated[int, at.Interval(ge=2, le=100_000), "classes"] = 1000

    def __post_init__(self) -> None:
        check_options(self, SpaceError)

    @property
    def name(self) -> str:
        """The name it is installed under."""
        return "ofa_mobilenetv3"

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """For each stage its depth, then kernel and expansion of each block that the largest depth has."""
        genes: list[Gene] = []
        for stage in range(1, len(network.STAGES) + 1):
            genes.append(Gene(f"stage{stage}.depth", DEPTHS, ordered=True))
            for block in range(1, SLOTS + 1):
                genes.append(Gene(f"stage{stage}.block{block}.kernel", KERNELS, ordered=True))
                genes.append(Gene(f"stage{stage}.block{block}.expansion", EXPANSIONS, ordered=True))
        return tuple(genes)

    @property
    def free_operators(self) -> frozenset[str]:
        """What fvcore does not count, in a MobileNetV3."""
        return frozenset(f"aten::{name}" for name in FREE)

    def decode(self, genome: Genome) -> SubNetwork:
        """The network of ``genome``. Genes of blocks beyond a stage's depth say nothing."""
        values = [int(value) for value in values_of(genome, self.genes, space=self.name)]
        length = 1 + 2 * SLOTS
        stages = (values[start : start + length] for start in range(0, len(values), length))
        return SubNetwork(
            tuple(
                tuple(zip(blocks[: 2 * depth : 2], blocks[1 : 2 * depth : 2], strict=True)) for depth, *blocks in stages
            )
        )

    def encode(self, architecture: SubNetwork) -> Genome:
        """A genome of ``architecture``; blocks beyond a stage's depth repeat the last."""
        values: list[GeneValue] = []
        for stage in architecture.stages:
            blocks = [*stage, *[stage[-1]] * (SLOTS - len(stage))]
            values += [len(stage), *(value for block in blocks for value in block)]
        return genome_of(values, self.genes, space=self.name)

    def parse(self, text: str) -> SubNetwork:
        """The network written as ``text``.

        Raises:
            SpaceError: naming the position, what was expected there and what stands there.
        """
        scanner = Scanner(text.strip(), f"{self.name} network")
        stages: list[tuple[network.Block, ...]] = []
        for stage in range(len(network.STAGES)):
            if stage:
                scanner.literal("-")
            stages.append(_stage(scanner))
        scanner.end()
        return SubNetwork(tuple(stages))

    def layers(self, architecture: SubNetwork) -> int:
        """Blocks of the five stages, 10 to 20: the sum of their depths."""
        return sum(map(len, architecture.stages))

    def build(self, architecture: SubNetwork) -> nn.Module:
        """The network: (N, channels_in, H, W) → logits (N, num_classes)."""
        return network.OfaMobileNetV3Network(
            architecture.stages, num_classes=self.num_classes, channels_in=self.channels_in
        )

    def parts(self, architecture: SubNetwork) -> Sequence[Part]:
        """Stem, blocks, last convolution, classifier. Widths have few values in this space, so they are in the kind."""
        parts = [_part(network.Stem, self.channels_in, self.sides, self.channels_in)]
        width, size = network.STEM, reduced(self.sides, 2)
        for stage, blocks in enumerate(architecture.stages):
            channels, stride, *_ = network.STAGES[stage]
            for number, (kernel, expansion) in enumerate(blocks):
                parts.append(_part(_unit, width, size, stage, kernel, expansion, number == 0))
                width, size = channels, size if number else reduced(size, stride)
        parts.append(_part(network.Last, width, size))
        return [*parts, _part(network.Classifier, network.LAST, size, self.num_classes)]

    def chain(self, architecture: SubNetwork) -> Sequence[Part]:
        """The parts, which are whole blocks."""
        return self.parts(architecture)

    def source(self, architecture: SubNetwork) -> str:
        """The blocks this module builds from, verbatim, then the network as a constant and the class ``Network``."""
        return _SOURCE.format(
            blocks=inspect.getsource(network).rstrip(),
            rows="".join(f"    {stage},\n" for stage in architecture.stages),
            num_classes=self.num_classes,
            channels_in=self.channels_in,
        )


_SOURCE = '''{blocks}


BLOCKS: tuple[tuple[Block, ...], ...] = (
    # kernel and expansion of each block, a line for each stage
{rows})


class Network(OfaMobileNetV3Network):
    """The architecture above, for any number of classes."""

    def __init__(self, num_classes: int = {num_classes}, *, channels_in: int = {channels_in}) -> None:
        super().__init__(BLOCKS, num_classes=num_classes, channels_in=channels_in)
'''


def _stage(scanner: Scanner) -> tuple[network.Block, ...]:
    """Read the blocks of one stage, as many as there are."""
    start, blocks = scanner.position, list[network.Block]()
    while not blocks or _MORE.match(scanner.text, scanner.position):
        scanner.literal("_k" if blocks else "k")
        kernel = scanner.number("a kernel", allowed=KERNELS)
        scanner.literal("e")
        blocks.append((kernel, scanner.number("an expansion", allowed=EXPANSIONS)))
    if len(blocks) not in DEPTHS:
        raise scanner.error(f"a stage of {DEPTHS[0]} to {SLOTS} blocks", at=start)
    return tuple(blocks)


def _unit(stage: int, kernel: int, expansion: int, first: bool) -> nn.Module:
    return network.StageUnit(stage, kernel, expansion, first=first)


@lru_cache(maxsize=1024)
def _part(make: Callable[..., nn.Module], channels: int, size: Size, *arguments: int) -> Part:
    """What ``make(*arguments)`` gives, for an input of that many channels and that size."""
    shape = (channels, *size)
    return Part(kind=(make.__name__, shape, arguments), widths=(), make=lambda: (make(*arguments), shape))
