"""What a race comes to, in sentences and as a figure: for the race itself, and for the report that reads its files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy import stats

Curve = Sequence[tuple[int, float]]
"""(epoch, test accuracy of the averaged weights), after each epoch of one training."""

FIRST, SEARCHED, OTHERS, RUNG = "#2a78d6", "#c65d21", "#8a8f98", "#b8bcc2"
"""Colours of the network that learned best, of the winner of the search, of the others, and of the lines where a rung
ends."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A network of a race, as far as sentences need it.

    Attributes:
        name: as it is told of.
        roles: why it raced; ``winner`` is the search's.
        score: by the search; None for a network of the user's.
        accuracies: after each rung that it trained for, the mean over seeds.
    """

    name: str
    roles: tuple[str, ...]
    score: float | None
    accuracies: tuple[float, ...]


def correlation(networks: Sequence[Placed]) -> float:
    """Spearman's ρ of score and accuracy after the first rung, which all trained for; NaN for fewer than three."""
    known = [(n.score, n.accuracies[0]) for n in networks if n.score is not None and n.accuracies]
    if len(known) < 3:
        return math.nan
    scores, accuracies = np.array(known, dtype=np.float64).T
    if np.ptp(scores) == 0 or np.ptp(accuracies) == 0:
        return math.nan
    return float(stats.spearmanr(scores, accuracies).statistic)


def sentences(networks: Sequence[Placed], ends: Sequence[int]) -> list[str]:
    """What the race says of the search: whether its winner learned best, and how well its score ordered the networks.

    Args:
        networks: by place.
        ends: the epoch that each rung ended with.
    """
    told, best = [], networks[0]
    searched = next((n for n in networks if "winner" in n.roles), None)
    if searched is best:
        told.append("The winner of the search learned best.")
    elif searched is not None and searched.accuracies:
        rung = len(searched.accuracies) - 1
        lost = best.accuracies[rung] - searched.accuracies[rung]
        told.append(
            f"The network that learned best is {best.name}. The winner of the search was {lost * 100:.2f} points "
            f"behind it after {_epochs(ends[rung])}."
        )
    if not math.isnan(rho := correlation(networks)):
        told.append(
            f"On your data the score ordered these networks at ρ = {rho:.2f} (Spearman, accuracy after "
            f"{_epochs(ends[0])})."
        )
    return told


def draw_curves(
    axes: Axes, networks: Sequence[Placed], curves: Mapping[str, Sequence[Curve]], ends: Sequence[int]
) -> None:
    """Accuracy of each network after each epoch, the first on top, and dotted lines where a rung ends.

    The first and the winner of the search are named; the others are grey.

    Args:
        axes: where to draw.
        networks: by place.
        curves: name of a network → one curve for each seed.
        ends: the epoch that each rung ended with.
    """
    for place, network in reversed(list(enumerate(networks))):
        label, color = _look(network, first=place == 0)
        for number, curve in enumerate(curves.get(network.name, ())):
            axes.plot(
                [epoch for epoch, _ in curve],
                [100 * accuracy for _, accuracy in curve],
                color=color,
                linewidth=1 if color == OTHERS else 2,
                marker=".",
                label=label if number == 0 else None,
            )
    for end in ends[:-1]:
        axes.axvline(end, color=RUNG, linestyle=":", zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epochs", ylabel="test accuracy (%)")
    drawn = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # one entry for all of the others
    axes.legend([*reversed(drawn.values())], [*reversed(drawn)], frameon=False, loc="lower right")


def _look(network: Placed, *, first: bool) -> tuple[str, str]:
    """The label in the legend, and the colour."""
    if not first and "winner" not in network.roles:
        return "others", OTHERS
    label = f"{network.name} ({', '.join(network.roles)})".replace("$", r"\$")  # else it would be read as TeX
    return label, FIRST if first else SEARCHED


def _epochs(number: int) -> str:
    return "1 epoch" if number == 1 else f"{number} epochs"
