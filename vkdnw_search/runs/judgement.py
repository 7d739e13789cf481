"""How sure a search is of its choice: finalists, baselines and a second opinion on the winner, as records."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from vkdnw_search.quantities import amount
from vkdnw_search.records import Cost

T = TypeVar("T")


class _ScoredAnew:
    """What has a score for each of several fresh initializations."""

    __slots__ = ()
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean of ``values``; NaN without any."""
        return fmean(self.values) if self.values else math.nan

    @property
    def standard_error(self) -> float:
        """The standard error of the mean; NaN with fewer than two values."""
        return standard_error(self.values)


@dataclass(frozen=True, slots=True)
class Finalist(_ScoredAnew):
    """A candidate scored on fresh initializations.

    Attributes:
        role: ``"finalist"`` or which baseline it is.
        number: of its evaluation.
        key: its architecture.
        values: a score for each fresh initialization; the i-th are from one and the same seed for all candidates.
        verdict: how the winner compares, in words.
    """

    role: str
    number: int
    key: str
    values: tuple[float, ...]
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Yardstick(_ScoredAnew):
    """A network of the user's beside what a search found. It need not be in the space, and never wins.

    Attributes:
        name: as the user gave it.
        source: the architecture as text; of a class of a file its name and a hash of its code.
        cost: as candidates are counted.
        outside: the limits of the run that it does not keep, in words; empty if it keeps them all.
        values: a score for each fresh initialization, the i-th from the same seed as that of the finalists; empty
            where it has none.
        verdict: how the winner compares, in words.
        fault: why it has no score; empty if it has one.
        note: what else to know of how it was counted and scored.
    """

    name: str
    source: str
    cost: Cost
    outside: str = ""
    values: tuple[float, ...] = ()
    verdict: str = ""
    fault: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class BandWinner:
    """The winner among the networks of one range of a cost, or None if there is none.

    Attributes:
        above, at_most: the range.
        winner: with its values on fresh initializations.
        of: the field of Cost that it is a range of.
    """

    above: int
    at_most: int
    winner: Finalist | None
    of: str = "flops"


