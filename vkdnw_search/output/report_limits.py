"""The limits of a recipe beside a network: how much of each it uses, which one binds, and what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from vkdnw_search.cost.limits import Range
from vkdnw_search.engine.evaluator import limits_of
from vkdnw_search.quantities import amount, counted
from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.records import Evaluation
from vkdnw_search.runs.reader import RunReader

BINDING = 0.05
"""A limit binds where less than this share of its bound is left."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One limit, what a network has of it, and how many candidates broke it.

    Attributes:
        name: of the limit.
        minimum, maximum: its bounds.
        value: of the network; None where it is not known.
        broken: number of candidates outside.
    """

    name: str
    minimum: float | None
    maximum: float | None
    value: int | None
    broken: int

    @property
    def side(self) -> Literal["minimum", "maximum"]:
        """The nearer bound."""
        return "maximum" if self.minimum is None or self._left(self.maximum) <= self._left(self.minimum) else "minimum"

    @property
    def room(self) -> float:
        """The share of the nearer bound that is left; 0 where the network is at it, infinite where it is not known."""
        return self._left(getattr(self, self.side))

    def _left(self, bound: float | None) -> float:
        return float("inf") if bound is None or self.value is None else abs(bound - self.value) / bound


def bounds(visited: RunReader, network: Evaluation) -> list[Bound]:
    """The limits of the recipe, the one of which ``network`` leaves the smallest share first."""
    rows = []
    for name, limit in _limits(visited.recipe):
        broken = sum(
            not e.status.is_feasible and limit.violation(getattr(e.cost, name)) > 0 for e in visited.evaluations
        )
        rows.append(Bound(name, limit.minimum, limit.maximum, getattr(network.cost, name), broken))
    return sorted(rows, key=lambda bound: bound.room)


def binding(bounds: Sequence[Bound]) -> str:
    """Which limits bind, and on which side, in words."""
    if told := "; ".join(_binds(bound) for bound in bounds if bound.room < BINDING):
        return f"{told}."
    nearest = bounds[0]
    limit = amount(nearest.name, getattr(nearest, nearest.side))
    return (
        f"No limit binds: the nearest is the {nearest.side} of {nearest.name}, {limit}, from which the winner is "
        f"{100 * nearest.room:.0f} % away."
    )


def _binds(bound: Bound) -> str:
    limit = amount(bound.name, getattr(bound, bound.side))
    if bound.room == 0:
        return f"{bound.name} binds: the winner is at its {bound.side}, {limit}"
    way = "below" if bound.side == "maximum" else "above"
    return f"{bound.name} binds: the winner is {100 * bound.room:.2g} % {way} its {bound.side}, {limit}"


def asked(recipe: Recipe) -> list[tuple[str, str]]:
    """What was searched for: the space, the score, the limits and the seed, each with its name."""
    given = "given from Python"
    limits = ", ".join(_in_words(name, limit) for name, limit in _limits(recipe))
    rows = [
        ("space", given if recipe.space is None else recipe.space.use),
        ("score", given if recipe.score is None else recipe.score.use),
        ("limits", limits or "none"),
    ]
    if recipe.bands:
        edges = [counted(recipe.bands_of, edge) for edge in recipe.bands]
        rows.append(("bands", f"up to {', '.join(edges)}"))
    return [*rows, ("seed", str(recipe.seed))]


def _in_words(name: str, limit: Range) -> str:
    least, most = (None if bound is None else amount(name, bound) for bound in (limit.minimum, limit.maximum))
    if least is None:
        return f"{name} at most {most}"
    return f"{name} at least {least}" if most is None else f"{name} {least} to {most}"


def _limits(recipe: Recipe) -> list[tuple[str, Range]]:
    """Name → range, of the limits that bound anything."""
    limits = limits_of(recipe)
    ranges = [(field.name, getattr(limits, field.name)) for field in fields(limits)]
    return [(name, limit) for name, limit in ranges if limit != Range()]
