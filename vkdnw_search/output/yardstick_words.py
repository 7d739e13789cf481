"""Networks of the user's beside the winner, in words: what each costs, how it scores, which limits it keeps."""

from __future__ import annotations

from vkdnw_search.cost.limits import Limits
from vkdnw_search.engine.evaluator import limits_of
from vkdnw_search.quantities import amount, score_text
from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.records import Cost
from vkdnw_search.runs.judgement import Yardstick

__all__ = ["further_costs", "keeps_limits", "rows_of"]

FURTHER = {"latency": "latency", "memory": "memory", "int8_size": "int8 size", "int8_memory": "int8 memory"}
"""Costs that are known where a limit asks for them, and what they are called."""


def rows_of(yardstick: Yardstick, recipe: Recipe) -> list[tuple[str, str]]:
    """The lines of a table, each with its name: the network, its score, its size, the limits."""
    y, cost = yardstick, yardstick.cost
    score = f"has no score: {y.fault}" if y.fault else score_text(y.mean, y.standard_error) if y.values else ""
    size = f"{cost.flops:,} FLOPs, {cost.parameters:,} parameters, {cost.layers} layers"
    lines = [
        f"{score}, {y.verdict}" if y.verdict else score,
        ", ".join([size, *(f"{name} {value}" for name, value in further_costs(cost))]),
        keeps_limits(y, recipe),
        y.note,
    ]
    return [("yours", y.name), *(("", line) for line in lines if line)]


def further_costs(cost: Cost) -> list[tuple[str, str]]:
    """What is known of a network besides its size, each with its name."""
    values = ((told, name, getattr(cost, name)) for name, told in FURTHER.items())
    return [(told, amount(name, value)) for told, name, value in values if value is not None]


def keeps_limits(yardstick: Yardstick, recipe: Recipe) -> str:
    """Which limits a network breaks, or that it keeps them; empty where there are none."""
    if yardstick.outside:
        return f"outside the limits: {yardstick.outside}"
    return "" if limits_of(recipe) == Limits() else "within the limits"
