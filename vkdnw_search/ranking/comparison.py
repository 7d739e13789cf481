"""The table of a study: τ, ρ and nDCG of each row for each accuracy column, in the form of the paper's Table 1."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vkdnw_search.ranking.markdown import line, number, with_spread
from vkdnw_search.ranking.metrics import Quality, kendall, ndcg_at, precision_at, regret_at, spearman
from vkdnw_search.ranking.published import published_row
from vkdnw_search.ranking.regret.table import RegretTable

__all__ = ["METRICS", "TOP", "Quality", "TableRow", "quality", "table_csv", "table_markdown"]

METRICS = ("kendall", "spearman", "ndcg")
"""The metrics of the paper's Table 1."""

TOP = ("regret_1", "regret_10", "precision_100")
"""What a search cares about, in table.csv alone: accuracy lost by training the 1, the 10 best-scored networks; share
of the 100 best-scored that are among the 100 most accurate. All networks where there are fewer."""

_SIGNS = {"kendall": "τ", "spearman": "ρ", "ndcg": "nDCG"}

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of the table: one method, with its metrics.

    Attributes:
        kind: ``single``, ``aggregate`` or ``model``.
        forwards: cost per network in forward passes of the same batch; NaN where unknown.
        failed: scores that are missing, over all seeds.
        qualities: accuracy column → metric → its quality.
    """

    name: str
    kind: str
    forwards: float
    failed: int
    qualities: Mapping[str, Mapping[str, Quality]]


def quality(rankings: Iterable[tuple[Vector, Vector]], *, P: int) -> dict[str, Quality]:
    """Metric → quality over repetitions, each (scores, accuracies) of shapes (n,), (n,)."""
    measured = np.array([_measured(s, a, P) for s, a in rankings])  # (repetitions, 6)
    spread = measured.std(axis=0, ddof=1) if len(measured) > 1 else np.full(measured.shape[1], np.nan)
    return {
        name: Quality(float(mean), float(deviation))
        for name, mean, deviation in zip((*METRICS, *TOP), measured.mean(axis=0), spread, strict=True)
    }


def _measured(scores: Vector, accuracies: Vector, P: int) -> list[float]:
    """The metrics in the order of METRICS and TOP."""
    n = len(scores)
    return [
        kendall(scores, accuracies),
        spearman(scores, accuracies),
        ndcg_at(scores, accuracies, P=P),
        regret_at(scores, accuracies, k=1),
        regret_at(scores, accuracies, k=min(10, n)),
        precision_at(scores, accuracies, k=min(100, n)),
    ]


def table_csv(rows: Sequence[TableRow], regrets: RegretTable | None = None, *, space: str) -> str:
    """A line for each method and column, with the paper's numbers where it has any; unknown numbers are empty.

    With ``regrets`` there are more columns, and lines of the best choice and of a random one.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    metrics = (*METRICS, *TOP)
    ours = [f"{metric}{suffix}" for metric in metrics for suffix in ("", "_std")]
    paper = [f"paper_{metric}" for metric in METRICS]
    more = regrets.header() if regrets else []
    writer.writerow(["method", "type", "column", *ours, *paper, "forwards", "failed", *more])
    for row in rows:
        for column, qualities in row.qualities.items():
            measured = [x for m in metrics for x in (qualities[m].mean, qualities[m].deviation)]
            known = published_row(space=space, method=row.name, column=column) or [math.nan] * len(METRICS)
            numbers = _numbers([*measured, *known, row.forwards])
            lost = _numbers(regrets.numbers(regrets.methods[row.name][column])) if regrets else []
            writer.writerow([row.name, row.kind, column, *numbers, row.failed, *lost])
    if regrets is not None:
        for name, columns in regrets.references.items():
            for column, regret in columns.items():
                unknown = [""] * (len(ours) + len(paper) + 2)
                writer.writerow([name, "reference", column, *unknown, *_numbers(regrets.numbers(regret))])
    return text.getvalue()


def _numbers(values: Iterable[float]) -> list[str]:
    """Exact texts, empty for NaN."""
    return ["" if math.isnan(value) else repr(float(value)) for value in values]


def table_markdown(rows: Sequence[TableRow], *, space: str, about: str) -> str:
    """Table 1's form: a line for each method, three numbers for each column; in brackets the paper's.

    Args:
        rows: of the table, in order.
        space: name of the search space.
        about: a sentence on what was ranked.
    """
    columns = list(rows[0].qualities)
    heads = [f"{column} {_SIGNS[metric]}" for column in columns for metric in METRICS]
    lines = [
        about,
        "",
        line(["method", "type", *heads, "forwards", "failed"]),
        line([":--", ":--", *["--:"] * (len(heads) + 2)]),
    ]
    for row in rows:
        cells = [
            _cell(row.qualities[column][metric], _paper(space, row.name, column, metric))
            for column in columns
            for metric in METRICS
        ]
        lines.append(line([row.name, row.kind, *cells, number(row.forwards, "{:.3g}"), str(row.failed)]))
    paper = [row for row in rows for column in columns if published_row(space=space, method=row.name, column=column)]
    if paper:
        lines += [
            "",
            "In brackets: the published number (VKDNW, arXiv 2502.04975, Table 1: 9,445 networks, five seeds).",
        ]
    lines += [
        "",
        "± is the standard deviation over seeds (model rows: over training sets). forwards: cost per network, in "
        "forward passes without gradients of the same batch on one thread.",
    ]
    return "\n".join(lines) + "\n"


def _paper(space: str, method: str, column: str, metric: str) -> float:
    row = published_row(space=space, method=method, column=column)
    return math.nan if row is None else float(getattr(row, metric))


def _cell(quality: Quality, paper: float) -> str:
    return with_spread(quality, "{:.3f}") + ("" if math.isnan(paper) else f" ({paper:.3f})")
