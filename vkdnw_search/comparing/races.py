"""The races in run folders: who won each, and which winner is ahead where both were trained in the same way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from vkdnw_search.errors import RaceError, RunFolderError
from vkdnw_search.output.race_files import RaceFiles, Row
from vkdnw_search.output.race_files import read_race as read_files


@dataclass(frozen=True, slots=True)
class RaceOutcome:
    """A race that has ended.

    Attributes:
        files: what its files say.
    """

    files: RaceFiles

    @property
    def winner(self) -> Row:
        """The network that learned best."""
        return self.files.rows[0]

    @property
    def terms(self) -> tuple[object, ...]:
        """How it was trained, on which data as far as name and sizes tell: races that are equal here are compared."""
        return (self.files.training, self.files.test_images, self.files.classes, self.winner.epochs)

    def ahead_of(self, other: RaceOutcome) -> tuple[float, float]:
        """The lead in accuracy, and its standard error as of independent test images.

        Networks that are tested on the same images mostly err on the same ones, so the true error is smaller.
        """
        ours, theirs = self.winner, other.winner
        return ours.accuracy - theirs.accuracy, math.hypot(ours.standard_error, theirs.standard_error)


def read_race(folder: Path) -> RaceOutcome | None:
    """The outcome of the race in ``folder``, that of a run; None where there is none that has ended.

    Raises:
        RunFolderError: its files are not as they were written, or are links.
    """
    race = folder / "race"
    if not all((race / name).exists() for name in ("race.json", "race.csv")):
        return None
    try:
        return RaceOutcome(read_files(race, within=folder))
    except RaceError as error:
        raise RunFolderError(
            f"{error}. Take the folder from a backup, or move it away to compare without it"
        ) from error
