"""Latencies from a table: a CSV file of parts and milliseconds, measured on a device of the user's."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Annotated

from annotated_types import Interval

from vkdnw_search.contained_files import start_of
from vkdnw_search.contracts import LatencyContext, Make
from vkdnw_search.errors import LatencyError, LatencyUnknown, RunFolderError, shortened
from vkdnw_search.options import check_options
from vkdnw_search.records import Timing

__all__ = ["MeasuredTable", "TableLatency", "read_table"]

MOST_BYTES = 50_000_000
"""A table has a line of some hundred bytes for each of at most some thousand parts."""

NAMED = 5
"""Number of parts that an error names."""

ANEW = "vkdnw-search latency-table RECIPE --out FOLDER writes every part that the recipe's networks have"


@dataclass(frozen=True)
class MeasuredTable:
    """The table that was read.

    Attributes:
        timings: name of a part, or key of a whole network → its timing.
        source: where it was read, for errors.
        correction: number of whole networks of the table that sums of parts are fitted to.
    """

    timings: Mapping[str, Timing]
    source: str
    correction: int = 0
    whole: bool = field(default=False, init=False)

    def timing(self, name: str, make: Make) -> Timing:
        """The timing in the table."""
        if name not in self.timings:
            raise LatencyUnknown(f"{self.source} has no row for it")
        return self.timings[name]

    def require(self, names: Collection[str]) -> None:
        """Raise LatencyError if one of ``names`` is not in the table."""
        if missing := [name for name in names if name not in self.timings]:
            raise LatencyError(
                f"{self.source}: must have a row for every part that the run needs, but {len(missing)} of the "
                f"{len(names)} parts of random candidates are missing: {_some(missing)}. {ANEW}"
            )


@dataclass(frozen=True, kw_only=True)
class TableLatency:
    """Milliseconds of parts in a CSV file beside the recipe, as vkdnw-search latency-table prepares it."""

    file: Annotated[str, "the table, in the folder of the recipe"] = "measured.csv"
    correction: Annotated[
        int, Interval(ge=0, le=1000), "whole networks in the table that the sums of parts are fitted to; 0: none"
    ] = 0

    def __post_init__(self) -> None:
        check_options(self)

    def within(self, context: LatencyContext) -> MeasuredTable:
        """Read the table, which is in the folder of the recipe or below it. Raises LatencyError if it is none."""
        place = PurePath(self.file)
        if place.is_absolute() or ".." in place.parts:
            raise LatencyError(
                f"file: must be a file in the folder of the recipe or below it, such as parts/measured.csv, but is "
                f"{self.file!r}"
            )
        path = context.folder / place
        return MeasuredTable(read_table(path, within=context.folder), str(path), self.correction)


def read_table(path: Path, *, within: Path | None = None) -> dict[str, Timing]:
    """Part or network → timing, from the columns ``part``, ``milliseconds`` and, where it is there, ``spread``.

    Args:
        path: of the CSV file.
        within: the folder below which no link is followed.

    Raises:
        LatencyError: it is not there, or is no such table; all parts without a usable time are named.
    """
    try:
        content = start_of(path, MOST_BYTES + 1, within=within)
    except RunFolderError:  # a link, which says so
        raise
    except OSError as error:
        raise LatencyError(f"{path}: must be a table of latencies, but: {error.strerror or error}. {ANEW}") from error
    if len(content) > MOST_BYTES:
        raise LatencyError(f"{path}: must be a table of latencies, of at most {MOST_BYTES:,} bytes, but is longer")
    try:
        return dict(_rows(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True), path))
    except (UnicodeDecodeError, csv.Error) as error:
        raise LatencyError(f"{path}: must be CSV in UTF-8, but: {error}") from error


def _rows(rows: csv.DictReader[str], path: Path) -> Iterator[tuple[str, Timing]]:
    columns = rows.fieldnames or []
    if missing := {"part", "milliseconds"} - {*columns}:
        raise LatencyError(
            f"{path}: must have the columns part and milliseconds, but lacks {' and '.join(sorted(missing))}. "
            "time_parts.py, which latency-table writes beside the parts, writes both"
        )
    wrong, seen = [], set()
    for row in rows:
        name, timing = row["part"] or "", _timing(row)
        if timing is None or name in seen:
            why = f"milliseconds {row['milliseconds']!r}" if timing is None else "a second row"
            wrong.append(f"{name or '(no part)'} ({why})")
        else:
            seen.add(name)
            yield name, timing
    if wrong:
        raise LatencyError(
            f"{path}: every part must have one row, with a number of milliseconds that is not negative, but "
            f"{len(wrong)} do not: {_some(wrong)}. Measure these, or remove their rows"
        )


def _timing(row: Mapping[str, str | None]) -> Timing | None:
    """The timing of a row; None if it has none."""
    try:
        milliseconds, spread = float(row["milliseconds"] or ""), float(row.get("spread") or 0)
    except ValueError:
        return None
    usable = all(math.isfinite(value) and value >= 0 for value in (milliseconds, spread))
    return Timing(milliseconds / 1000, spread) if usable and row["part"] else None


def _some(names: Sequence[str]) -> str:
    """The first of many names."""
    rest = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
    return "; ".join([*map(shortened, names[:NAMED]), *rest])
