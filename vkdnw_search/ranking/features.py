"""Graph features of NAS-Bench-201 cells: GRAF (Kadlecová et al., ICML 2024, "Surprisingly Strong Performance
Prediction with Neural Graph Features", arXiv 2404.16551).

A cell is a graph of operations on edges. For each non-empty set S of the four operations that pass a signal:

* ``shortest[S]``: edges of the shortest path from input to output on which every operation is in S; one more than the
  longest possible where there is no such path;
* ``most[S]``: the largest number of operations of S on any path from input to output; 0 where there is no path;
* ``input_out[S]``, ``output_in[S]``: edges with an operation in S that leave the input, that enter the output;
* ``inner_in[S]``, ``inner_out[S]``: mean number of such edges into, out of the inner nodes.

And for each of the five operations ``count[…]``: on how many edges it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from vkdnw_search.errors import RankingError

__all__ = ["OPERATIONS", "SUBSETS", "cell_edges", "graph_features"]

OPERATIONS = ("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""Those that pass a signal."""

NONE = "none"
SUBSETS = tuple(frozenset(some) for size in range(1, 5) for some in combinations(OPERATIONS, size))
"""The 15 non-empty sets of operations, singles first."""

INPUT, OUTPUT, NODES = 0, 3, 4

Edge = tuple[int, int, str]

_TOKEN = re.compile(r"(\w+)~(\d)")


def cell_edges(text: str) -> list[Edge]:
    """(source, target, operation) of the six edges of a cell in the benchmark's form, ordered by target.

    Raises:
        RankingError: it is not in that form.
    """
    groups = text.split("+")
    edges = [
        (int(source), target, operation)
        for target, group in enumerate(groups, start=1)
        for operation, source in _TOKEN.findall(group)
    ]
    expected = [(source, target) for target in range(1, NODES) for source in range(target)]
    known = all(operation in (*OPERATIONS, NONE) for _, _, operation in edges)
    if [edge[:2] for edge in edges] != expected or not known:
        raise RankingError(
            f"graph features: must be a NAS-Bench-201 cell such as |none~0|+|none~0|none~1|+|skip_connect~0|none~1|"
            f"none~2|, but is {text!r}"
        )
    return edges


def graph_features(text: str) -> dict[str, float]:
    """The 95 features of a cell in the benchmark's form, by name, in a fixed order.

    Raises:
        RankingError: it is not in that form.
    """
    edges = cell_edges(text)
    features = {
        f"count[{name}]": float(sum(operation == name for _, _, operation in edges)) for name in (*OPERATIONS, NONE)
    }
    paths = list(_paths([edge for edge in edges if edge[2] != NONE], INPUT))
    for subset in SUBSETS:
        label = "+".join(name for name in OPERATIONS if name in subset)
        values = {**_along_paths(paths, subset), **_degrees(edges, subset)}
        features |= {f"{name}[{label}]": value for name, value in values.items()}
    return features


def _paths(edges: Sequence[Edge], node: int) -> Iterator[tuple[str, ...]]:
    """The operations on each path from ``node`` to the output."""
    if node == OUTPUT:
        yield ()
    for source, target, operation in edges:
        if source == node:
            yield from ((operation, *rest) for rest in _paths(edges, target))


def _along_paths(paths: Sequence[tuple[str, ...]], subset: frozenset[str]) -> Mapping[str, float]:
    inside = [len(path) for path in paths if subset.issuperset(path)]
    return {
        "shortest": float(min(inside, default=NODES)),
        "most": float(max((sum(operation in subset for operation in path) for path in paths), default=0)),
    }


def _degrees(edges: Sequence[Edge], subset: frozenset[str]) -> Mapping[str, float]:
    chosen = [(source, target) for source, target, operation in edges if operation in subset]
    inner = NODES - 2
    return {
        "input_out": float(sum(source == INPUT for source, _ in chosen)),
        "output_in": float(sum(target == OUTPUT for _, target in chosen)),
        "inner_in": sum(target != OUTPUT for _, target in chosen) / inner,
        "inner_out": sum(source != INPUT for source, _ in chosen) / inner,
    }
