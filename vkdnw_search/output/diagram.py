"""The winner as a drawing: coordinates for the page's template, from what an architecture says of itself.

An architecture whose ``edges`` or ``blocks`` are of another kind than described here is not drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class HasEdges(Protocol):
    """An architecture that is a cell: (source node, target node, operation), nodes 0, the input, to 3."""

    @property
    def edges(self) -> Sequence[tuple[int, int, str]]:
        """The live edges."""
        ...


@runtime_checkable
class HasBlocks(Protocol):
    """An architecture that is a chain of blocks, each with ``out`` channels and a ``stride``."""

    @property
    def blocks(self) -> Sequence[Any]:
        """In order; every public field is shown."""
        ...


@dataclass(frozen=True, slots=True)
class Arc:
    """An edge of a cell: a path in SVG's words, and its label with the place where it stands."""

    path: str
    label: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A block of a chain: ``height`` in percent follows its channels; stages alternate in colour."""

    label: str
    detail: str
    share: float
    stage: int


NODES = 4
NODE_GAP, MIDDLE = 180, 165
"""Pixels between nodes of a cell, and the height at which they stand."""


FULL = {"btn": "bottleneck"}
"""Field of a block → the word that it is short for."""

LONGEST_KEY = 90
"""Characters of a key that are shown of a network in a table: all of a cell of NAS-Bench-201."""


def cell(architecture: object) -> tuple[list[tuple[int, int]], list[Arc]]:
    """Nodes (x, number) in a row, and arcs: neighbours by a line, others by curves above and below in turn."""
    edges = _items(architecture.edges) if isinstance(architecture, HasEdges) else []
    if not edges or not all(_is_edge(edge) for edge in edges):
        return [], []
    nodes = [(60 + NODE_GAP * n, n) for n in range(NODES)]
    arcs = []
    for source, target, name in edges:
        a, b, span = 60 + NODE_GAP * source, 60 + NODE_GAP * target, target - source
        bow = {1: 0, 2: -95 if source == 0 else 95, 3: -230}.get(span, -230)
        path = f"M {a} {MIDDLE} Q {(a + b) / 2} {MIDDLE + bow} {b} {MIDDLE}"
        arcs.append(Arc(path, name, (a + b) / 2, MIDDLE + bow / 2 - 7 if bow <= 0 else MIDDLE + bow / 2 + 16))
    return nodes, arcs


def chain(architecture: object) -> list[Bar]:
    """Blocks from input to output, as bars as long as their channels are many."""
    blocks = _items(architecture.blocks) if isinstance(architecture, HasBlocks) else []
    if not blocks or not all(_is_block(block) for block in blocks):
        return []
    widest, stage, bars = max(block.out for block in blocks), 0, []
    for block in blocks:
        stage += block.stride > 1
        fields = {n: getattr(block, n) for n in getattr(block, "__dataclass_fields__", ("out", "stride"))}
        detail = ", ".join(f"{FULL.get(name, name)} {value}" for name, value in fields.items() if name != "out")
        bars.append(Bar(f"{block.out} channels", detail, 100 * block.out / widest, stage))
    return bars


def brief(architecture: object) -> str:
    """The structure in a few words, which fit a column: the channels of a chain, else the start of the key."""
    if bars := chain(architecture):
        return f"{' → '.join(bar.label.split()[0] for bar in bars)} channels"
    key = str(getattr(architecture, "key", ""))
    return key if len(key) <= LONGEST_KEY else f"{key[:LONGEST_KEY]}…"


def _items(value: object) -> list[Any]:
    """Those of a sequence; none of anything else."""
    return list(value) if isinstance(value, Sequence) else []


def _is_edge(edge: object) -> bool:
    match edge:
        case (int(source), int(target), str()):
            return 0 <= source < target < NODES
    return False


def _is_block(block: object) -> bool:
    out, stride = getattr(block, "out", None), getattr(block, "stride", None)
    return isinstance(out, int) and out > 0 and isinstance(stride, int)
