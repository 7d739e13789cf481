"""Read tables of architectures with known accuracy: CSV of two kinds, the official NATS-Bench files, NAS-Bench-Macro's
JSON."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vkdnw_search.errors import RankingError, SpaceError, nearest
from vkdnw_search.ranking.ofa import is_ofa_header, ofa_rows
from vkdnw_search.ranking.transnas import is_transnas_header, transnas_rows

__all__ = ["AccuracyTable", "Canonical", "read_csv", "read_macro_json"]

Canonical = Callable[[str], str]
"""Text of an architecture → its canonical key, such as ``lambda text: space.parse(text).key``. Raises SpaceError."""

SIZES = frozenset({"params", "flops", "macs"})
"""Columns that hold a size, not an accuracy."""

Row = tuple[str, str, Mapping[str, object]]
"""Where it stands (for messages), the architecture as written, the named values as written."""


@dataclass(frozen=True, eq=False)
class AccuracyTable:
    """Architectures and what is known of them.

    Attributes:
        architectures: n different texts.
        columns: name → n values in the same order, float64: accuracies in percent, and perhaps sizes
            (``params``, ``flops``, ``macs``). NaN is not known.
    """

    architectures: tuple[str, ...]
    columns: Mapping[str, NDArray[np.float64]]

    def __post_init__(self) -> None:
        if len(set(self.architectures)) != len(self.architectures):
            raise RankingError("accuracy table: architectures must differ")
        for name, values in self.columns.items():
            if values.shape != (len(self),):
                raise RankingError(f"accuracy table, {name}: must have {len(self)} values, but has {values.shape}")

    def __len__(self) -> int:
        return len(self.architectures)

    def column(self, name: str) -> NDArray[np.float64]:
        """The values of a column. Shape (n,). Raises RankingError that lists the columns there are."""
        if name not in self.columns:
            raise RankingError(
                f"accuracy table: must have a column {name!r}, but has {', '.join(self.columns)}."
                f"{nearest(name, self.columns)}"
            )
        return self.columns[name]

    def known(self, names: Sequence[str]) -> AccuracyTable:
        """The table of the rows in which all of these columns are known."""
        return self.rows(np.flatnonzero(np.isfinite([self.column(name) for name in names]).all(axis=0)))

    def rows(self, chosen: Sequence[int] | NDArray[np.intp]) -> AccuracyTable:
        """The table of the rows with these numbers, from 0, in this order."""
        columns = {name: values[list(chosen)] for name, values in self.columns.items()}
        return AccuracyTable(tuple(self.architectures[i] for i in chosen), columns)


def read_csv(path: Path, *, canonical: Canonical | None = None) -> AccuracyTable:
    """A CSV file with a header: ``arch``, then named columns, e.g. ``arch,cifar10,cifar100`` (accuracies in percent).

    Columns named ``params``, ``flops`` and ``macs`` are sizes. ``canonical`` is applied as :func:`collect` says. A
    header with ``ks``, ``expand`` and ``depth`` makes it a table of Once-for-all's MobileNetV3 space, read as
    :func:`vkdnw_search.ranking.ofa.ofa_rows` says; a network that was measured twice has the mean. One with
    ``arch_str`` and tasks is a table of TransNAS-Bench-101, read as
    :func:`vkdnw_search.ranking.transnas.transnas_rows` says.

    Raises:
        RankingError: naming the file and the line, if the file is missing, is not of this form, or a value is not
            a number in its range.
    """
    header, lines = _csv_lines(path)
    _check_header(path, header)
    if is_ofa_header(header):
        return collect(path, _averaged(ofa_rows(header, lines, sizes=SIZES)), canonical=canonical)
    if is_transnas_header(header):
        return collect(path, transnas_rows(header, lines), canonical=canonical)
    rows = ((where, fields[0], dict(zip(header[1:], fields[1:], strict=True))) for where, fields in lines)
    return collect(path, rows, canonical=canonical)


def read_macro_json(path: Path, *, canonical: Canonical | None = None) -> AccuracyTable:
    """The published file of NAS-Bench-Macro, ``nas-bench-macro_cifar10.json``::

        {"00000000": {"test_acc": [45.2, 45.4, 45.5], "mean_acc": 45.37, "std": 0.1,
                      "params": 387882, "flops": 7713280}, …}

    An architecture has eight digits, 0 identity, 1 MobileNetV2 block k3 e3, 2 block k5 e6. The column ``cifar10`` is
    ``mean_acc``, or without it the mean of ``test_acc``; ``params`` and ``flops`` become columns where every
    architecture has them.

    Raises:
        RankingError: naming the file and the architecture, as :func:`read_csv`.
    """
    try:
        entries = json.loads(_open(path).read_text(encoding="utf-8"), object_pairs_hook=_unique_keys)
    except ValueError as error:
        raise RankingError(f"{path}: must be JSON; {error}") from error
    if not isinstance(entries, dict) or not entries:
        raise RankingError(f"{path}: must be a JSON object, architecture → record, and not empty")
    rows = [(f"{path}, {text!r}", text, _macro_values(f"{path}, {text!r}", record)) for text, record in entries.items()]
    shared = set.intersection(*(set(values) for _, _, values in rows))
    complete = ((where, text, {k: v for k, v in values.items() if k in shared}) for where, text, values in rows)
    return collect(path, complete, canonical=canonical)


def collect(path: Path, rows: Iterable[Row], *, canonical: Canonical | None = None) -> AccuracyTable:
    """A table of these rows, every one checked.

    With ``canonical``, architectures become their keys. Rows that are one and the same network become one: the one
    that is written canonically, else the first. So all 15,625 cells of NAS-Bench-201 become the 9,445 of the
    published evaluation, each with the accuracy it has under its own name.

    Raises:
        RankingError: naming the row, for an architecture that is written twice or not known, and for a value that
            is not a finite number, an accuracy outside 0 … 100, or a size that is not positive.
    """
    written: dict[str, str] = {}  # text → where
    kept: dict[str, tuple[bool, dict[str, float]]] = {}  # key → written canonically?, values
    for where, text, values in rows:
        if text in written:
            raise RankingError(f"{where}: the architecture {text!r} stands already at {written[text]}; keep one")
        written[text] = where
        key = _key(where, text, canonical)
        numbers = {name: _number(f"{where}, {name}", name, value) for name, value in values.items()}
        if key not in kept or (key == text and not kept[key][0]):
            kept[key] = (key == text, numbers)
    if not kept:
        raise RankingError(f"{path}: must hold at least one architecture, but holds none")
    names = dict.fromkeys(name for _, numbers in kept.values() for name in numbers)
    return AccuracyTable(
        tuple(kept), {name: np.array([numbers.get(name, math.nan) for _, numbers in kept.values()]) for name in names}
    )


def _open(path: Path) -> Path:
    if not path.is_file():
        raise RankingError(f"{path}: must be an accuracy table, but there is no such file")
    return path


def _check_header(path: Path, header: list[str]) -> None:
    named = len(header) > 1 and (header[0] == "arch" or is_ofa_header(header) or is_transnas_header(header))
    if not named or not all(header) or len(set(header)) != len(header):
        raise RankingError(
            f"{path}, line 1: must be 'arch' and then different names of columns, e.g. 'arch,cifar10,cifar100', "
            f"or have 'ks,expand,depth' and accuracies of Once-for-all's networks, but is {','.join(header)!r}"
        )


def _csv_lines(path: Path) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The header, and where each line stands with its fields; empty lines are left out."""
    with _open(path).open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            lines = [(f"{path}, line {reader.line_num}", fields) for fields in reader if fields]
        except (csv.Error, UnicodeDecodeError) as error:
            raise RankingError(f"{path}, line {reader.line_num + 1}: is not CSV in UTF-8: {error}") from error
    for where, fields in lines:
        if len(fields) != len(header):
            raise RankingError(f"{where}: must have {len(header)} fields, but has {len(fields)}")
    return header, lines


