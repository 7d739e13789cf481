"""Figures of a study: score against accuracy for each method, and all methods side by side."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter
from numpy.typing import NDArray

from vkdnw_search.atomic_files import write_whole
from vkdnw_search.ranking.comparison import METRICS, TableRow
from vkdnw_search.ranking.published import published_row

__all__ = ["BLUE", "GREY", "ORANGE", "bars", "figure_file", "scatter"]

TOP = 10
"""Number of networks marked in a scatter plot: the most accurate, and the best by the score."""

LABELS = {"kendall": "Kendall's τ", "spearman": "Spearman's ρ", "ndcg": "nDCG"}
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#8a8a8a"
"""Told apart by colour-blind readers, too (Okabe and Ito)."""
_BELOW_BEST = (0, 1, 2, 4, 8, 16, 32, 64)
"""Percent below the best accuracy, where the axis is labelled: about evenly spaced on a logarithmic axis."""

Vector = NDArray[np.float64]


def scatter(path: Path, scores: Vector, accuracies: Vector, *, method: str, column: str) -> None:
    """Score against accuracy, one dot a network, as a PNG; networks without a score are left out.

    The accuracy's axis is logarithmic in the distance from the best, for the networks that matter differ by tenths of
    a percent.

    Args:
        path: of the file.
        scores: (n,).
        accuracies: (n,), in percent.
        method: name of the scores.
        column: name of the accuracies.
    """
    with figure_file(path, 5.5, 4.2) as figure:
        axes = figure.add_subplot()
        usable = np.flatnonzero(np.isfinite(scores))
        axes.scatter(scores[usable], accuracies[usable], s=5, c=GREY, alpha=0.4, linewidths=0, rasterized=True)
        chosen = usable[np.argsort(-scores[usable], kind="stable")[:TOP]]
        accurate = np.argsort(-accuracies, kind="stable")[:TOP]
        accurate = accurate[np.isfinite(scores[accurate])]
        axes.scatter(scores[accurate], accuracies[accurate], s=30, marker="D", c=ORANGE, label=f"{TOP} most accurate")
        axes.scatter(
            scores[chosen], accuracies[chosen], s=55, facecolors="none", edgecolors=BLUE, label=f"{TOP} best by score"
        )
        _scale_from_the_best(axes, accuracies)
        _score_scale(axes, scores[usable])
        axes.set(xlabel=method, ylabel=f"{column} accuracy in %", title=f"{method}: {len(usable):,} networks")
        axes.legend(loc="lower right", fontsize=8)


def bars(path: Path, rows: Sequence[TableRow], *, column: str, space: str) -> None:
    """Draw each metric of each method as a bar, as a PNG: the standard deviation over seeds, and the paper's number."""
    with figure_file(path, 11, 1.2 + 0.3 * len(rows)) as figure:
        places = np.arange(len(rows))[::-1]
        for axes, metric in zip(figure.subplots(1, len(METRICS), sharey=True), METRICS, strict=True):
            found = [row.qualities[column][metric] for row in rows]
            axes.barh(places, [q.mean for q in found], color=BLUE, height=0.7)
            for q, place in zip(found, places, strict=True):
                if not math.isnan(q.deviation):
                    axes.errorbar(q.mean, place, xerr=q.deviation, capsize=2, ecolor="black")
            paper = [published_row(space=space, method=row.name, column=column) for row in rows]
            known = [(getattr(p, metric), place) for p, place in zip(paper, places, strict=True) if p]
            if known:
                axes.scatter(*zip(*known, strict=True), marker="D", s=22, c=ORANGE, zorder=3)
            axes.set(xlabel=LABELS[metric], yticks=places, yticklabels=[row.name for row in rows])
            axes.grid(axis="x", alpha=0.3)
            axes.set_axisbelow(True)
        paper_too = any(published_row(space=space, method=row.name, column=column) for row in rows)
        figure.suptitle(f"{space}, {column}" + (" (diamonds: the paper's numbers)" if paper_too else ""))


@contextmanager
def figure_file(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches that needs no display and no global state, written to ``path`` at the end.

    Args:
        path: STUDY/figures/NAME.png; no link is followed below STUDY.
        width, height: in inches.
    """
    figure = Figure(figsize=(width, height), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    yield figure
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    write_whole(path, content.getvalue(), within=path.parents[1])


def _scale_from_the_best(axes: Axes, accuracies: Vector) -> None:
    low, high = float(accuracies.min()), float(accuracies.max())
    axes.set_yscale(
        "function",
        functions=(lambda a: -np.log(np.maximum(high + 1 - a, 1e-9)), lambda y: high + 1 - np.exp(-y)),
    )
    axes.set_ylim(low - 0.05 * (high + 1 - low), high + 0.2)
    axes.yaxis.set_major_locator(FixedLocator([t for b in _BELOW_BEST if (t := math.floor(high) - b) >= low - 5]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(ScalarFormatter())


def _score_scale(axes: Axes, scores: Vector) -> None:
    """Logarithmic both ways where a linear axis would squeeze most networks into a line."""
    if len(scores) < 2:
        return
    middle, extreme = np.median(np.abs(scores)), np.abs(scores).max()
    if middle > 0 and extreme > 1000 * middle:
        axes.set_xscale("symlog", linthresh=float(middle))
