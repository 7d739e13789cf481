"""What a comparison of runs came to: as records, as a table of a notebook, as text, and as a page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vkdnw_search.comparing.contenders import Contender
from vkdnw_search.comparing.rescored import Rescored, labels_of
from vkdnw_search.runs.result import frame_of


@dataclass(frozen=True)
class Comparison:
    """Runs that have ended, side by side.

    Attributes:
        runs: what each asked and found, called A, B, … in the order given.
        rescored: the winners scored anew, for each space that runs share and each proxy of theirs.
    """

    runs: tuple[Contender, ...]
    rescored: tuple[Rescored, ...]

    def records(self) -> list[dict[str, Any]]:
        """A row for each run, all with the same names; NaN, None or an empty text where there is nothing to tell."""
        labels = labels_of(self.runs)
        measures = list(dict.fromkeys(s.measure for c in self.runs if c.opinion for s in c.opinion.standings))
        return [
            {
                "run": c.letter,
                "folder": str(c.folder),
                "name": c.recipe.name,
                "space": c.winner.space.name,
                "proxy": labels[c.letter],
                "candidates": c.candidates,
                "seconds": c.seconds,
                "score": c.fitness,
                "standard_error": c.winner.score.standard_error,
                "flops": c.winner.cost.flops,
                "parameters": c.winner.cost.parameters,
                "layers": c.winner.cost.layers,
                **_percentiles(c, measures),
                **self._anew(c),
                **_race(c),
                "architecture": c.winner.key,
            }
            for c in self.runs
        ]

    def _anew(self, contender: Contender) -> dict[str, Any]:
        """``rescored.PROXY`` with its error and verdict; two spaces may be scored by one proxy, each run is in one."""
        found: dict[str, Any] = {}
        for scored in self.rescored:
            row = scored.row(contender.letter)
            name = f"rescored.{scored.label}"
            if row is not None or name not in found:
                found[name] = math.nan if row is None else row.mean
                found[f"{name}.standard_error"] = math.nan if row is None else row.standard_error
                found[f"{name}.verdict"] = "" if row is None else row.verdict
        return found

    def to_frame(self) -> Any:
        """``records`` as a pandas DataFrame, or as they are without pandas."""
        return frame_of(self.records(), index="run")

    def in_words(self) -> str:
        """The comparison as text for a terminal."""
        from vkdnw_search.comparing.wording import in_words

        return in_words(self)

    def to_html(self) -> str:
        """The comparison as one page, which needs no network and has no scripts; all text in it is escaped."""
        from vkdnw_search.comparing.page import page

        return page(self)


def _percentiles(contender: Contender, measures: list[str]) -> dict[str, float]:
    standings = () if contender.opinion is None else contender.opinion.standings
    known = {s.measure: s.percentile for s in standings}
    return {f"percentile.{measure}": known.get(measure, math.nan) for measure in measures}


def _race(contender: Contender) -> dict[str, Any]:
    race = contender.race
    winner = None if race is None else race.winner
    return {
        "race.network": "" if winner is None else winner.network.name,
        "race.accuracy": math.nan if winner is None else winner.accuracy,
        "race.standard_error": math.nan if winner is None else winner.standard_error,
        "race.epochs": None if winner is None else winner.epochs,
        "race.data": "" if race is None else race.files.data,
    }
