"""The winner as a drawing: coordinates for the page's template, from what an architecture says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class HasEdges(Protocol):
    """An architecture that is a cell: (source node, target node, operation), node 0 being the input."""

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


NODE_GAP, MIDDLE = 180, 165
"""Pixels between nodes of a cell, and the height at which they stand."""


def cell(architecture: object) -> tuple[list[tuple[int, int]], list[Arc]]:
    """Nodes (x, number) in a row, and arcs: neighbours by a line, others by curves above and below in turn."""
    if not isinstance(architecture, HasEdges):
        return [], []
    nodes = [(60 + NODE_GAP * n, n) for n in range(4)]
    arcs = []
    for source, target, name in architecture.edges:
        a, b, span = 60 + NODE_GAP * source, 60 + NODE_GAP * target, target - source
        bow = {1: 0, 2: -95 if source == 0 else 95, 3: -230}.get(span, -230)
        path = f"M {a} {MIDDLE} Q {(a + b) / 2} {MIDDLE + bow} {b} {MIDDLE}"
        arcs.append(Arc(path, name, (a + b) / 2, MIDDLE + bow / 2 - 7 if bow <= 0 else MIDDLE + bow / 2 + 16))
    return nodes, arcs


def chain(architecture: object) -> list[Bar]:
    """Blocks from input to output, as bars as long as their channels are many."""
    blocks = list(architecture.blocks) if isinstance(architecture, HasBlocks) else []
    if not blocks or not all(hasattr(block, "out") and hasattr(block, "stride") for block in blocks):
        return []  # blocks of another kind, which only the text shows
    widest, stage, bars = max(block.out for block in blocks), 0, []
    for block in blocks:
        stage += block.stride > 1
        fields = {n: getattr(block, n) for n in getattr(block, "__dataclass_fields__", ("out", "stride"))}
        detail = ", ".join(f"{name} {value}" for name, value in fields.items() if name != "out")
        bars.append(Bar(f"{block.out} channels", detail, 100 * block.out / widest, stage))
    return bars
