"""The cells of TransNAS-Bench-101 (Duan et al., CVPR 2021, arXiv 2105.11871): four operations on six edges.

A cell has four nodes and an edge from every node to every later one. Ten of them stand in five modules of two, which
are fixed. A network's text is the benchmark's own, the stem's channels, the modules, and a digit for each edge::

    64-41414-1_02_333

the edges 1>2 _ 1>3 2>3 _ 1>4 2>4 3>4, each with 0 none, 1 skip, 2 1×1 convolution, 3 3×3 convolution. An edge is dead
when its source cannot be reached from node 1 or its target does not reach node 4. Dead edges are not built, and read 0
in the canonical text: in the benchmark they were built, and its counts include them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from search_spaces import transnas_network as network
from search_spaces.cells import live_edges
from search_spaces.genomes import genome_of, values_of
from search_spaces.scanner import Scanner
from search_spaces.transnas_tasks import Block, TransNas, UnitShape
from vkdnw_search.records import Gene, Genome, Part

MODULES = "41414"
"""The modules: 4 doubles the channels and halves the resolution, 1 does neither."""

OPERATIONS = ("none", "skip", "conv_1x1", "conv_3x3")
"""The operations in the order of the benchmark's digits."""

EDGES = ((1, 2), (1, 3), (2, 3), (1, 4), (2, 4), (3, 4))
"""(source, target) in the order of the text."""

_DIGIT = re.compile("[0-3]")


@dataclass(frozen=True, slots=True)
class TransNasCell:
    """A canonical cell behind a stem of so many channels: a digit for each of ``EDGES``, 0 on dead ones."""

    channels: int
    operations: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", _without_dead_edges(self.operations))

    @property
    def key(self) -> str:
        """The benchmark's text of the canonical network."""
        digits = "".join(map(str, self.operations))
        return f"{self.channels}-{MODULES}-{digits[:1]}_{digits[1:3]}_{digits[3:]}"

    @property
    def edges(self) -> tuple[network.Edge, ...]:
        """The live edges, ordered by target."""
        pairs = zip(EDGES, self.operations, strict=True)
        return tuple((source, target, choice) for (source, target), choice in pairs if choice)


@dataclass(frozen=True, kw_only=True)
class TransNasMicro(TransNas):
    """The 4,096 cells of TransNAS-Bench-101; the defaults are those with known accuracies.

    Raises:
        SpaceError: an option is out of bounds.
    """

    @property
    def name(self) -> str:
        """The name under which the space is installed."""
        return "transnas_micro"

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """One unordered gene for each edge."""
        return tuple(Gene(f"node{target}.from{source}", OPERATIONS) for source, target in EDGES)

    @property
    def references(self) -> dict[str, str]:
        """The cell of two 3×3 convolutions in a row and the shortcut around them."""
        return {"resnet": f"{self.channels}-{MODULES}-3_03_101"}

    def decode(self, genome: Genome) -> TransNasCell:
        """The canonical cell of ``genome``."""
        values = values_of(genome, self.genes, space=self.name)
        return TransNasCell(self.channels, tuple(OPERATIONS.index(str(value)) for value in values))

    def encode(self, architecture: TransNasCell) -> Genome:
        """The genome of the canonical cell."""
        names = (OPERATIONS[choice] for choice in architecture.operations)
        return genome_of(names, self.genes, space=self.name)

    def parse(self, text: str) -> TransNasCell:
        """The network written in the benchmark's form, canonical or not.

        Raises:
            SpaceError: naming the position, what was expected there and what stands there.
        """
        scanner = Scanner(text.strip(), f"{self.name} network")
        scanner.number("the channels of the stem", allowed=(self.channels,))
        scanner.literal(f"-{MODULES}-")
        choices = []
        for source, target in EDGES:
            if source == 1 and target > 2:
                scanner.literal("_")
            choices.append(int(scanner.pattern(_DIGIT, f"0, 1, 2 or 3 for the edge {source}>{target}")))
        scanner.end()
        return TransNasCell(self.channels, tuple(choices))

    def build(self, architecture: TransNasCell) -> nn.Module:
        """The network of live edges: (N, channels_in, H, W) → outputs of the task."""
        shapes = network.shapes(self.channels, MODULES)
        return self.assembled([network.Cell(architecture.edges, *shape) for shape in shapes], MODULES)

    def parts(self, architecture: TransNasCell) -> Sequence[Part]:
        """Stem, the operations of all cells, head."""
        cells = self.units(MODULES)
        return self.framed((self._edge(cell, edge) for cell in cells for edge in architecture.edges), MODULES)

    def chain(self, architecture: TransNasCell) -> Sequence[Part]:
        """Stem, cells, head."""
        cells = (self.block(network.Cell, unit.before, architecture.edges, *unit[:3]) for unit in self.units(MODULES))
        return self.framed(cells, MODULES)

    def _edge(self, cell: UnitShape, edge: network.Edge) -> Part:
        """The part that is one operation: from node 1 it does what the cell does to channels and resolution."""
        source, _, choice = edge
        if source == 1:
            return self.block(network.operation, cell.before, choice, *cell[:3])
        return self.block(network.operation, cell.behind, choice, cell.outputs, cell.outputs, 1)

    def source(self, architecture: TransNasCell) -> str:
        """The blocks this space builds from, verbatim, then the cell as a constant and the class ``Network``."""
        edges = "".join(f"    {edge},\n" for edge in architecture.edges)
        constants = "EDGES: tuple[Edge, ...] = " + (f"(\n{edges})\n" if edges else "()\n")
        blocks: list[Block] = [network.ReLUConvBN, network.Shift, network.operation, network.Cell]
        return self.exported("Cell(EDGES, *shape)", MODULES, key=architecture.key, blocks=blocks, constants=constants)


def _without_dead_edges(operations: tuple[int, ...]) -> tuple[int, ...]:
    """``operations`` with 0 on every edge that is on no path from node 1 to node 4."""
    live = live_edges([edge for edge, choice in zip(EDGES, operations, strict=True) if choice], source=1, target=4)
    return tuple(choice if edge in live else 0 for edge, choice in zip(EDGES, operations, strict=True))
