"""Tables of Once-for-all's MobileNetV3 space, which give a network as numbers: kernels, expansions and depths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from vkdnw_search.errors import RankingError

__all__ = ["is_ofa_header", "ofa_rows"]

CHOICES = ("ks", "expand", "depth")
"""The columns that say which network a line is about."""

STAGES, SLOTS = 5, 4
"""Stages of a network, and blocks a stage has at most."""

ACCURACY = ("top1", "top5", "acc")
"""Parts of names by which a column is an accuracy."""


def is_ofa_header(header: Sequence[str]) -> bool:
    """Tell whether a CSV file with these columns is a table of Once-for-all networks."""
    return set(CHOICES) <= set(header)


def ofa_rows(
    header: Sequence[str], lines: Iterable[tuple[str, Sequence[str]]], *, sizes: Iterable[str]
) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    """Read the lines of such a table as :func:`vkdnw_search.ranking.tables.read_csv` collects them.

    Args:
        header: with ``ks`` and ``expand``, 20 numbers each, four a stage, 0 where a block is absent, and ``depth``,
            the blocks of each of the five stages. Accuracies are the columns with ``top1``, ``top5`` or ``acc`` in
            their names. A column ``resolution`` must be the same in all lines, since a network's text does not name
            it. Any other column is left out.
        lines: (where it stands, its fields).
        sizes: names of columns that are sizes.

    Yields:
        Where it stands, the network as the space ``ofa_mobilenetv3`` writes it, and its named values as written. A
        network that was measured twice comes twice.

    Raises:
        RankingError: naming the line, if the numbers are no network, or were measured at another resolution.
    """
    kept = [name for name in header if name in set(sizes) or any(part in name.lower() for part in ACCURACY)]
    first: str | None = None
    for where, fields in lines:
        named = dict(zip(header, fields, strict=True))
        resolution = named.get("resolution")
        first = resolution if first is None else first
        if resolution != first:
            raise RankingError(
                f"{where}, resolution: must be {first}, as in the lines before, but is {resolution}. Keep the lines of "
                "one resolution"
            )
        yield where, _text(where, named), {name: named[name] for name in kept}


def _text(where: str, named: Mapping[str, str]) -> str:
    """The network of a line, such as ``k3e4_k5e6-…``: a token for each block that is there."""
    kernels, expansions = (_numbers(where, name, named[name], STAGES * SLOTS) for name in ("ks", "expand"))
    depths = _numbers(where, "depth", named["depth"], STAGES)
    stages = []
    for stage, depth in enumerate(depths):
        blocks = list(zip(kernels, expansions, strict=True))[SLOTS * stage : SLOTS * (stage + 1)]
        there = [bool(kernel) and bool(expansion) for kernel, expansion in blocks]
        absent = [not kernel and not expansion for kernel, expansion in blocks]
        if not 0 <= depth <= SLOTS or not all(there[:depth]) or not all(absent[depth:]):
            raise RankingError(
                f"{where}, stage {stage + 1}: must have kernel and expansion of {depth} blocks, and then zeros, but "
                f"has (kernel, expansion) {', '.join(map(str, blocks))}"
            )
        stages.append("_".join(f"k{kernel}e{expansion}" for kernel, expansion in blocks[:depth]))
    return "-".join(stages)


def _numbers(where: str, name: str, text: str, count: int) -> list[int]:
    words = text.split()
    if len(words) != count or not all(word.isascii() and word.isdigit() for word in words):
        raise RankingError(f"{where}, {name}: must be {count} whole numbers, but is {text!r}")
    return [int(word) for word in words]
