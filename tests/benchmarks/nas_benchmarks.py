"""Spaces whose accuracies are known, with the budgets under which they are searched."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.stored_search import Accuracies
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.ranking.regret.budgets import Budget, read_budgets
from vkdnw_search.ranking.tables import SIZES, read_csv
from vkdnw_search.recipe.registry import find

SHARES = read_budgets("25%,35%,50%,75%,100%")
CELLS, MACRO = "nb201_test_accuracy.csv", "nas_bench_macro_2000.csv"
PREDICTOR = "ofa_mbv3_predictor.npz"

PUBLISHED = {
    "RoBoT (lets a few trainings decide)": (94.36, 73.51),
    "PO-NAS (lets a few trainings decide)": (94.12, 73.51),
    "UP-NAS (weights tuned on labels)": (94.18, 71.59),
    "NCD-NWOT": (94.00, 71.99),
    "APD": (93.76, 72.22),
    "AZ-NAS": (93.49, 70.33),
    "ZiCo": (93.69, 70.63),
    "SWAP": (90.48, 67.13),
}
"""Accuracy on CIFAR-10 and CIFAR-100 of the network found in NAS-Bench-201 without a limit, as published."""


class Unavailable(Exception):
    """A benchmark lacks something; the message says what."""


@dataclass(frozen=True)
class NasBenchmark:
    """A search space with accuracies, and how it is searched.

    Attributes:
        name: of the search space.
        space: itself.
        evaluations: candidates of a search, as its recipe has them.
        budgets: in the order of the tables.
        flops: budget → most FLOPs.
        columns: names of the accuracies.
        accuracies: key → column → percent; None where it is not known.
        best: budget → column → the most there is, where that is known.
        settings: proxy → its options here.
    """

    name: str
    space: Any
    evaluations: int
    budgets: Sequence[Budget]
    flops: Mapping[str, float]
    columns: Sequence[str]
    accuracies: Callable[[str], Accuracies | None]
    best: Mapping[str, Accuracies] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def tabulated(name: str, file: Path, *, evaluations: int, budgets: Sequence[Budget] = SHARES) -> NasBenchmark:
    """A space whose accuracies are in a table; budgets are shares of the largest network there.

    Raises:
        Unavailable: there is no such file.
    """
    if not file.is_file():
        raise Unavailable(f"there is no {file.name} in {file.parent}")
    space = find("spaces", name)()
    table = read_csv(file, canonical=lambda text: space.parse(text).key)
    columns = {column: values for column, values in table.columns.items() if column not in SIZES}
    counter = CostCounter(space)
    flops = np.array([counter.cost(space.parse(key)).flops for key in table.architectures], dtype=float)
    limits = {str(budget): budget.flops(flops.max()) for budget in budgets}
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    known = {key: dict(zip(columns, row, strict=True)) for key, row in zip(table.architectures, rows, strict=True)}
    best = {
        budget: {column: float(values[flops <= most].max()) for column, values in columns.items()}
        for budget, most in limits.items()
        if (flops <= most).any()
    }
    return NasBenchmark(name, space, evaluations, budgets, limits, list(columns), known.get, best)


def once_for_all(weights: Path) -> NasBenchmark:
    """Once-for-all's MobileNetV3 space by its published predictor, on 10,000 images kept from ImageNet's training set.

    Raises:
        Unavailable: the space or the predictor's weights are missing.
    """
    name, column = "ofa_mobilenetv3", "predicted top-1"
    if importlib.util.find_spec(f"search_spaces.{name}") is None:
        raise Unavailable(f"there is no space {name}")
    if not weights.is_file():
        raise Unavailable(f"there is no {weights.name} in {weights.parent}")
    from tests.benchmarks.ofa_surrogate import OfaSurrogate

    surrogate = OfaSurrogate.read(weights)
    budgets = read_budgets("200M,250M,300M,400M,600M")
    options = {"images": 16, "resolution": 40}
    spectrum = {**options, "parameters": 64, "selection": "last", "directions": 4, "draws": 16}
    return NasBenchmark(
        name,
        find("spaces", name)(),
        1500,
        budgets,
        {str(budget): budget.flops(0) for budget in budgets},
        [column],
        lru_cache(maxsize=None)(lambda key: {column: surrogate.of_keys([key])[key]}),
        settings={"vkdnw_single": spectrum, **dict.fromkeys(("jacov", "az_nas", "vkdnw_agg"), options)},
    )


def benchmarks(data: Path) -> dict[str, Callable[[], NasBenchmark]]:
    """Name → how to make the benchmark, in the order of the tables."""
    return {
        "nasbench201": lambda: tabulated("nasbench201", data / CELLS, evaluations=1000),
        "macro": lambda: tabulated("macro", data / MACRO, evaluations=400),
        "ofa_mobilenetv3": lambda: once_for_all(data / PREDICTOR),
    }