def _averaged(rows: Iterable[Row]) -> Iterator[Row]:
    """One row for each text, at the first place it stands, with the mean of every value."""
    measured: dict[str, tuple[str, list[Mapping[str, float]]]] = {}
    for where, text, values in rows:
        numbers = {name: _number(f"{where}, {name}", name, value) for name, value in values.items()}
        measured.setdefault(text, (where, []))[1].append(numbers)
    for text, (where, every) in measured.items():
        yield where, text, {name: float(np.mean([numbers[name] for numbers in every])) for name in every[0]}


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record: dict[str, object] = {}
    for name, value in pairs:
        if name in record:
            raise ValueError(f"the key {name!r} stands there twice")
        record[name] = value
    return record


def _macro_values(where: str, record: object) -> dict[str, object]:
    if not isinstance(record, dict) or not ("mean_acc" in record or record.get("test_acc")):
        raise RankingError(f"{where}: must be a record with mean_acc or test_acc, but is {record!r:.80}")
    if "mean_acc" in record:
        accuracy = record["mean_acc"]
    else:
        trials = record["test_acc"] if isinstance(record["test_acc"], list) else [record["test_acc"]]
        accuracy = float(np.mean([_number(f"{where}, test_acc", "test_acc", trial) for trial in trials]))
    return {"cifar10": accuracy, **{name: record[name] for name in sorted(SIZES & set(record))}}


def _key(where: str, text: str, canonical: Canonical | None) -> str:
    if canonical is None:
        return text
    try:
        return canonical(text)
    except SpaceError as error:
        raise RankingError(f"{where}: the architecture is not of this space: {error}") from error


def _number(where: str, name: str, value: object) -> float:
    """A value as written, checked by the kind of its column."""
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)  # type: ignore[arg-type]  # what is no number raises, which is the check
    except (TypeError, ValueError):
        raise RankingError(f"{where}: must be a number, but is {value!r:.80}") from None
    if name in SIZES:
        if not 0 < number < math.inf:
            raise RankingError(f"{where}: must be a positive number, but is {value!r:.80}")
    elif not 0 <= number <= 100:
        raise RankingError(f"{where}: must be an accuracy in percent, 0 … 100, but is {value!r:.80}")
    return number
