"""How far a score can be trusted: its reliability, and what each choice of the estimator does to it.

    python tests/benchmarks/score_noise.py --json FILE

Reliability is the intraclass correlation ICC(1, 1) (Shrout & Fleiss 1979, doi 10.1037/0033-2909.86.2.420): the share
of the variance of scores over networks and initializations that belongs to the networks. Networks have equal depth
and equal ℵ, so that only the entropy speaks.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import finish, table
from tests.benchmarks.sampling import equal_cells, equal_mobilenets, scores
from vkdnw_search import load_recipe
from vkdnw_search.executors import processes
from vkdnw_search.proxies.vkdnw import VkdnwSingle

NETWORKS = 40
SEEDS = (0, 1)
CONVOLUTIONS = 4

CHANGES: dict[str, dict[str, Any]] = {
    "default": {},
    "batch norm as initialized": {"batch_norm": "initial"},
    "1 draw": {"draws": 1},
    "16 draws": {"draws": 16},
    "random positions": {"positions": "random"},
    "32 tensors": {"parameters": 32},
    "128 tensors, 2 directions": {"parameters": 128, "directions": 2},
    "last 64 tensors": {"selection": "last"},
    "64 tensors spread": {"selection": "spread"},
    "32 images, 2 directions": {"images": 32, "directions": 2},
    "smoothing 0.05": {"smoothing": 0.05},
    "weights as built": {"initialization": "as_built"},
    "published": {
        "batch_norm": "initial",
        "positions": "first",
        "draws": 1,
        "parameters": 128,
        "directions": 2,
        "smoothing": 0.05,
    },
}


def reliability(values: np.ndarray) -> float:
    """ICC(1, 1) of (networks, initializations)."""
    n, k = values.shape
    means = values.mean(axis=1)
    between = k * means.var(ddof=1)
    within = ((values - means[:, None]) ** 2).sum() / (n * (k - 1))
    return float((between - within) / (between + (k - 1) * within))


def main() -> None:
    """Measure and print."""
    proxy = load_recipe("mbv2_600M").build_proxy()
    assert isinstance(proxy, VkdnwSingle)
    mobilenet, wide = equal_mobilenets(NETWORKS)
    nasbench, cells, accuracies = equal_cells(NETWORKS, convolutions=CONVOLUTIONS)
    rows: list[list[object]] = []
    figures: dict[str, Any] = {}
    with processes() as executor:
        for name, change in CHANGES.items():
            found: list[float] = []
            for space, genomes, base in ((mobilenet, wide, proxy), (nasbench, cells, VkdnwSingle())):
                judged = scores(space, genomes, replace(base, **change), SEEDS, executor)
                values = np.array([[s.value for s in row] for row in judged])
                noise = float(np.sqrt(((values - values.mean(axis=1, keepdims=True)) ** 2).sum() / len(values)))
                claimed = float(np.mean([s.standard_error for row in judged for s in row]))
                found += [reliability(values), noise, claimed]
            agreement = (
                float("nan") if accuracies is None else float(stats.spearmanr(values[:, 0], accuracies).statistic)
            )
            rows.append([name, *found, agreement])
            keys = ("reliability", "noise", "claimed_error")
            figures[name] = {
                "mobilenet": dict(zip(keys, found[:3], strict=True)),
                "nasbench201": dict(zip(keys, found[3:], strict=True)),
                "agreement_with_cifar100": agreement,
            }
            print(f"{name}: {[round(value, 3) for value in (*found, agreement)]}", file=sys.stderr)
    print(f"{NETWORKS} networks each, {len(SEEDS)} initializations, one change at a time.")
    print("MobileNet: equal depth and ℵ, the recipe's resolution.")
    print(f"NAS-Bench-201: {CONVOLUTIONS} convolutions, and Spearman's ρ with CIFAR-100 accuracy.\n")
    columns = [f"{space}: {what}" for space in ("MBV2", "NB201") for what in ("reliability", "noise", "± said")]
    head = ["estimator", *columns, "NB201: ρ"]
    print(table(head, rows))
    finish(figures, __doc__ or "")


if __name__ == "__main__":
    main()
