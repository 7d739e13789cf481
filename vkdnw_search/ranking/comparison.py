"""The table of a study: τ, ρ and nDCG of each row for each accuracy column, in the form of the paper's Table 1."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vkdnw_search.ranking.metrics import kendall, ndcg_at, spearman
from vkdnw_search.ranking.published import published

__all__ = ["METRICS", "Quality", "TableRow", "quality", "table_csv", "table_markdown"]

METRICS = ("kendall", "spearman", "ndcg")
_SIGNS = {"kendall": "τ", "spearman": "ρ", "ndcg": "nDCG"}

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Quality:
    """A metric's mean and standard deviation over repetitions; the latter NaN for one."""

    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class TableRow:
    """One method.

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
    measured = np.array([[kendall(s, a), spearman(s, a), ndcg_at(s, a, P=P)] for s, a in rankings])  # (repetitions, 3)
    spread = measured.std(axis=0, ddof=1) if len(measured) > 1 else np.full(len(METRICS), np.nan)
    return {
        name: Quality(float(mean), float(deviation))
        for name, mean, deviation in zip(METRICS, measured.mean(axis=0), spread, strict=True)
    }


def table_csv(rows: Sequence[TableRow], *, space: str) -> str:
    """A line for each method and column, with the paper's numbers where it has any; unknown numbers are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ours = [f"{metric}{suffix}" for metric in METRICS for suffix in ("", "_std")]
    writer.writerow(["method", "type", "column", *ours, *(f"paper_{m}" for m in METRICS), "forwards", "failed"])
    for row in rows:
        for column, qualities in row.qualities.items():
            measured = [x for m in METRICS for x in (qualities[m].mean, qualities[m].deviation)]
            paper = published(space=space, method=row.name, column=column) or [math.nan] * len(METRICS)
            numbers = ["" if math.isnan(x) else repr(x) for x in (*measured, *paper, row.forwards)]
            writer.writerow([row.name, row.kind, column, *numbers, row.failed])
    return text.getvalue()


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
        _line(["method", "type", *heads, "forwards", "failed"]),
        _line([":--", ":--", *["--:"] * (len(heads) + 2)]),
    ]
    for row in rows:
        cells = [
            _cell(row.qualities[column][metric], _paper(space, row.name, column, metric))
            for column in columns
            for metric in METRICS
        ]
        lines.append(_line([row.name, row.kind, *cells, _number(row.forwards, "{:.3g}"), str(row.failed)]))
    paper = [row for row in rows for column in columns if published(space=space, method=row.name, column=column)]
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
    row = published(space=space, method=method, column=column)
    return math.nan if row is None else float(getattr(row, metric))


def _cell(quality: Quality, paper: float) -> str:
    spread = "" if math.isnan(quality.deviation) else f" ± {quality.deviation:.3f}"
    return _number(quality.mean, "{:.3f}") + spread + ("" if math.isnan(paper) else f" ({paper:.3f})")


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else form.format(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
