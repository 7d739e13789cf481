"""How far a score can be trusted: its reliability, and what each choice of the estimator does to it.

    python tests/benchmarks/score_noise.py --json FILE

Reliability is the intraclass correlation ICC(1, 1) (Shrout & Fleiss 1979, doi 10.1037/0033-2909.86.2.420): the share
of the variance of scores over networks and initializations that belongs to the networks. Networks have equal depth
and equal ℵ, so that only the entropy speaks.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import finish, table
from tests.benchmarks.sampling import equal_cells, equal_mobilenets, scores, values
from vkdnw_search import load_recipe
from vkdnw_search.engine.doctor import intraclass_correlation
from vkdnw_search.execution.executors import processes
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.records import Score

NETWORKS = 40
INITIALIZATIONS = 2
CONVOLUTIONS = 4

FOUR_QUANTILES = "every second decile"
"""A change of what is made of the spectrum alone: the entropy of its quantiles .2, .4, .6, .8, means of all draws."""

CHANGES: dict[str, dict[str, Any]] = {
    "default": {},
    "batch norm as initialized": {"batch_norm": "initial"},
    "1 draw": {"draws": 1},
    "random positions": {"positions": "random"},
    "64 tensors": {"parameters": 64},
    "first tensors": {"selection": "first"},
    "last tensors": {"selection": "last"},
    "tensors spread": {"selection": "spread"},
    "64 images, 2 directions": {"images": 64, "directions": 2},
    "128 tensors, 16 images, 8 directions": {"parameters": 128, "images": 16, "directions": 8},
    "24×24": {"resolution": 24},
    "32×32": {"resolution": 32},
    "smoothing 0.05": {"smoothing": 0.05},
    FOUR_QUANTILES: {},
    "weights as built": {"initialization": "as_built"},
    "published": {
        "batch_norm": "initial",
        "positions": "first",
        "draws": 1,
        "parameters": 128,
        "images": 64,
        "directions": 2,
        "smoothing": 0.05,
    },
}


Scores = list[list[Score | None]]


def measure(found: Scores) -> tuple[list[float], Any]:
    """Reliability, noise of one score, standard error it claims, networks without a score; and the first scores."""
    judged = values(found)
    whole = judged[np.isfinite(judged).all(axis=1)]
    if len(whole) < 2:  # without calibration softmax saturates, and a network has no spectrum
        return [math.nan, math.nan, math.nan, len(judged) - len(whole)], judged[:, 0]
    noise = math.sqrt(whole.var(axis=1, ddof=1).mean())
    claimed = float(np.mean([s.standard_error for row in found for s in row if s is not None]))
    return [intraclass_correlation(whole), noise, claimed, len(judged) - len(whole)], judged[:, 0]


def four_quantiles(found: Scores) -> Scores:
    """The same scores from every second decile."""

    def changed(score: Score) -> Score:
        λ = np.array([score.terms[f"decile_{k}"] for k in (2, 4, 6, 8)])
        return replace(score, value=score.terms["trainable_layers"] + float(stats.entropy(λ)), standard_error=math.nan)

    return [[None if score is None else changed(score) for score in row] for row in found]


def main() -> None:
    """Measure and print."""
    proxy = load_recipe("mbv2_600M").build_proxy()
    assert isinstance(proxy, VkdnwSingle)
    mobilenet, wide = equal_mobilenets(NETWORKS)
    nasbench, cells, accuracies = equal_cells(NETWORKS, convolutions=CONVOLUTIONS)
    rows: list[list[object]] = []
    figures: dict[str, Any] = {}
    keys = ("reliability", "noise", "claimed_error", "without_score")
    known: dict[tuple[str, VkdnwSingle], Scores] = {}  # some changes are what one of the two has by default
    with processes() as executor:
        for name, change in CHANGES.items():
            measured = []
            for space, genomes, base in ((mobilenet, wide, proxy), (nasbench, cells, VkdnwSingle())):
                changed = replace(base, **change)
                if (space.name, changed) not in known:
                    known[space.name, changed] = scores(space, genomes, changed, range(INITIALIZATIONS), executor)
                found = known[space.name, changed]
                measured.append(measure(four_quantiles(found) if name == FOUR_QUANTILES else found))
            (of_mobilenet, _), (of_nasbench, first) = measured
            agreement = math.nan
            scored = np.isfinite(first)
            if accuracies is not None and scored.sum() > 2:
                agreement = float(stats.spearmanr(first[scored], np.array(accuracies)[scored]).statistic)
            rows.append([name, *of_mobilenet, *of_nasbench, agreement])
            figures[name] = {
                "mobilenet": dict(zip(keys, of_mobilenet, strict=True)),
                "nasbench201": dict(zip(keys, of_nasbench, strict=True)),
                "agreement_with_cifar100": agreement,
            }
            print(name, file=sys.stderr)
    print(f"{NETWORKS} networks each, {INITIALIZATIONS} initializations, one change at a time.")
    print("MBV2: equal depth and ℵ, the settings of recipe mbv2_600M (last 64 tensors). NB201: the default of")
    print(f"VkdnwSingle (first 128), {CONVOLUTIONS} convolutions, and Spearman's ρ with CIFAR-100 accuracy.\n")
    columns = [f"{space}: {what}" for space in ("MBV2", "NB201") for what in ("reliability", "noise", "± said", "none")]
    print(table(["estimator", *columns, "NB201: ρ"], rows))
    finish(figures, __doc__ or "")


if __name__ == "__main__":
    main()
