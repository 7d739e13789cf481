"""The figures of a report: as PNG and SVG, and as SVG that takes the colours of the page it is in."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from vkdnw_search.output import report_facts as facts
from vkdnw_search.output.race_files import RaceFiles
from vkdnw_search.output.race_story import draw_curves
from vkdnw_search.records import Evaluation
from vkdnw_search.runs.fitness import pareto_front
from vkdnw_search.runs.reader import RunReader

INK, ACCENT, MUTED, SECOND = "#010203", "#2a78d6", "#8a8f98", "#d9730d"
"""Text and axes, which the page replaces by its own text colour; the winner; others; the second kind of marks."""

SIZE = (6.4, 3.6)

ROUNDING = 1e-10
"""A decile with less than this share of the sum is as good as none."""

SQUEEZED = 20
"""So many times the typical distance from the best is the largest before an axis is no longer linear."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure: as the text of an SVG file, and as the bytes of a PNG file, which are empty if none was asked for."""

    svg: str
    png: bytes

    @property
    def inline(self) -> str:
        """The SVG element alone, as wide as its surroundings, in the text colour of the page it stands in."""
        return _inline(self.svg)


def draw(
    visited: RunReader, winner: Evaluation, race: RaceFiles | None, check: Callable[[], None], *, png: bool
) -> dict[str, Drawn]:
    """Draw every figure by its name, also as PNG if asked for, and call ``check`` before each."""
    painters: dict[str, Callable[[Axes], None]] = {
        "progress": lambda axes: _progress(axes, visited),
        "score_flops": lambda axes: _score_flops(axes, visited, winner),
    }
    if facts.deciles(winner):
        painters["spectrum"] = lambda axes: _spectrum(axes, visited, winner)
    if race is not None:
        painters["race"] = lambda axes: draw_curves(axes, race.networks, race.curves, race.ends)
    figures = {}
    for name, painter in painters.items():
        check()
        figures[name] = _figure(name, painter, png=png)
    return figures


def _figure(name: str, paint: Callable[[Axes], None], *, png: bool) -> Drawn:
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 11,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    }
    with matplotlib.rc_context(
        matplotlib.rcParamsDefault | style
    ):  # whatever matplotlibrc lies in the working directory
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        paint(axes)
        text, pixels = io.StringIO(), io.BytesIO()
        if png:
            figure.savefig(pixels, format="png", dpi=160, facecolor="white")
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return Drawn(text.getvalue(), pixels.getvalue())


def _inline(svg: str) -> str:
    element = svg[svg.index("<svg") :]
    for side in ("width", "height"):
        element = re.sub(rf'(<svg[^>]*?) {side}="[^"]*"', r"\1", element, count=1)
    return element.replace(INK, "currentColor")


def _progress(axes: Axes, visited: RunReader) -> None:
    numbers, values = [number + 1 for number in visited.fitness], list(visited.fitness.values())
    axes.scatter(numbers, values, s=9, color=MUTED, alpha=0.5, linewidths=0, label="scored")
    axes.step(
        *zip(*facts.best_so_far(visited), strict=True), where="post", color=ACCENT, linewidth=2, label="best so far"
    )
    axes.set(xlabel="candidates visited", ylabel="score")
    _open_towards_the_best(axes, values)
    axes.legend(frameon=False, loc="lower right")


def _score_flops(axes: Axes, visited: RunReader, winner: Evaluation) -> None:
    def places(evaluations: Iterable[Evaluation]) -> tuple[list[float], list[float]]:
        chosen = list(evaluations)
        return [e.cost.flops / 1e6 for e in chosen], [visited.fitness[e.number] for e in chosen]

    scored = {e.number: e for e in visited.evaluations if e.number in visited.fitness}
    x, y = places(scored.values())
    axes.scatter(x, y, s=9, color=MUTED, alpha=0.5, linewidths=0, label="scored")
    axes.plot(*places(pareto_front(visited.evaluations, visited.fitness)), color=MUTED, linewidth=1, label="front")
    baselines = () if visited.judgement is None else visited.judgement.baselines
    x, y = places(scored[b.number] for b in baselines if b.number in scored)
    if x:
        axes.scatter(x, y, s=40, marker="s", color=SECOND, label="baselines")
    x, y = places([winner])
    axes.scatter(x, y, s=120, marker="*", color=ACCENT, zorder=3, label="winner")
    axes.set(xlabel="FLOPs (millions)", ylabel="score")
    _open_towards_the_best(axes, list(visited.fitness.values()))
    axes.legend(frameon=False, loc="lower right")


def _open_towards_the_best(axes: Axes, values: Sequence[float]) -> None:
    """Make the axis logarithmic in the distance from the best, where a linear one would squeeze most scores
    together.
    """
    low, high = min(values), max(values)
    typical = high - float(np.median(values))
    if high - low <= SQUEEZED * typical or typical == 0:
        return
    unit = typical / 3
    axes.set_yscale(
        "function",
        functions=(lambda y: -np.log1p(np.maximum((high - y) / unit, -0.9)), lambda z: high - unit * np.expm1(-z)),
    )
    decades = range(math.ceil(math.log10(unit)), math.floor(math.log10(high - low)) + 1)
    ticks = [high, *(high - 10.0**decade for decade in decades)]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.6g}"))
    axes.set_ylim(low - 0.1 * (high - low), high + unit / 2)  # room for a marker at the top
    axes.set_ylabel("score (scale finer near the best)")


def _spectrum(axes: Axes, visited: RunReader, winner: Evaluation) -> None:
    levels = [k / 10 for k in range(1, 10)]
    other = facts.random_network(visited, winner)
    for e, colour, label in ((other, MUTED, "a random network"), (winner, ACCENT, "the winner")):
        values = [] if e is None else facts.deciles(e)
        total = sum(values)
        if total > 0:
            axes.plot(levels, [v / total for v in values], marker="o", color=colour, linewidth=2, label=label)
    axes.set_yscale("log")
    axes.set_ylim(bottom=max(axes.get_ylim()[0], ROUNDING))
    axes.set(xlabel="level of the decile", ylabel="share of the sum of deciles")
    axes.legend(frameon=False)
