"""Scores and accuracies → the table of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan

import numpy as np
from numpy.typing import NDArray

from vkdnw_search.ranking.comparison import TableRow, quality, table_markdown
from vkdnw_search.ranking.models import REPEATS, forest_predictions, model_features
from vkdnw_search.ranking.plan import Plan, Row, Terms, column
from vkdnw_search.ranking.regret.measurement import Ranking, Regret, Subsamples, references, regrets
from vkdnw_search.ranking.regret.table import RegretTable
from vkdnw_search.ranking.tables import AccuracyTable

__all__ = ["Study", "evaluate"]

Vector = NDArray[np.float64]

Predictions = Mapping[str, Mapping[str, Sequence[tuple[NDArray[np.intp], Vector]]]]
"""Model row → accuracy column → for each repetition the networks left out of training, and what is predicted there."""


@dataclass(frozen=True, slots=True)
class Study:
    """The outcome of a study.

    Attributes:
        rows: the table.
        accuracies: of the networks that were ranked.
        P: places that nDCG counts.
        values: method → its value for each seed and network, (seeds, n); NaN: no usable score.
        regrets: what the methods lose under budgets; None where there are no budgets.
        markdown: the tables as text.
    """

    rows: Sequence[TableRow]
    accuracies: AccuracyTable
    P: int
    values: Mapping[str, NDArray[np.float64]]
    regrets: RegretTable | None
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
    subsamples: Subsamples | None = None,
) -> Study:
    """Compute the table of all rows of ``plan``.

    Args:
        space: name of the search space.
        chosen: the n networks and their accuracies.
        columns: which accuracies.
        plan: its rows are those of the table.
        scores: for each seed, part → term → values, (n,).
        forwards: row → its cost in forward passes.
        P: places that nDCG counts.
        training: adds the model-driven rows, trained on so many networks.
        subsamples: adds what the methods lose under budgets.
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
    predicted: Predictions = {}
    if training is not None:
        features = [model_features(plan, parts, chosen.architectures, space=space) for parts in scores]
        predicted = {name: _predictions([f[name] for f in features], truths, training) for name in features[0]}
        rows += [_model_row(name, found, truths, P=P) for name, found in predicted.items()]
        about += f" Model rows: trained on {training:,} networks, measured on the others, {REPEATS} times."
    markdown = table_markdown(rows, space=space, about=about)
    lost = None if subsamples is None else _regrets(plan, scores, predicted, truths, subsamples)
    if lost is not None:
        markdown += lost.markdown({row.name: row.kind for row in rows})
    return Study(rows, chosen, P, values, lost, markdown)


def _failed(row: Row, scores: Sequence[Mapping[str, Terms]]) -> int:
    """The number of times that a network could not be judged by some proxy of a row."""
    return sum(
        int(np.any([np.isnan(column(parts[part], term)) for part, term in row.sources.values()], axis=0).sum())
        for parts in scores
    )


def _predictions(
    features: Sequence[NDArray[np.float64]], truths: Mapping[str, Vector], training: int
) -> Mapping[str, Sequence[tuple[NDArray[np.intp], Vector]]]:
    """For each column and repetition; repetition r takes the scores of seed r modulo their number."""
    return {
        column: [
            forest_predictions(features[repeat % len(features)], truth, training=training, repeat=repeat)
            for repeat in range(REPEATS)
        ]
        for column, truth in truths.items()
    }


def _model_row(
    name: str,
    predicted: Mapping[str, Sequence[tuple[NDArray[np.intp], Vector]]],
    truths: Mapping[str, Vector],
    *,
    P: int,
) -> TableRow:
    """A row that needs known accuracies."""
    qualities = {
        column: quality([(values, truths[column][left]) for left, values in repetitions], P=P)
        for column, repetitions in predicted.items()
    }
    return TableRow(name, "model", nan, 0, qualities)


def _regrets(
    plan: Plan,
    scores: Sequence[Mapping[str, Terms]],
    predicted: Predictions,
    truths: Mapping[str, Vector],
    subsamples: Subsamples,
) -> RegretTable:
    """The regret of every row; a model chooses among the networks it was not trained on."""
    n = len(next(iter(truths.values())))
    every = np.ones(n, dtype=np.bool_)
    found = {
        row.name: regrets([Ranking(partial(row.values, parts), every) for parts in scores], truths, subsamples)
        for row in plan.rows
    }
    for name, columns in predicted.items():
        found[name] = {
            column: _model_regret(repetitions, truths[column], subsamples) for column, repetitions in columns.items()
        }
    return RegretTable(subsamples, found, references(truths, subsamples))


def _model_regret(
    repetitions: Sequence[tuple[NDArray[np.intp], Vector]], truth: Vector, subsamples: Subsamples
) -> Regret:
    """The regret of a model by one kind of accuracy, each repetition having networks of its own to choose from."""
    rankings = []
    for left, values in repetitions:
        everywhere, networks = np.full(len(truth), np.nan), np.zeros(len(truth), dtype=np.bool_)
        everywhere[left], networks[left] = values, True
        rankings.append(Ranking(everywhere.__getitem__, networks))
    return regrets(rankings, {"": truth}, subsamples)[""]
