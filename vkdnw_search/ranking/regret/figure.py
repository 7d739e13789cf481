"""The figure of a study's regrets: accuracy lost against the budget, one line a method."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from vkdnw_search.ranking.figures import BLUE, GREY, ORANGE, figure_file
from vkdnw_search.ranking.regret.measurement import HALVES, RANDOM, Limit
from vkdnw_search.ranking.regret.table import RegretTable

__all__ = ["regret_lines"]

_COLOURS = (BLUE, ORANGE, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_STYLES = ("-", "--", ":", "-.")
"""With the colours, which colour-blind readers tell apart (Okabe and Ito), 28 kinds of lines."""

_TICKS = (0, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
"""Points of accuracy where the axis is labelled."""

_LABEL = 0.17
"""Inches that the name of a line needs above and below the next."""

_FRAME = 1.3
"""Inches of a figure's height that title and labels take."""

Vector = NDArray[np.float64]


def regret_lines(path: Path, regrets: RegretTable, *, column: str, space: str) -> None:
    """Regret against budget, one line a method, named at its right end, as a PNG. No file where no budget is judged.

    Budgets stand side by side by rising FLOPs. The axis of the regret is about linear below a point and logarithmic
    above, for under a tight budget some methods lose a hundred times what others lose.

    Args:
        path: of the file.
        regrets: of all methods.
        column: name of the accuracies.
        space: name of the search space.
    """
    order = sorted(range(len(regrets.limits)), key=lambda i: regrets.limits[i].flops)
    rows = {RANDOM: regrets.references[RANDOM], **regrets.methods}
    lost = {name: np.array([columns[column].lost[i].mean for i in order]) for name, columns in rows.items()}
    lost = {name: values for name, values in lost.items() if np.isfinite(values).any()}
    if not lost:
        return
    height = max(4.2, _FRAME + _LABEL * len(lost))
    with figure_file(path, 3.0 + 0.9 * len(order), height) as figure:
        axes = figure.add_subplot()
        top = 1.05 * max(float(np.nanmax(values)) for values in lost.values()) + 0.05
        _scales(axes, [regrets.limits[i] for i in order], top)
        axes.set_ylabel(f"{column} accuracy lost, in points")
        axes.set_title(
            f"{space}: accuracy lost by the first choice\nunder a budget, mean of {HALVES} random halves", size=10
        )
        _draw(axes, lost, gap=float(np.log1p(top)) * _LABEL / (height - _FRAME), top=top)


def _scales(axes: Axes, limits: Sequence[Limit], top: float) -> None:
    axes.set_yscale("function", functions=(np.log1p, np.expm1))
    axes.set_ylim(0, top)
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in _TICKS if tick <= top]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.grid(axis="y", alpha=0.3)
    axes.set_xlim(-0.2, len(limits) - 0.9)
    axes.set_xticks(range(len(limits)), [f"{x.budget}\n{x.flops / 1e6:.4g}M\n{x.networks:,}" for x in limits])
    axes.set_xlabel("budget, FLOPs at most, networks within")


def _draw(axes: Axes, lost: Mapping[str, Vector], *, gap: float, top: float) -> None:
    """The lines, each with its name at the right."""
    ends = {name: int(np.flatnonzero(np.isfinite(values))[-1]) for name, values in lost.items()}
    heights = {name: float(np.log1p(lost[name][end])) for name, end in ends.items()}
    names = sorted(heights, key=lambda name: heights[name])
    places = _apart([heights[name] for name in names], gap, float(np.log1p(top)))
    texts = dict(zip(names, np.expm1(places).tolist(), strict=True))
    kinds = itertools.cycle(itertools.product(_STYLES, _COLOURS))
    for name, values in lost.items():
        style, colour = ("--", GREY) if name == RANDOM else next(kinds)
        axes.plot(values, linestyle=style, color=colour, marker="o", markersize=3, linewidth=1.3, clip_on=False)
        axes.annotate(
            name,
            (ends[name], values[ends[name]]),
            (1.06, texts[name]),
            textcoords=axes.get_yaxis_transform(),
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0, "relpos": (0, 0.5)},
            annotation_clip=False, va="center", size=8, color=colour,
        )  # fmt: skip


def _apart(places: Sequence[float], gap: float, top: float) -> Vector:
    """The same rising places from 0 to ``top``, moved as little as possible to be ``gap`` apart (least squares)."""
    steps = gap * np.arange(len(places))
    moved = isotonic_regression(np.array(places) - steps).x
    return np.clip(moved, 0, max(top - steps[-1], 0)) + steps
