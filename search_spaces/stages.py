"""A space of mobile networks that a recipe writes down itself, in the words of timm's model strings.

    space:
      use: stages
      stages: [ds_r1_k3_s1_c16, ir_r1/2/3_k3/5_s2_e3/6_c24/32, ir_r2/3_k3/5/7_s2_e6_c64/96]

Each field of a stage is a value or several, separated by a slash, among which the search chooses
(:mod:`search_spaces.stages_structure`). By default the space surrounds MobileNetV2 (arXiv 1801.04381).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from itertools import product
from typing import Annotated, Literal

import annotated_types as at
from torch import nn

from search_spaces import stages_network as network
from search_spaces.genomes import genome_of, values_of
from search_spaces.resolution import ImageSpace, Side, Size
from search_spaces.stages_parts import chain_of, parts_of
from search_spaces.stages_structure import PUBLISHED, Network, StageChoices, Unit, parse_network, parse_stage
from vkdnw_search.errors import SpaceError
from vkdnw_search.options import check_options
from vkdnw_search.records import Gene, Genome, Part

AROUND_MOBILENET = (
    "ds_r1_k3_s1_c16/24",
    "ir_r1/2/3_k3/5/7_s2_e3/6_c24/32",
    "ir_r2/3/4_k3/5/7_s2_e3/6_c32/40/48",
    "ir_r2/3/4_k3/5/7_s2_e3/6_c64/80",
    "ir_r2/3/4_k3/5/7_s1_e3/6_c96/112",
    "ir_r2/3/4_k3/5/7_s2_e3/6_c160/192",
    "ir_r1_k3/5/7_s1_e3/6_c320",
)
"""Contains MobileNetV2 itself."""

FREE = ("add", "mul", "sigmoid", "silu", "hardtanh", "hardswish")
"""Shortcuts, squeeze-excitation and activations, which fvcore does not count."""


@dataclass(frozen=True, kw_only=True)
class Stages(ImageSpace):
    """Mobile networks of stages that the recipe gives as text.

    Raises:
        SpaceError: a stage is not well written, or nothing is left to choose.
    """

    stages: Annotated[
        tuple[str, ...],
        at.Len(1, 32),
        "e.g. ir_r1/2_k3/5_s2_e6_c24: r blocks, kernel, stride, expansion, channels; types cn, ds, ir, er",
    ] = AROUND_MOBILENET
    stem: Annotated[int, at.Interval(ge=1, le=1024), "channels of the first convolution"] = 32
    stem_stride: Annotated[Literal[1, 2], "of the first convolution; 1 for small images"] = 2
    last: Annotated[int, at.Interval(ge=1, le=8192), "channels of the last convolution"] = 1280
    activation: Annotated[Literal["relu", "relu6", "silu", "hardswish"], "after convolutions"] = "relu6"
    num_classes: Annotated[int, at.Interval(ge=2, le=100_000), "classes"] = 1000
    resolutions: Annotated[
        tuple[Side, ...], at.Len(0, 16), "heights and widths among which the search chooses, in place of resolution"
    ] = ()

    def __post_init__(self) -> None:
        check_options(self, SpaceError)
        if len(set(self.resolutions)) < len(self.resolutions):
            raise SpaceError(f"Stages, resolutions: must be different, but are {', '.join(map(str, self.resolutions))}")
        if not self.genes:
            raise SpaceError("Stages, stages: at least one field must have choices, such as k3/5, but none has")

    @property
    def name(self) -> str:
        """The name under which the space is installed."""
        return "stages"

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The resolution, where there are several, and one ordered gene for each field with choices."""
        images = [Gene("resolution", self._sides, ordered=True)] if len(self._sides) > 1 else []
        fields = (
            Gene(f"stage{number}.{name}", values, ordered=True)
            for number, stage in enumerate(self._stages, start=1)
            for name, values in stage.choices.items()
            if len(values) > 1
        )
        return (*images, *fields)

    @property
    def sides(self) -> Size:
        """Height and width of an input, the largest where they are searched."""
        return (self._sides[-1], self._sides[-1]) if self._sides else super().sides

    def input_shape_of(self, architecture: Network) -> tuple[int, int, int]:
        """The shape of one input of a network, (C, H, W)."""
        side = architecture.side
        return self.input_shape if side is None else (self.channels_in, side, side)

    @property
    def free_operators(self) -> frozenset[str]:
        """What fvcore does not count, in a mobile network."""
        return frozenset(f"aten::{name}" for name in FREE)

    @property
    def references(self) -> dict[str, str]:
        """MobileNetV2 or EfficientNet-B0, if the activation is theirs; their stem has the stride of the recipe's."""
        return {n: t.replace("s2", f"s{self.stem_stride}", 1) for n, t in PUBLISHED.get(self.activation, {}).items()}

    def decode(self, genome: Genome) -> Network:
        """The network of ``genome``."""
        chosen = iter(values_of(genome, self.genes, space=self.name))
        side = int(next(chosen)) if len(self._sides) > 1 else None
        units: list[Unit] = []
        for stage in self._stages:
            values = {n: float(next(chosen)) if len(v) > 1 else v[0] for n, v in stage.choices.items()}
            units += stage.units(values)
        return Network(self.stem, self.stem_stride, tuple(units), self.last, side)

    def encode(self, architecture: Network) -> Genome:
        """A genome of ``architecture``.

        Raises:
            SpaceError: no choice of the stages gives it.
        """
        ends = (architecture.stem, architecture.stem_stride, architecture.last)
        found = next(_choices(architecture.blocks, self._stages), None)
        if found is None or ends != (self.stem, self.stem_stride, self.last):
            told = "-".join([f"c{self.stem}_s{self.stem_stride}", *self.stages, f"c{self.last}"])
            raise SpaceError(f"{self.name}: must be a choice of {told}, but is {architecture.key}")
        side = [] if architecture.side is None else [architecture.side]
        chosen = [
            values[name]
            for stage, values in zip(self._stages, found, strict=True)
            for name in stage.choices
            if len(stage.choices[name]) > 1
        ]
        return genome_of([*side, *chosen], self.genes, space=self.name)

    def parse(self, text: str) -> Network:
        """The network written as ``text``; it need not be one that the genes can express.

        One without a resolution, in a space with several, is for the largest of them.

        Raises:
            SpaceError: the text is no such network, or has a resolution where the space has one alone.
        """
        parsed = parse_network(text)
        if len(self._sides) > 1:
            return parsed if parsed.side is not None else replace(parsed, side=self._sides[-1])
        if parsed.side is not None:
            raise SpaceError(
                f"{self.name}: a text must begin with a resolution only where the option resolutions has several, but "
                f"this one begins with {parsed.side}px: {parsed.key}"
            )
        return parsed

    def layers(self, architecture: Network) -> int:
        """Blocks, stem and last convolution being 1 each."""
        return 2 + len(architecture.blocks)

    def build(self, architecture: Network) -> nn.Module:
        """The network: (N, channels_in, H, W) → logits (N, num_classes)."""
        return network.MobileNetwork(
            stem=architecture.stem,
            stem_stride=architecture.stem_stride,
            blocks=tuple(astuple(unit) for unit in architecture.blocks),
            last=architecture.last,
            act=self.activation,
            num_classes=self.num_classes,
            channels_in=self.channels_in,
        )

    def parts(self, architecture: Network) -> Sequence[Part]:
        """Convolutions with their batch norms, squeeze-excitations, and the classifier."""
        return parts_of(architecture, self.input_shape_of(architecture), self.activation, self.num_classes)

    def chain(self, architecture: Network) -> Sequence[Part]:
        """Stem, units, last convolution, classifier."""
        return chain_of(architecture, self.input_shape_of(architecture), self.activation, self.num_classes)

    def source(self, architecture: Network) -> str:
        """The blocks this module builds from, verbatim, then the network as constants and the class ``Network``."""
        return _SOURCE.format(
            blocks=inspect.getsource(network).rstrip(),
            stem=architecture.stem,
            stem_stride=architecture.stem_stride,
            rows="".join(
                f'    ("{u.type}", {u.kernel}, {u.stride}, {u.expansion}, {u.out}, {u.se}),\n'
                for u in architecture.blocks
            ),
            last=architecture.last,
            act=self.activation,
            num_classes=self.num_classes,
            channels_in=self.channels_in,
        )

    @cached_property
    def _sides(self) -> tuple[int, ...]:
        return tuple(sorted(self.resolutions))

    @cached_property
    def _stages(self) -> tuple[StageChoices, ...]:
        return tuple(map(parse_stage, self.stages))


