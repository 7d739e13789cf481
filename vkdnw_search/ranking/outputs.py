"""The files of a study: every number, the table, the figures."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from vkdnw_search.atomic_files import atomic_file, write_whole
from vkdnw_search.ranking.comparison import table_csv
from vkdnw_search.ranking.evaluation import Study
from vkdnw_search.ranking.figures import bars, scatter
from vkdnw_search.ranking.plan import VALUE, Terms
from vkdnw_search.ranking.regret.figure import regret_lines

__all__ = ["write_outputs"]


def write_outputs(
    folder: Path,
    study: Study,
    scores: Sequence[Mapping[str, Terms]],
    names: Mapping[str, str],
    *,
    space: str,
    figures: bool,
) -> None:
    """scores.csv, table.csv, table.md and figures; the same study gives the same bytes.

    Args:
        folder: of the study.
        study: what to write.
        scores: for each seed, part → term → values, (n,).
        names: part → what its terms are called in scores.csv.
        space: name of the search space.
        figures: whether to draw; a second for each.
    """
    _write_rows(folder / "scores.csv", _score_lines(study, scores, names))
    write_whole(folder / "table.csv", table_csv(study.rows, study.regrets, space=space))
    write_whole(folder / "table.md", study.markdown)
    for column in study.rows[0].qualities if figures else ():
        truth = study.accuracies.column(column)
        for method, values in study.values.items():
            scatter(_figure(folder, column, method), values[0], truth, method=method, column=column)
        bars(_figure(folder, column, "bars"), study.rows, column=column, space=space)
        if study.regrets is not None:
            regret_lines(_figure(folder, column, "regret"), study.regrets, column=column, space=space)


def _figure(folder: Path, column: str, what: str) -> Path:
    """The file of a figure. A column is called what an accuracy table says, which must not lead out of the folder."""
    name = "".join(c if c.isprintable() and c not in "/%" else quote(c, safe="") for c in f"{column}_{what}")
    return folder / "figures" / f"{name}.png"


def _score_lines(
    study: Study, scores: Sequence[Mapping[str, Terms]], names: Mapping[str, str]
) -> Iterator[list[object]]:
    """A header, then a line for each seed and network: accuracies, value of each method, terms of each proxy."""
    terms = {
        (part, term): f"{names[part]}.{term}"
        for parts in scores
        for part, columns in parts.items()
        for term in columns
        if term not in (VALUE, names[part])
    }
    accuracies = study.accuracies.columns
    yield ["architecture", "seed", *accuracies, *study.values, *terms.values()]
    for seed, parts in enumerate(scores):
        for i, key in enumerate(study.accuracies.architectures):
            values = [study.values[method][seed, i] for method in study.values]
            details = [parts[part][term][i] if term in parts[part] else math.nan for part, term in terms]
            yield [key, seed, *(_text(v[i]) for v in accuracies.values()), *map(_text, values), *map(_text, details)]


def _text(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def _write_rows(path: Path, rows: Iterable[list[object]]) -> None:
    with atomic_file(path) as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
