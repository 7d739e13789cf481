"""Tables of TransNAS-Bench-101 (arXiv 2105.11871), whose tasks are not all measured in percent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["is_transnas_header", "transnas_rows"]

NETWORK = "arch_str"
"""The column that says which network a line is about."""

PERCENT: Mapping[str, Callable[[float], float]] = {
    **dict.fromkeys(("class_scene", "class_object", "jigsaw", "segmentsemantic"), lambda accuracy: accuracy),
    **dict.fromkeys(("autoencoder", "normal"), lambda similarity: 100 * similarity),
    "room_layout": lambda negative_loss: 100 * math.exp(negative_loss),
}
"""Task → what its number is in percent: accuracies are; structural similarity (SSIM) is from 0 to 1; of the loss of
room_layout, which is negative in the table, the order is kept by 100 e^−loss."""


def is_transnas_header(header: Sequence[str]) -> bool:
    """Tell whether a CSV file with these columns is a table of TransNAS-Bench-101."""
    return header[:1] == [NETWORK] and not PERCENT.keys().isdisjoint(header)


def transnas_rows(
    header: Sequence[str], lines: Iterable[tuple[str, Sequence[str]]]
) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    """Read the lines of such a table as :func:`vkdnw_search.ranking.tables.read_csv` collects them.

    Args:
        header: ``arch_str`` and names of tasks. Any other column is left out: sizes are those of one task.
        lines: (where it stands, its fields).

    Yields:
        Where it stands, the network as written, and its values in percent, as written where they are no numbers.
        Where a field is empty, the value is not known, and left out.
    """
    for where, fields in lines:
        named = dict(zip(header, fields, strict=True))
        known = (task for task in header if task in PERCENT and named[task])
        yield where, named[NETWORK], {task: _percent(task, named[task]) for task in known}


def _percent(task: str, text: str) -> object:
    try:
        return PERCENT[task](float(text))
    except (ValueError, OverflowError):
        return text
