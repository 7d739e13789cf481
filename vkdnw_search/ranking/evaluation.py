"""Scores and accuracies → the table of a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from vkdnw_search.ranking.comparison import TableRow, quality, table_markdown
from vkdnw_search.ranking.models import REPEATS, forest_predictions, model_features
from vkdnw_search.ranking.plan import Plan, Row, Terms, column
from vkdnw_search.ranking.tables import AccuracyTable

__all__ = ["Study", "evaluate"]

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Study:
    """What came of a study.

    Attributes:
        rows: the table.
        accuracies: of the networks that were ranked.
        P: places that nDCG counts.
        values: method → its value for each seed and network, (seeds, n); NaN: no usable score.
        markdown: the table as text.
    """

    rows: Sequence[TableRow]
    accuracies: AccuracyTable
    P: int
    values: Mapping[str, NDArray[np.float64]]
    markdown: str


def evaluate(
    space: str,
    chosen: AccuracyTable,
    columns: Sequence[str],
    plan: Plan,
    scores: Sequence[Mapping[str, Terms]],
    forwards: Mapping[str, float],
    *,
    P: int,
    training: int | None = None,
) -> Study:
    """The table of all rows of ``plan``.

    Args:
        space: name of the search space.
        chosen: the n networks and their accuracies.
        columns: which accuracies.
        plan: its rows are those of the table.
        scores: for each seed, part → term → values, (n,).
        forwards: row → its cost in forward passes.
        P: places that nDCG counts.
        training: adds the model-driven rows, trained on so many networks.
    """
    values = {row.name: np.stack([row.values(parts) for parts in scores]) for row in plan.rows}  # (seeds, n) each
    truths = {column: chosen.column(column) for column in columns}
    rows = [
        TableRow(
            row.name,
            row.kind,
            forwards[row.name],
            _failed(row, scores),
            {c: quality([(v, truth) for v in values[row.name]], P=P) for c, truth in truths.items()},
        )
        for row in plan.rows
    ]
    about = f"{space}: {len(chosen):,} networks, {len(scores)} seed{'s' * (len(scores) > 1)}, nDCG@{P:,}."
    if training is not None:
        features = [model_features(plan, parts, chosen.architectures, space=space) for parts in scores]
        rows += _model_rows(features, truths, P=P, training=training)
        about += f" Model rows: trained on {training:,} networks, measured on the others, {REPEATS} times."
    return Study(rows, chosen, P, values, table_markdown(rows, space=space, about=about))


def _failed(row: Row, scores: Sequence[Mapping[str, Terms]]) -> int:
    """How often a network could not be judged by some proxy of a row."""
    return sum(
        int(np.any([np.isnan(column(parts[part], term)) for part, term in row.sources.values()], axis=0).sum())
        for parts in scores
    )


def _model_rows(
    features: Sequence[Mapping[str, NDArray[np.float64]]], truths: Mapping[str, Vector], *, P: int, training: int
) -> list[TableRow]:
    """The rows that need known accuracies."""
    return [
        TableRow(
            name,
            "model",
            nan,
            0,
            {
                column: quality(_predictions([f[name] for f in features], truth, training), P=P)
                for column, truth in truths.items()
            },
        )
        for name in features[0]
    ]


def _predictions(
    features: Sequence[NDArray[np.float64]], truth: Vector, training: int
) -> Iterator[tuple[Vector, Vector]]:
    """(predicted, true) accuracies of each repetition; repetition r takes the scores of seed r modulo their number."""
    for repeat in range(REPEATS):
        matrix = features[repeat % len(features)]
        left, predicted = forest_predictions(matrix, truth, training=training, repeat=repeat)
        yield predicted, truth[left]