@dataclass(frozen=True, slots=True)
class WholeLatency:
    """How long a network takes that was timed whole before it could win.

    Attributes:
        number: of its evaluation.
        seconds: the median of the timings.
        spread: the distance of their quartiles over the median.
        timings: how many there were.
        within: whether it keeps the limit, but for a tolerance.
    """

    number: int
    seconds: float
    spread: float
    timings: int
    within: bool

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value >= 0 for value in (self.seconds, self.spread)) or self.timings < 1:
            raise ValueError(f"a latency must be finite and not negative, of one timing or more, but is {self!r}")

    def __str__(self) -> str:
        time = amount("latency", 1e6 * self.seconds)
        return f"{time} (median of {self.timings} timings, quartiles {100 * self.spread:.2g} % apart)"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the winner stands among other visited networks by one measure.

    Attributes:
        measure: its name; higher is better, or of sizes more.
        value: of the winner.
        percentile: per cent of the others that are below the winner, those equal to it counted half.
        others: number of the others.
    """

    measure: str
    value: float
    percentile: float
    others: int

    @property
    def whole(self) -> int:
        """The percentile without its fraction, as it is shown: what is below 20 shall not be shown as 20."""
        return math.floor(self.percentile)

    def __post_init__(self) -> None:
        if not math.isfinite(self.value) or not 0 <= self.percentile <= 100 or self.others < 1:
            raise ValueError(f"a standing needs a finite value and a percentile from 0 to 100, but is {self}")


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """What other measures than the score of the search say of the winner.

    Attributes:
        sizes: FLOPs and parameters, among all other visited networks within the limits.
        measures: other scores, among a sample of these networks; without those that the winner does not have.
        channels: of the winner's stages in order of execution; empty where they are not known.
    """

    sizes: tuple[Standing, ...] = ()
    measures: tuple[Standing, ...] = ()
    channels: tuple[int, ...] = ()

    @property
    def standings(self) -> tuple[Standing, ...]:
        """The winner's standing by every measure, sizes first."""
        return (*self.sizes, *self.measures)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Who wins, and what to think of it.

    Attributes:
        winner: number of the first finalist that can be trained; None if nothing was scored.
        finalists: the winner, then the others, best mean first; those that cannot be trained say so. Where ties go to
            the most FLOPs, another may have a higher mean than the winner.
        baselines: what one could have had without a search.
        bands: one for each band the recipe asks for, ascending.
        correlations: Spearman's ρ of the score with FLOPs, parameters, layers and tensors over scored candidates.
        warnings: sentences a user should read.
        untrainable: numbers of candidates that were tried and cannot be trained; others may not have been tried.
        second_opinion: the winner by other measures; None without a winner, and in runs from before there was any.
        yardsticks: networks of the user's beside the winner, as given; none of them is a candidate.
        whole_latencies: of networks that were timed whole before they could win, where a limit asks for that.
    """

    winner: int | None
    finalists: tuple[Finalist, ...]
    baselines: tuple[Finalist, ...]
    bands: tuple[BandWinner, ...]
    correlations: dict[str, float]
    warnings: tuple[str, ...]
    untrainable: tuple[int, ...] = ()
    second_opinion: SecondOpinion | None = None
    yardsticks: tuple[Yardstick, ...] = ()
    whole_latencies: tuple[WholeLatency, ...] = ()

    @property
    def whole_latency(self) -> WholeLatency | None:
        """How long the winner takes, timed whole; None where it was not."""
        return next((found for found in self.whole_latencies if found.number == self.winner), None)

    @property
    def refused(self) -> frozenset[int]:
        """The numbers of candidates that were found to be unfit to win: they cannot be trained, or are too slow."""
        slow = {found.number for found in self.whole_latencies if not found.within}
        return frozenset({*self.untrainable, *slow} - {self.winner})

    @property
    def means(self) -> dict[int, float]:
        """Number → mean over fresh initializations, of the finalists and the winners of bands that have one."""
        judged = (*self.finalists, *(band.winner for band in self.bands if band.winner is not None))
        return {f.number: f.mean for f in judged if not math.isnan(f.mean)}

    def to_json(self) -> str:
        """As text, to be kept with the run."""
        yardsticks = [asdict(yardstick) for yardstick in self.yardsticks]
        return json.dumps(
            {
                "winner": self.winner,
                "finalists": [_plain(f) for f in self.finalists],
                "baselines": [_plain(f) for f in self.baselines],
                "bands": [
                    {
                        "of": b.of,
                        "above": b.above,
                        "at_most": b.at_most,
                        "winner": None if b.winner is None else _plain(b.winner),
                    }
                    for b in self.bands
                ],
                "correlations": self.correlations,
                "warnings": self.warnings,
                "untrainable": self.untrainable,
                "second_opinion": None if self.second_opinion is None else asdict(self.second_opinion),
                **({"yardsticks": yardsticks} if yardsticks else {}),
                **({"whole_latencies": [asdict(w) for w in self.whole_latencies]} if self.whole_latencies else {}),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Judgement:
        """The judgement that ``text``, made by :meth:`to_json`, stands for.

        Raises:
            ValueError: it stands for none.
        """
        return read_record(cls, text)


def finalists_csv(judgement: Judgement) -> str:
    """The table of ``judgement``: the winner first, baselines after the finalists, the user's networks last."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["role", "number", "mean", "standard_error", "verdict", "values", "architecture"])
    for f in (*judgement.finalists, *judgement.baselines):
        values = " ".join(map(repr, f.values))
        writer.writerow([f.role, f.number, repr(f.mean), repr(f.standard_error), f.verdict, values, f.key])
    for y in judgement.yardsticks:
        values, told = " ".join(map(repr, y.values)), "; ".join(filter(None, (y.verdict, y.fault, y.outside, y.note)))
        writer.writerow([f"yours: {y.name}", "", repr(y.mean), repr(y.standard_error), told, values, y.source])
    return text.getvalue()


def standard_error(values: Sequence[float]) -> float:
    """The standard error of the mean of ``values``; NaN with fewer than two."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _plain(finalist: Finalist) -> dict[str, Any]:
    numbers = {"mean": finalist.mean, "standard_error": finalist.standard_error}
    return asdict(finalist) | {name: None if math.isnan(value) else value for name, value in numbers.items()}


def read_record(kind: type[T], text: str) -> T:
    """What the JSON in ``text`` stands for, of exactly this type, such as a dataclass or ``dict[str, float]``.

    Raises:
        ValueError: it is not; the message, of one line, says where.
    """
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from error