_SOURCE = '''{blocks}


STEM_CHANNELS, STEM_STRIDE = {stem}, {stem_stride}
BLOCKS: tuple[Block, ...] = (
    # type, kernel, stride, expansion, out, squeeze-excitation ratio
{rows})
LAST_CHANNELS = {last}


class Network(MobileNetwork):
    """The architecture above, for any number of classes."""

    def __init__(self, num_classes: int = {num_classes}, *, channels_in: int = {channels_in}) -> None:
        super().__init__(
            stem=STEM_CHANNELS,
            stem_stride=STEM_STRIDE,
            blocks=BLOCKS,
            last=LAST_CHANNELS,
            act="{act}",
            num_classes=num_classes,
            channels_in=channels_in,
        )
'''


def _choices(units: tuple[Unit, ...], stages: tuple[StageChoices, ...]) -> Iterator[list[dict[str, float]]]:
    """Every way to read ``units`` as a choice of each of ``stages``, as the values of their fields."""
    if not stages:
        if not units:
            yield []
        return
    stage, *others = stages
    for values in product(*stage.choices.values()):
        named = dict(zip(stage.choices, values, strict=True))
        made = stage.units(named)
        if units[: len(made)] == made:
            yield from ([named, *rest] for rest in _choices(units[len(made) :], tuple(others)))
