"""The topology space of NAS-Bench-201 (arXiv 2001.00326, NATS-Bench arXiv 2009.00437): five operations on six edges.

A cell has four nodes and an edge from every node to every later one. Its text is the benchmark's own::

    |nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|

one group for each of the nodes 1, 2, 3, with the operation and source of each of its edges. An edge is dead when its
source cannot be reached from the input or its target does not reach the output; dead edges are not built, and read
``none`` in the canonical text, which leaves 9,445 different cells of 15,625.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated

import annotated_types as at
from torch import nn

from search_spaces import nasbench201_network as network
from search_spaces.cells import live_edges
from search_spaces.resolution import AT, ImageSpace, Size
from search_spaces.scanner import Scanner
from vkdnw_search.errors import SpaceError, nearest
from vkdnw_search.options import check_options
from vkdnw_search.records import Gene, Genome, Part

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""The operations in the benchmark's order."""

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) in the order of the text."""

RESIDUAL = EDGES.index((0, 3))
"""The place of the edge from a cell's input to its output."""

_KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
_WORD = re.compile(r"\w+")

Side = Annotated[int, at.Interval(ge=4, le=1024), at.MultipleOf(4)]


@dataclass(frozen=True, slots=True)
class CellArchitecture:
    """A canonical cell: one operation for each of ``EDGES``, ``none`` on dead ones."""

    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", _without_dead_edges(self.operations))

    @property
    def key(self) -> str:
        """The benchmark's text of the canonical cell."""
        tokens = [f"{name}~{source}" for name, (source, _) in zip(self.operations, EDGES, strict=True)]
        return "+".join(f"|{'|'.join(tokens[start:stop])}|" for start, stop in ((0, 1), (1, 3), (3, 6)))

    @property
    def edges(self) -> tuple[network.Edge, ...]:
        """The live edges, ordered by target."""
        named = zip(EDGES, self.operations, strict=True)
        return tuple((source, target, name) for (source, target), name in named if name != "none")


@dataclass(frozen=True, kw_only=True)
class NasBench201(ImageSpace):
    """The 15,625 networks of NAS-Bench-201; the defaults are the benchmark's for CIFAR-10.

    Raises:
        SpaceError: an option is out of bounds.
    """

    num_classes: Annotated[int, at.Interval(ge=2, le=100_000), "classes: 10, 100 (CIFAR), 120 (ImageNet16-120)"] = 10
    resolution: Annotated[Side | tuple[Side, Side], f"{AT}; 32, or 16 for ImageNet16-120"] = 32
    channels: Annotated[int, at.Interval(ge=1, le=1024), "channels of the first stage, doubled by each later one"] = 16
    cells: Annotated[int, at.Interval(ge=1, le=64), "cells in each of the three stages"] = 5
    residual: Annotated[bool, "only cells whose input is added to their output (He et al. 2016)"] = False

    def __post_init__(self) -> None:
        check_options(self, SpaceError)

    @property
    def name(self) -> str:
        """The name under which the space is installed."""
        return "nasbench201"

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """One unordered gene for each edge that may vary, in the benchmark's order."""
        return tuple(
            Gene(f"node{target}.from{source}", OPERATIONS)
            for place, (source, target) in enumerate(EDGES)
            if not (self.residual and place == RESIDUAL)
        )

    @property
    def free_operators(self) -> frozenset[str]:
        """Sums at nodes, and pooling: fvcore counts neither, and both are small beside a convolution."""
        return frozenset({"aten::add", "aten::avg_pool2d"})

    @property
    def references(self) -> dict[str, str]:
        """The cell that makes the network a ResNet: two 3×3 convolutions in a row, and the shortcut around them."""
        return {"resnet": "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"}

    def decode(self, genome: Genome) -> CellArchitecture:
        """The canonical cell of ``genome``, an index into ``OPERATIONS`` for each gene."""
        if len(genome) != len(self.genes) or not all(0 <= index < len(OPERATIONS) for index in genome):
            count = "five" if self.residual else "six"
            raise SpaceError(
                f"{self.name} genome: must be {count} indices in 0 … 4, one for each gene, but is {genome}"
            )
        names = [OPERATIONS[index] for index in genome]
        if self.residual:
            names.insert(RESIDUAL, "skip_connect")
        return CellArchitecture(tuple(names))

    def encode(self, architecture: CellArchitecture) -> Genome:
        """The genome of the canonical cell.

        Raises:
            SpaceError: cells must be residual, and this one is not.
        """
        names = list(architecture.operations)
        if self.residual and (removed := names.pop(RESIDUAL)) != "skip_connect":
            raise SpaceError(
                f"{self.name} with residual: true: must have skip_connect from node 0 to node 3, but has {removed} in "
                f"{architecture.key}. With space.residual=false it is one of the space"
            )
        return tuple(OPERATIONS.index(name) for name in names)

    def parse(self, text: str) -> CellArchitecture:
        """The cell written in the benchmark's form, canonical or not.

        Raises:
            SpaceError: naming the position, what was expected there and what stands there.
        """
        scanner = Scanner(text.strip(), f"{self.name} cell")
        operations = []
        for source, target in EDGES:
            if source == 0:
                scanner.literal("|" if target == 1 else "+|")
            start = scanner.position
            name = scanner.pattern(_WORD, f"an operation for edge {source} → {target}")
            if name not in OPERATIONS:
                raise scanner.error(f"one of {', '.join(OPERATIONS)}", hint=nearest(name, OPERATIONS), at=start)
            scanner.literal(f"~{source}|")
            operations.append(name)
        scanner.end()
        return CellArchitecture(tuple(operations))

    def layers(self, architecture: CellArchitecture) -> int:
        """Convolutions and linear layers of the whole network: 8 + 15 for each convolution of the cell, by default."""
        fixed = 1 + 2 * 3 + 1  # stem, two reductions of three convolutions, classifier
        return fixed + 3 * self.cells * sum(name in _KERNELS for name in architecture.operations)

    def build(self, architecture: CellArchitecture) -> nn.Module:
        """The network of live edges: (N, channels_in, H, W) → logits (N, num_classes)."""
        return network.CellNetwork(
            architecture.edges,
            channels=self.channels,
            cells=self.cells,
            num_classes=self.num_classes,
            channels_in=self.channels_in,
        )

    def parts(self, architecture: CellArchitecture) -> Sequence[Part]:
        """Stem, reductions, classifier, and the cells' convolutions and pooling, which has no FLOPs but takes time."""
        working = [name for name in architecture.operations if name not in ("none", "skip_connect")]
        return [
            *_frame(self.input_shape, self.channels, self.num_classes),
            *(
                part
                for stage in range(3)
                for name in working
                for part in [_operation(name, self.channels << stage, _halved(self.sides, stage))] * self.cells
            ),
        ]

    def chain(self, architecture: CellArchitecture) -> Sequence[Part]:
        """Stem, reductions, classifier, and a cell of each stage, which are alike."""
        cells = [_cell(architecture.edges, self.channels << stage, _halved(self.sides, stage)) for stage in range(3)]
        return [*_frame(self.input_shape, self.channels, self.num_classes), *cells]

    def source(self, architecture: CellArchitecture) -> str:
        """The blocks this module builds from, verbatim, then the cell as constants and the class ``Network``."""
        edges = "".join(f'    ({source}, {target}, "{name}"),\n' for source, target, name in architecture.edges)
        return _SOURCE.format(
            blocks=inspect.getsource(network).rstrip(),
            key=architecture.key,
            edges=f"(\n{edges})" if edges else "()",
            channels=self.channels,
            cells=self.cells,
            num_classes=self.num_classes,
            channels_in=self.channels_in,
        )


