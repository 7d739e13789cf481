"""What a race found: places, accuracies with their errors, and whether the first is really better than each other."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, variance
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vkdnw_search.output.race_files import COLUMNS
from vkdnw_search.output.race_story import Placed, correlation, draw_curves, sentences
from vkdnw_search.racing.schedule import Rung
from vkdnw_search.runs.result import frame_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Racer:
    """How far a network came.

    Attributes:
        name, roles, key, score, flops, parameters: of the entrant.
        accuracies: after each rung that it trained for, a share for each seed; of the averaged weights.
        right: which test images it labels right after its last rung, (seeds, N), bool; empty if it failed.
        reason: why it could not be trained; empty if it could.
        folder: of its module and its trainings.
    """

    name: str
    roles: tuple[str, ...]
    key: str
    score: float | None
    flops: int | None
    parameters: int | None
    accuracies: tuple[tuple[float, ...], ...]
    right: NDArray[np.bool_]
    reason: str
    folder: Path

    def training(self, seed: int) -> Path:
        """Where its training from a seed is kept."""
        return self.folder / f"seed-{seed}"

    @property
    def accuracy(self) -> float:
        """The mean over seeds after the last rung that it trained for; NaN without one."""
        return fmean(self.accuracies[-1]) if self.accuracies else math.nan

    @property
    def standard_error(self) -> float:
        """Of ``accuracy``: √(a (1 − a) / N + s² / k), over N test images and, with k > 1 seeds, their variance s²."""
        if not self.accuracies or not self.right.size:
            return math.nan
        of_images = self.accuracy * (1 - self.accuracy) / self.right.shape[1]
        seeds = self.accuracies[-1]
        return math.sqrt(of_images + (variance(seeds) / len(seeds) if len(seeds) > 1 else 0.0))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """The exact two-sided p-value of McNemar's test (1947) that two networks label as many images right.

    Of the images that one alone labels right, half are each one's if neither is better: a binomial test of their
    numbers. 1 where there are none.

    Args:
        first, second: which images are labelled right, of equal shape.
    """
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    return float(stats.binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0


@dataclass(frozen=True)
class Race:
    """The end of a race.

    Attributes:
        racers: the winner, then the others by how far they came and their accuracy there; failed ones last.
        rungs: its parts.
        images: number of test images.
        seeds: trainings of each network.
        folder: where everything is.
    """

    racers: tuple[Racer, ...]
    rungs: tuple[Rung, ...]
    images: int
    seeds: int
    folder: Path

    @property
    def winner(self) -> Racer:
        """The network that learned best."""
        return self.racers[0]

    @property
    def weights(self) -> Path:
        """The file with the winner's weights, from its first seed."""
        safe = self.folder / "best" / "weights.safetensors"
        return safe if safe.exists() else safe.with_name("weights.pt")

    @property
    def correlation(self) -> float:
        """Spearman's ρ of score and accuracy after the first rung, which all trained for; NaN for fewer than three."""
        return correlation(self._placed())

    def compared(self, other: Racer) -> float:
        """McNemar's p of the winner against ``other``; NaN where it did not train as long."""
        if other is self.winner or other.right.shape != self.winner.right.shape or not other.right.size:
            return math.nan
        if len(other.accuracies) < len(self.winner.accuracies):
            return math.nan
        return mcnemar(self.winner.right.ravel(), other.right.ravel())

    def epochs(self, racer: Racer) -> int:
        """The epochs that a network trained for."""
        return self.rungs[len(racer.accuracies) - 1].epochs if racer.accuracies else 0

    def records(self) -> list[dict[str, Any]]:
        """A row for each network, by place."""
        return [
            {
                "place": place,
                "name": r.name,
                "roles": "; ".join(r.roles),
                "epochs": self.epochs(r),
                "accuracy": r.accuracy,
                "standard_error": r.standard_error,
                "mcnemar_p": self.compared(r),
                "score": math.nan if r.score is None else r.score,
                "flops": r.flops,
                "parameters": r.parameters,
                "reason": r.reason,
                "architecture": r.key,
            }
            for place, r in enumerate(self.racers, start=1)
        ]

    def to_csv(self) -> str:
        """``records`` as CSV; a number that is not there is left empty."""
        text = io.StringIO()
        rows = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        rows.writeheader()
        for row in self.records():
            rows.writerow({name: "" if value is None or value != value else value for name, value in row.items()})
        return text.getvalue()

    def to_frame(self) -> Any:
        """``records`` as a pandas DataFrame, or as they are without pandas."""
        return frame_of(self.records(), index="place")

    def plot(self) -> Figure:
        """Accuracy of each network after each epoch, with the ends of the rungs, as a matplotlib figure."""
        from matplotlib.figure import Figure  # takes a second, and only those who plot need it

        from vkdnw_search.racing.training import ACCURACY, EPOCH, curve

        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        curves = {
            racer.name: [
                [(int(row[EPOCH]), row[ACCURACY]) for row in curve(racer.training(number))]
                for number in range(self.seeds)
            ]
            for racer in self.racers
        }
        draw_curves(figure.subplots(), self._placed(), curves, self._ends())
        return figure

    def in_words(self) -> str:
        """The table and what it comes to."""
        lines = [
            f"{place:>2}  {r.accuracy:7.2%} ± {r.standard_error:.2%}  after {self.epochs(r):>3}  {r.name} "
            f"({', '.join(r.roles)}){_lead(self.compared(r))}"
            if r.accuracies
            else f"{place:>2}  cannot be trained: {r.name} ({', '.join(r.roles)}): {r.reason}"
            for place, r in enumerate(self.racers, start=1)
        ]
        return "\n".join([*lines, "", *sentences(self._placed(), self._ends())])

    def _placed(self) -> list[Placed]:
        return [Placed(r.name, r.roles, r.score, tuple(map(fmean, r.accuracies))) for r in self.racers]

    def _ends(self) -> list[int]:
        return [rung.epochs for rung in self.rungs]


def _lead(p: float) -> str:
    if math.isnan(p):
        return ""
    return f"  p = {p:.2g}" if p < SIGNIFICANT else f"  p = {p:.2g}: cannot be told from the first"


def standing(racers: Sequence[Racer]) -> list[Racer]:
    """By how far they came and their accuracy there; equals in the order given."""
    return sorted(racers, key=lambda r: (bool(r.reason), -len(r.accuracies), -r.accuracy if r.accuracies else 0.0))
