"""The figures of a report: as PNG and SVG, and as SVG that takes the colours of the page it is in."""

from __future__ import annotations

import io
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vkdnw_search.errors import shortened
from vkdnw_search.output import report_facts as facts
from vkdnw_search.output.pages import si
from vkdnw_search.output.race_files import RaceFiles
from vkdnw_search.output.race_story import draw_curves
from vkdnw_search.quantities import score_text
from vkdnw_search.records import Evaluation
from vkdnw_search.runs.fitness import pareto_front
from vkdnw_search.runs.reader import RunReader

INK, PAPER, ACCENT, MUTED, SECOND = "#010203", "#fdfefd", "#2a78d6", "#8a8f98", "#d9730d"
"""Text and axes, and what lies below words, which the page replaces by its own colours; the winner; others; the second
kind of marks."""

SIZE = (6.4, 3.6)

ROUNDING = 1e-10
"""A decile with less than this share of the sum is as good as none."""

FAR = 8
"""Scores further below the best than so many times the median's distance are drawn at the foot of a figure: one that
is far below would squeeze all others together."""

MANY = 400
"""Of more dots than these a figure has a picture: as shapes each takes 215 bytes."""

LONGEST_NAME = 24
"""Characters of the name of a network that stand beside its mark."""


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
        figure.savefig(text, format="svg", dpi=160, transparent=True, metadata={"Date": None})
    return Drawn(text.getvalue(), pixels.getvalue())


def _inline(svg: str) -> str:
    element = svg[svg.index("<svg") :]
    for side in ("width", "height"):
        element = re.sub(rf'(<svg[^>]*?) {side}="[^"]*"', r"\1", element, count=1)
    return element.replace(INK, "currentColor").replace(PAPER, "var(--page)")


def _progress(axes: Axes, visited: RunReader) -> None:
    numbers, values = [number + 1 for number in visited.fitness], list(visited.fitness.values())
    _dots(axes, numbers, values)
    axes.step(
        *zip(*facts.best_so_far(visited), strict=True), where="post", color=ACCENT, linewidth=2, label="best so far"
    )
    axes.set(xlabel="candidates visited", ylabel="score")
    _legend(axes)


def _score_flops(axes: Axes, visited: RunReader, winner: Evaluation) -> None:
    def places(evaluations: Iterable[Evaluation]) -> tuple[list[float], list[float]]:
        chosen = list(evaluations)
        return [e.cost.flops / 1e6 for e in chosen], [visited.fitness[e.number] for e in chosen]

    scored = {e.number: e for e in visited.evaluations if e.number in visited.fitness}
    _dots(axes, *places(scored.values()))
    axes.plot(*places(pareto_front(visited.evaluations, visited.fitness)), color=MUTED, linewidth=1, label="front")
    roles: dict[int, list[str]] = defaultdict(list)
    for baseline in () if visited.judgement is None else visited.judgement.baselines:
        if baseline.number in scored:
            roles[baseline.number].append(baseline.role)
    named = {_short(", ".join(names)): places([scored[number]]) for number, names in roles.items()}
    _named_marks(axes, named, label="baselines", marker="s")
    _named_marks(axes, _yardsticks(axes, visited), label="yours", marker="D")
    x, y = places([winner])
    axes.scatter(x, y, s=120, marker="*", color=ACCENT, zorder=3, label="winner")
    axes.set(xlabel="FLOPs (millions)", ylabel="score")
    _legend(axes)


def _yardsticks(axes: Axes, visited: RunReader) -> dict[str, tuple[list[float], list[float]]]:
    """The user's networks that have a score, by name: FLOPs in millions, and the mean over fresh initializations.

    One that is further from the others than these are from one another stands at the edge, its numbers in its name: it
    would squeeze all others together.
    """
    yours = () if visited.judgement is None else visited.judgement.yardsticks
    marks = {}
    for y in (y for y in yours if math.isfinite(y.mean)):
        (left, right), (foot, top) = axes.get_xlim(), axes.get_ylim()
        there = y.cost.flops / 1e6, y.mean
        shown = _clipped(there[0], 2 * left - right, 2 * right - left), _clipped(there[1], foot, 2 * top - foot)
        numbers = "" if shown == there else f" ({si(y.cost.flops)}, {score_text(y.mean)})"
        marks[f"{_short(shortened(y.name))}{numbers}"] = ([shown[0]], [shown[1]])
    return marks


