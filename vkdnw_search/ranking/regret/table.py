"""The regrets of a study as columns of table.csv and as tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vkdnw_search.ranking.markdown import line, with_spread
from vkdnw_search.ranking.metrics import Quality
from vkdnw_search.ranking.regret.measurement import BEST, HALVES, LEAST, RANDOM, Limit, Regret, Subsamples

__all__ = ["RegretTable"]


@dataclass(frozen=True, slots=True)
class RegretTable:
    """The regret of every method of a study.

    Attributes:
        subsamples: where the methods chose.
        methods: method → accuracy column → regret, in the order of the table.
        references: the same of the best choice and of a random one.
    """

    subsamples: Subsamples
    methods: Mapping[str, Mapping[str, Regret]]
    references: Mapping[str, Mapping[str, Regret]]

    @property
    def limits(self) -> Sequence[Limit]:
        """The budgets, in the order in which they were asked for."""
        return self.subsamples.limits

    def header(self) -> list[str]:
        """The names of the columns of table.csv."""
        names = [f"{what}_{limit.budget}" for limit in self.limits for what in ("regret", "accuracy")]
        return [f"{name}{suffix}" for name in (*names, "regret_mean") for suffix in ("", "_std")]

    @staticmethod
    def numbers(regret: Regret) -> list[float]:
        """The cells of these columns for a method or a reference."""
        pairs = [q for both in zip(regret.lost, regret.accuracy, strict=True) for q in both]
        return [x for q in (*pairs, regret.mean) for x in (q.mean, q.deviation)]

    def markdown(self, kinds: Mapping[str, str]) -> str:
        """A table for each accuracy column.

        Args:
            kinds: method → its kind.
        """
        lines = [
            text for column in self.references[RANDOM] for text in (*self._about(column), *self._lines(column, kinds))
        ]
        return "\n".join(lines) + "\n"

    def _about(self, column: str) -> list[str]:
        few = [str(limit.budget) for limit in self.limits if limit.networks < LEAST]
        told = f" Fewer than {LEAST} networks are within {', '.join(few)}: not judged." if few else ""
        return [
            "",
            f"Regret under budgets, {column}: accuracy in points lost by taking the network that a method puts first "
            f"among those within the budget. Mean ± standard deviation over {HALVES} random halves of the networks. "
            f"The largest has {_millions(self.subsamples.largest)} FLOPs.{told}",
            "",
        ]

    def _lines(self, column: str, kinds: Mapping[str, str]) -> list[str]:
        best, random = self.references[BEST][column], self.references[RANDOM][column]
        return [
            line(["method", "type", *(str(limit.budget) for limit in self.limits), "mean"]),
            line([":--", ":--", *["--:"] * (len(self.limits) + 1)]),
            line(["FLOPs at most", "", *(_millions(limit.flops) for limit in self.limits), ""]),
            line(["networks", "", *(f"{limit.networks:,}" for limit in self.limits), ""]),
            line(["accuracy of the best", "reference", *map(_cell, best.accuracy), ""]),
            line(["accuracy of a random one", "reference", *map(_cell, random.accuracy), ""]),
            line([RANDOM, "reference", *map(_cell, (*random.lost, random.mean))]),
            *(
                line([method, kinds[method], *map(_cell, (*of[column].lost, of[column].mean))])
                for method, of in self.methods.items()
            ),
        ]


def _cell(quality: Quality) -> str:
    return with_spread(quality, "{:.2f}")


def _millions(flops: float) -> str:
    return f"{flops / 1e6:,.4g}M"