_SOURCE = '''{blocks}


# {key}
EDGES: tuple[Edge, ...] = {edges}
CHANNELS = {channels}  # of the first stage; each of the two later ones doubles them
CELLS = {cells}  # in each stage


class Network(CellNetwork):
    """The architecture above, for any number of classes."""

    def __init__(self, num_classes: int = {num_classes}, *, channels_in: int = {channels_in}) -> None:
        super().__init__(EDGES, channels=CHANNELS, cells=CELLS, num_classes=num_classes, channels_in=channels_in)
'''


def _without_dead_edges(operations: tuple[str, ...]) -> tuple[str, ...]:
    """``operations`` with ``none`` on every edge that is on no path from node 0 to node 3."""
    present = [edge for edge, name in zip(EDGES, operations, strict=True) if name != "none"]
    live = live_edges(present, source=0, target=3)
    return tuple(name if edge in live else "none" for edge, name in zip(EDGES, operations, strict=True))


def _halved(size: Size, times: int) -> Size:
    """Height and width, multiples of 4, after up to two reductions."""
    height, width = size
    return height >> times, width >> times


@lru_cache(maxsize=4096)
def _cell(edges: tuple[network.Edge, ...], channels: int, size: Size) -> Part:
    """The part that is a whole cell."""
    return Part(
        kind=("cell", edges, channels, size),
        widths=(),
        make=lambda: (network.Cell(edges, channels), (channels, *size)),
    )


@lru_cache(maxsize=256)
def _operation(name: str, channels: int, size: Size) -> Part:
    """The part that is one edge of a cell."""
    return Part(
        kind=(name, channels, size),
        widths=(),
        make=lambda: (network.operation(name, channels), (channels, *size)),
    )


@lru_cache(maxsize=256)
def _frame(input_shape: tuple[int, int, int], channels: int, num_classes: int) -> tuple[Part, ...]:
    """The parts that all networks have around their cells. Widths are fixed in this space, so they are part of the
    kind.
    """
    channels_in, size = input_shape[0], input_shape[1:]
    blocks = (
        (lambda: network.Stem(channels, channels_in), input_shape),
        (lambda: network.Reduction(channels, 2 * channels), (channels, *size)),
        (lambda: network.Reduction(2 * channels, 4 * channels), (2 * channels, *_halved(size, 1))),
        (lambda: network.Classifier(4 * channels, num_classes), (4 * channels, *_halved(size, 2))),
    )
    return tuple(
        Part(
            kind=("frame", number, channels, input_shape, num_classes),
            widths=(),
            make=lambda block=block, shape=shape: (block(), shape),
        )
        for number, (block, shape) in enumerate(blocks)
    )
