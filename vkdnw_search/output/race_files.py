"""The files of a race → what its table, sentences and figure show. They may come from a stranger: nothing is executed.

``race.json`` says what the race is, ``race.csv`` has a row for each network, ``curves.csv`` one for each epoch.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from vkdnw_search.contained_files import start_of
from vkdnw_search.errors import RaceError, RunFolderError
from vkdnw_search.output.race_story import Curve, Placed, sentences

FILES = ("race.json", "race.csv", "curves.csv")

COLUMNS = (
    *("place", "name", "roles", "epochs", "accuracy", "standard_error", "mcnemar_p", "score", "flops", "parameters"),
    *("reason", "architecture"),
)
"""Of race.csv."""

CURVES = ("network", "seed", "epoch", "lr", "loss", "accuracy", "ema_accuracy", "ema_top5")
"""The columns of curves.csv."""

LARGEST = 2**23
"""Bytes of a file that are read. The curves of twenty networks over 300 epochs have a tenth of it."""

MOST = 1100
"""Networks in a table: as many as a race takes, and some of the user's."""


@dataclass(frozen=True, slots=True)
class Row:
    """A network in the table of a race; NaN stands for a number that is not there.

    Attributes:
        network: with its accuracies after each rung.
        epochs: that it trained for.
        accuracy: after them, a share.
        standard_error: of ``accuracy``.
        p: of McNemar's test against the first.
        reason: why it could not be trained; empty if it could.
    """

    network: Placed
    epochs: int
    accuracy: float
    standard_error: float
    p: float
    reason: str


@dataclass(frozen=True, slots=True)
class RaceFiles:
    """What the files of a race say.

    Attributes:
        rows: by place.
        ends: the epoch that each rung ended with.
        curves: name of a network → one curve for each seed.
        training: the options of train.py.
        seeds: trainings of each network.
        test_images: how many there were.
        classes: how many there were.
    """

    rows: tuple[Row, ...]
    ends: tuple[int, ...]
    curves: Mapping[str, Sequence[Curve]]
    training: tuple[str, ...]
    seeds: int
    test_images: int
    classes: int

    @property
    def data(self) -> str:
        """What was trained on, as the command said it."""
        return self.training[self.training.index("--data") + 1]

    @property
    def networks(self) -> list[Placed]:
        """The networks, by place."""
        return [row.network for row in self.rows]

    def sentences(self) -> list[str]:
        """What the race says of the search."""
        return sentences(self.networks, self.ends)


def read_race(folder: Path, *, within: Path | None = None) -> RaceFiles:
    """Read the files of a race that has ended.

    Args:
        folder: of the race.
        within: a folder above it, below which no link is followed; by default the folder itself.

    Raises:
        RaceError: they are not as a race writes them; the message is one sentence.
        RunFolderError: a link, or something else, stands in the place of one.
    """
    try:
        texts = {name: _text(folder / name, within or folder) for name in FILES}
        plan = json.loads(texts["race.json"])
        ends = tuple(_whole(rung["epochs"]) for rung in plan["schedule"])
        if not ends or list(ends) != sorted(set(ends)):
            raise ValueError("schedule: must have ascending epochs")
        curves = _curves(_rows("curves.csv", texts["curves.csv"], CURVES))
        rows = tuple(_row(row, ends, curves) for row in _rows("race.csv", texts["race.csv"], COLUMNS))
        if not 0 < len(rows) <= MOST or not rows[0].network.accuracies or math.isnan(rows[0].accuracy):
            raise ValueError("race.csv: must begin with a network that was trained")
        words = tuple(_shown(str(word)) for word in plan["training"])
        if "--data" not in words[:-1]:
            raise ValueError("training: must say what --data is")
        return RaceFiles(rows, ends, curves, words, *(_whole(plan[key]) for key in ("seeds", "test_images", "classes")))
    except (RaceError, RunFolderError):
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        said = _shown(" ".join(str(error).split()))[:200]
        raise RaceError(
            f"{folder}: race.json, race.csv and curves.csv must be as a race writes them, but are not: "
            f"{type(error).__name__}: {said}"
        ) from None


def _text(file: Path, within: Path) -> str:
    content = start_of(file, LARGEST + 1, within=within)
    if len(content) > LARGEST:
        raise ValueError(f"{file.name}: has more than {LARGEST:,} bytes")
    return content.decode()


def _rows(name: str, text: str, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if tuple(rows.fieldnames or ()) != tuple(columns):
        raise ValueError(f"{name}: must have the columns {', '.join(columns)}")
    for row in rows:
        if None in row or None in row.values():
            raise ValueError(f"{name}, line {rows.line_num}: must have {len(columns)} cells")
        yield row


def _curves(rows: Iterator[dict[str, str]]) -> dict[str, list[list[tuple[int, float]]]]:
    by_seed: dict[str, dict[int, list[tuple[int, float]]]] = {}
    for row in rows:
        seeds = by_seed.setdefault(_shown(row["network"]), {})
        seeds.setdefault(_whole(row["seed"]), []).append((_whole(row["epoch"]), _share(row["ema_accuracy"])))
    return {name: list(seeds.values()) for name, seeds in by_seed.items()}


def _row(row: dict[str, str], ends: Sequence[int], curves: Mapping[str, Sequence[Curve]]) -> Row:
    name, epochs = _shown(row["name"]), _whole(row["epochs"])
    if epochs and epochs not in ends:
        raise ValueError(f"epochs: must be those of a rung, but are {epochs}")
    trained = [dict(curve) for curve in curves.get(name, ())]
    accuracies = tuple(fmean(curve[end] for curve in trained) for end in ends if end <= epochs)
    roles = tuple(_shown(role) for role in row["roles"].split("; "))
    score = float(row["score"]) if row["score"] else None
    if score is not None and not math.isfinite(score):
        raise ValueError("score: must be a finite number")
    return Row(
        Placed(name, roles, score, accuracies),
        epochs,
        _share(row["accuracy"]),
        _share(row["standard_error"]),
        _share(row["mcnemar_p"]),
        _shown(row["reason"]),
    )


def _share(text: str) -> float:
    """A number from 0 to 1; NaN for one that is not there."""
    value = float(text) if text else math.nan
    if text and not 0 <= value <= 1:
        raise ValueError(f"must be a number from 0 to 1, but is {text!r}")
    return value


def _whole(value: Any) -> int:
    number = int(value)
    if not 0 <= number <= 10**6:
        raise ValueError(f"must be a whole number up to a million, but is {value!r}")
    return number


def _shown(text: str) -> str:
    """Text that fits into one line, whatever it was."""
    return text if text.isprintable() else ascii(text)
