"""Cells whose nodes are sums of edges: which edges count."""

from __future__ import annotations

from collections.abc import Sequence


def live_edges(edges: Sequence[tuple[int, int]], *, source: int, target: int) -> set[tuple[int, int]]:
    """Those of ``edges`` (from node, to node) that are on a path from node ``source`` to node ``target``.

    Edges go from lower to higher nodes and come ordered by the node they go to.
    """
    reached = {source}
    for start, end in edges:  # where an edge begins is settled first
        if start in reached:
            reached.add(end)
    useful = {target}
    for start, end in sorted(edges, reverse=True):  # from the last node: where an edge ends is settled first
        if end in useful:
            useful.add(start)
    return {(start, end) for start, end in edges if start in reached and end in useful}