def _clipped(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _short(name: str) -> str:
    """The beginning of a name; of a file the end of its path, which tells files apart."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"…{name[-LONGEST_NAME:]}" if ".py" in name else f"{name[:LONGEST_NAME]}…"


def _named_marks(
    axes: Axes, named: Mapping[str, tuple[list[float], list[float]]], *, label: str | None, marker: str
) -> None:
    """Mark networks that need no search, each with its name on the side where there is more room."""
    highest = max((y[0] for _, y in named.values()), default=-math.inf)
    foot, top = axes.get_ylim()
    if highest > top:
        axes.set_ylim(foot, highest + 0.05 * (highest - foot))
    middle = sum(axes.get_xlim()) / 2
    for name, (x, y) in named.items():
        height = max(y[0], foot)
        axes.scatter(x, [height], s=40, marker=marker, color=SECOND, label=label, clip_on=False)
        side, shift = ("left", 7) if x[0] < middle else ("right", -7)
        axes.annotate(
            name,
            (x[0], height),
            (shift, 4),
            textcoords="offset points",
            ha=side,
            fontsize=9,
            color=SECOND,
            parse_math=False,
            bbox={"facecolor": PAPER, "alpha": 0.8, "linewidth": 0, "pad": 0.5},
        )
        label = None


def _dots(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """Draw scored candidates, those far below the best at the foot of the axis."""
    high, low = max(y), min(y)
    floor = max(low, high - FAR * (high - float(np.median(y)))) if high > float(np.median(y)) else low
    pairs = list(zip(x, y, strict=True))
    near, far = [p for p in pairs if p[1] >= floor], [p for p in pairs if p[1] < floor]
    style: dict[str, Any] = {"color": MUTED, "alpha": 0.5, "linewidths": 0, "rasterized": len(pairs) > MANY}
    axes.scatter([p[0] for p in near], [p[1] for p in near], s=9, label="scored", **style)
    margin = 0.05 * (high - floor) or 0.5
    if far:
        foot = [floor - margin / 2] * len(far)
        label = f"{len(far)} below {floor:.4g}"
        axes.scatter([p[0] for p in far], foot, s=18, marker="v", label=label, **style)
    axes.set_ylim(floor - margin, high + 2 * margin)  # room for a marker at the top


def _spectrum(axes: Axes, visited: RunReader, winner: Evaluation) -> None:
    levels = [k / 10 for k in range(1, 10)]
    other = facts.random_network(visited, winner)
    drawn, zeros = [], []
    for e, colour, label in ((other, MUTED, "a random network"), (winner, ACCENT, "the winner")):
        values = [] if e is None else facts.deciles(e)
        shares = [v / sum(values) for v in values] if sum(values) > 0 else []
        shown = [(level, share) for level, share in zip(levels, shares, strict=False) if share >= ROUNDING]
        drawn += [share for _, share in shown]
        zeros += [(level, colour) for level, share in zip(levels, shares, strict=False) if share < ROUNDING]
        if shown:
            axes.plot(*zip(*shown, strict=True), marker="o", color=colour, linewidth=2, label=label)
    axes.set_yscale("log")
    if zeros:
        foot = min(drawn) / 3
        for level, colour in zeros:
            axes.scatter([level], [foot], marker="v", facecolors="none", edgecolors=colour, linewidths=1.5)
        axes.set_ylim(bottom=foot / 2)
    axes.set(xlabel="level of the decile", ylabel="share of the sum of deciles", xlim=(0.06, 0.94))
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Above the axes, where no mark can be under it."""
    axes.figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=9, columnspacing=1, handletextpad=0.4)
