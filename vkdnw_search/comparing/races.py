"""The races in run folders: who won each, and which winner is ahead where both were trained in the same way."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vkdnw_search.contained_files import start_of
from vkdnw_search.errors import RunFolderError, shortened
from vkdnw_search.runs.judgement import read_record

COLUMNS = ("place", "name", "roles", "architecture", "accuracy", "standard_error", "epochs")
"""What is read of race.csv."""

LARGEST = 10_000_000
"""Bytes that a file of a race may have; those of a race of a hundred networks have a hundredth."""


@dataclass(frozen=True, slots=True)
class RaceTerms:
    """How a race was run, as far as it bears on accuracies: what is read of race.json."""

    training: tuple[str, ...]
    seeds: int
    test_images: int
    classes: int


@dataclass(frozen=True, slots=True)
class RaceOutcome:
    """The winner of a race.

    Attributes:
        name: the network, as ``network 17``, or what the user called it.
        roles: why it raced: ``winner`` is that of the search.
        architecture: as text, or the path of a module of the user's.
        accuracy: a share of the test images.
        standard_error: of the accuracy.
        epochs: it trained for.
        networks: how many raced.
        terms: the data and the options of training.
    """

    name: str
    roles: str
    architecture: str
    accuracy: float
    standard_error: float
    epochs: int
    networks: int
    terms: RaceTerms

    def __post_init__(self) -> None:
        if not 0 <= self.accuracy <= 1 or not 0 <= self.standard_error < math.inf or self.epochs < 1:
            raise ValueError(
                "its winner must have an accuracy from 0 to 1, a standard error and epochs, but has "
                f"{self.accuracy} ± {self.standard_error} after {self.epochs}"
            )

    @property
    def data(self) -> str:
        """What ``--data`` named."""
        words = self.terms.training
        place = words.index("--data") + 1 if "--data" in words else len(words)
        return words[place] if place < len(words) else "?"

    def is_like(self, other: RaceOutcome) -> bool:
        """Whether both were trained in the same way, on the same data as far as its name and sizes tell."""
        ours, theirs = self.terms, other.terms
        same_data = (ours.test_images, ours.classes) == (theirs.test_images, theirs.classes)
        return ours.training == theirs.training and same_data and self.epochs == other.epochs

    def ahead_of(self, other: RaceOutcome) -> tuple[float, float]:
        """The lead in accuracy, and its standard error as of independent test images.

        Networks that are tested on the same images mostly err on the same ones, so the true error is smaller.
        """
        return self.accuracy - other.accuracy, math.hypot(self.standard_error, other.standard_error)


def read_race(folder: Path) -> RaceOutcome | None:
    """The outcome of the race in ``folder``, that of a run; None where there is none that has ended.

    Raises:
        RunFolderError: its files are not as they were written, or are links.
    """
    described, table = (_text(folder / "race" / name, folder) for name in ("race.json", "race.csv"))
    if described is None or table is None:
        return None
    try:
        return _outcome(list(csv.DictReader(io.StringIO(table), strict=True)), read_record(RaceTerms, described))
    except (ValueError, TypeError, csv.Error) as error:
        raise RunFolderError(
            f"{folder / 'race'}: race.json and race.csv must be as the race wrote them, but are not: "
            f"{shortened(error)}. Take the folder from a backup, or move it away to compare without it"
        ) from error


def _outcome(rows: Sequence[dict[str, str]], terms: RaceTerms) -> RaceOutcome:
    first = next((row for row in rows if row.get("place") == "1"), None)
    if first is None or not set(COLUMNS) <= set(first):
        raise ValueError(f"race.csv must have a network in place 1, and the columns {', '.join(COLUMNS)}")
    return RaceOutcome(
        first["name"],
        first["roles"],
        first["architecture"],
        float(first["accuracy"]),
        float(first["standard_error"]),
        int(first["epochs"]),
        len(rows),
        terms,
    )


def _text(file: Path, within: Path) -> str | None:
    try:
        content = start_of(file, LARGEST + 1, within=within)
    except FileNotFoundError:
        return None
    try:
        if len(content) > LARGEST:
            raise ValueError(f"it has more than {LARGEST} bytes")
        return content.decode()
    except ValueError as error:
        raise RunFolderError(f"{file}: must be as the race wrote it, but is not: {shortened(error)}") from error
