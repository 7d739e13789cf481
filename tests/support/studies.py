"""A small study: networks with accuracies by a formula, and proxies that cost nothing."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from search_spaces.nasbench201 import NasBench201
from tests.support.quick import Quick
from vkdnw_search.contracts import Probe
from vkdnw_search.determinism import seed_from
from vkdnw_search.proxies.aggregate import LogRankSum
from vkdnw_search.ranking.tables import AccuracyTable
from vkdnw_search.records import Score

SPACE = NasBench201(cells=1, channels=2, resolution=8)


def table(n: int = 20) -> AccuracyTable:
    """Accuracies by a formula: more convolutions are better, and so is what the seed of the key says."""
    rng = np.random.default_rng(3)
    keys = list(dict.fromkeys(SPACE.decode(tuple(map(int, rng.integers(5, size=6)))).key for _ in range(3 * n)))[:n]
    good = np.array([10.0 * key.count("conv") + seed_from(key) % 1000 / 100 for key in keys])
    return AccuracyTable(tuple(keys), {"good": good, "other": 70 - good, "params": np.arange(1.0, n + 1)})


@dataclass(frozen=True, kw_only=True)
class Chance:
    """A number that follows from the seed alone, without a network."""

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        return Score(probe.seed / 2**63, terms={"noise": -float(probe.seed % 7)})


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


PROXIES = {"quick": Quick(), "chance": Chance(), "both": LogRankSum(proxies={"q": Quick(), "c": Chance()})}
