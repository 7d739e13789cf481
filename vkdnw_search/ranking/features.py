"""Graph features of NAS-Bench-201 cells: GRAF (Kadlecová et al., ICML 2024, "Surprisingly Strong Performance
Prediction with Neural Graph Features", arXiv 2404.16551), the part of them that VKDNW's Table 1 uses.

A cell is a complete graph of four nodes with an operation on each of its six edges, ``none`` being one of the five.
For each operation ``count[…]`` is the number of edges it stands on. And for each of the 30 non-empty proper sets S of
operations:

* ``most[S]``: operations of S on the path from input to output that has most of them, less those that are not in S;
* ``input_out[S]``, ``output_in[S]``: edges with an operation in S that leave the input, that enter the output;
* ``degree[S]``: mean number of such edges into a node, which is that out of a node.

The lengths of paths, which are features of GRAF too, are not among them, for that table's row is of counts, degrees
and operations on paths. With them a random forest comes to better numbers than those published there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations

from vkdnw_search.errors import RankingError

__all__ = ["OPERATIONS", "SUBSETS", "cell_edges", "graph_features"]

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""The operations in the benchmark's order."""

SUBSETS = tuple(frozenset(some) for size in range(1, 5) for some in combinations(OPERATIONS, size))
"""The 30 non-empty proper sets of operations, singles first."""

INPUT, OUTPUT, NODES = 0, 3, 4
EDGES = tuple((source, target) for target in range(1, NODES) for source in range(target))
PATHS = (((0, 3),), ((0, 1), (1, 3)), ((0, 2), (2, 3)), ((0, 1), (1, 2), (2, 3)))
"""All paths from input to output, short ones first."""

Cell = Mapping[tuple[int, int], str]
"""(source, target) → operation."""

_TOKEN = re.compile(r"(\w+)~(\d)")


def cell_edges(text: str) -> Cell:
    """The operation on each of the six edges of a cell in the benchmark's form, ordered by target.

    Raises:
        RankingError: it is not in that form.
    """
    edges = [
        ((int(source), target), operation)
        for target, group in enumerate(text.split("+"), start=1)
        for operation, source in _TOKEN.findall(group)
    ]
    known = all(operation in OPERATIONS for _, operation in edges)
    if tuple(ends for ends, _ in edges) != EDGES or not known:
        raise RankingError(
            f"graph features: must be a NAS-Bench-201 cell such as |none~0|+|none~0|none~1|+|skip_connect~0|none~1|"
            f"none~2|, but is {text!r}"
        )
    return dict(edges)


def graph_features(text: str) -> dict[str, float]:
    """The 125 features of a cell in the benchmark's form, by name, in a fixed order.

    Raises:
        RankingError: it is not in that form.
    """
    cell = cell_edges(text)
    features = {f"count[{name}]": float(list(cell.values()).count(name)) for name in OPERATIONS}
    for subset in SUBSETS:
        label = "+".join(name for name in OPERATIONS if name in subset)
        features |= {f"{name}[{label}]": value for name, value in _of_subset(cell, subset).items()}
    return features


def _of_subset(cell: Cell, subset: frozenset[str]) -> Mapping[str, float]:
    chosen = [edge for edge, operation in cell.items() if operation in subset]
    counts = [sum(edge in chosen for edge in path) for path in PATHS]
    surplus = [2 * count - len(path) for count, path in zip(counts, PATHS, strict=True)]
    return {
        "most": float(counts[surplus.index(max(surplus))]),
        "input_out": float(sum(source == INPUT for source, _ in chosen)),
        "output_in": float(sum(target == OUTPUT for _, target in chosen)),
        "degree": len(chosen) / NODES,
    }
