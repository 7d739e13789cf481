"""How well methods order Once-for-all's MobileNetV3 networks by ImageNet accuracy, overall and among those of one size.

    vkdnw-search rank ofa_mobilenetv3 --accuracies TABLE.csv --column imagenet_top1 --out study
    python tests/benchmarks/ofa_table.py study --json FILE

Accuracy rises with multiply-adds there, so that anything that does so has a high ρ over all networks. What a method
knows beyond is seen among networks of about equal multiply-adds: as ρ within bands of 50M, and as ρ of what is left
after a cubic in log MACs. MACs, parameters and depth stand beside it as methods of their own; how near to 0 MACs come
at equal MACs says how well the cubic takes them out.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from search_spaces.ofa_mobilenetv3 import OfaMobileNetV3
from tests.benchmarks.measuring import arguments, conclude, table
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.ranking.metrics import spearman

BAND = 50_000_000
"""Multiply-adds from the lower to the upper end of a band."""

LEAST = 10
"""Networks a band must have to count."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Bands:
    """ρ within bands of multiply-adds.

    Attributes:
        counts: lower end of each band that counts → its networks.
        spearman: lower end → ρ within it; 0 where the method gives all of them the same score.
    """

    counts: Mapping[int, int]
    spearman: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Mean of ρ, every band weighted by its networks; NaN without bands."""
        if not self.counts:
            return float("nan")
        return float(np.average(list(self.spearman.values()), weights=list(self.counts.values())))


def within_bands(
    scores: ArrayLike, accuracies: ArrayLike, macs: ArrayLike, *, width: int = BAND, least: int = LEAST
) -> Bands:
    """ρ within the bands [k · width, (k + 1) · width) of multiply-adds.

    A band counts if it has ``least`` networks or more, and they differ in accuracy.
    """
    s, a, m = (np.asarray(values, dtype=np.float64) for values in (scores, accuracies, macs))
    counts, found = {}, {}
    for band in np.unique(m // width):
        members = m // width == band
        if members.sum() >= max(least, 2) and np.ptp(a[members]) > 0:
            ρ = spearman(s[members], a[members])
            counts[int(band) * width], found[int(band) * width] = int(members.sum()), 0.0 if np.isnan(ρ) else ρ
    return Bands(counts, found)


def at_equal_macs(scores: ArrayLike, accuracies: ArrayLike, macs: ArrayLike) -> float:
    """ρ of what is left of the scores' ranks and of the accuracies, each after its least-squares cubic in log MACs.

    Ranks, so that no rising function of the scores changes it. NaN where nothing is left of the scores: they follow
    from the multiply-adds.
    """
    s, a, m = (np.asarray(values, dtype=np.float64) for values in (scores, accuracies, macs))
    usable = np.isfinite(s)
    ranks = stats.rankdata(np.where(usable, s, s[usable].min(initial=0.0)))  # no score: last, as in vkdnw-search rank
    left, wanted = left_after_cubic(ranks, m), left_after_cubic(a, m)
    return float("nan") if np.ptp(left) < 1e-9 * len(ranks) else spearman(left, wanted)


def left_after_cubic(values: Vector, macs: Vector) -> Vector:
    """``values`` minus their least-squares cubic in log MACs. Shape (n,)."""
    x = np.log(macs)
    fitted = np.polynomial.Polynomial.fit(x, values, deg=3)
    left: Vector = values - fitted(x)
    return np.round(left, 9)  # equal networks stay equal


def read_study(folder: Path, column: str) -> tuple[list[str], Vector, dict[str, Vector]]:
    """Keys, accuracies (n,), and method → values (seeds, n), from the files of `vkdnw-search rank`."""
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        named = list(dict.fromkeys(row["method"] for row in csv.DictReader(file)))
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if column not in rows[0]:
        raise SystemExit(f"{folder / 'scores.csv'}: must have a column {column!r}, but has {', '.join(rows[0])}")
    seeds = sorted({int(row["seed"]) for row in rows})
    first = [row for row in rows if int(row["seed"]) == seeds[0]]
    methods = {
        name: np.array([[float(row[name] or "nan") for row in rows if int(row["seed"]) == seed] for seed in seeds])
        for name in named
        if name in rows[0]
    }
    return [row["architecture"] for row in first], np.array([float(row[column]) for row in first]), methods


def sizes(keys: Sequence[str]) -> dict[str, Vector]:
    """MACs, parameters and depth of every network, (n,) each."""
    space = OfaMobileNetV3()
    counter = CostCounter(space)
    costs = [counter.cost(space.parse(key)) for key in keys]
    return {
        "MACs": np.array([cost.macs for cost in costs], dtype=np.float64),
        "parameters": np.array([cost.parameters for cost in costs], dtype=np.float64),
        "depth": np.array([cost.layers for cost in costs], dtype=np.float64),
    }


def figures_of(values: NDArray[np.float64], accuracies: Vector, macs: Vector) -> dict[str, Any]:
    """The three figures of one method, means over its seeds: (seeds, n) → figures."""

    def mean(metric: Callable[[Vector], float]) -> float:
        return float(np.mean([metric(one) for one in values]))

    bands = [within_bands(one, accuracies, macs) for one in values]
    return {
        "spearman": mean(lambda one: spearman(one, accuracies)),
        "in_bands": float(np.mean([b.mean for b in bands])),
        "at_equal_macs": mean(lambda one: at_equal_macs(one, accuracies, macs)),
        "bands": {low: float(np.mean([b.spearman[low] for b in bands])) for low in bands[0].counts},
    }


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("study", type=Path, metavar="DIR", help="what vkdnw-search rank wrote")
    parser.add_argument("--column", default="imagenet_top1", metavar="NAME", help="default: %(default)s")
    options = parser.parse_args()
    keys, accuracies, methods = read_study(options.study, options.column)
    own = sizes(keys)
    macs = own["MACs"]
    every = {**{name: values[None] for name, values in own.items()}, **methods}
    found = {name: figures_of(values, accuracies, macs) for name, values in every.items()}
    counts = within_bands(macs, accuracies, macs).counts
    left = float(left_after_cubic(accuracies, macs).std())
    print(f"{len(keys):,} networks; ρ with {options.column}, of which {left:.2f} points (standard deviation) are left")
    print(f"at equal MACs. A band of {BAND // 10**6}M MACs has {LEAST} networks or more, and weighs by their number.\n")
    lows = [f"{low // 10**6}M … ({count})" for low, count in counts.items()]
    rows = [
        [name, *(f"{x:.3f}" for x in (f["spearman"], f["in_bands"], f["at_equal_macs"], *f["bands"].values()))]
        for name, f in found.items()
    ]
    print(table(["by", "ρ", "ρ in bands", "ρ at equal MACs", *lows], rows))
    conclude({"networks": len(keys), "points_left": left, "band_counts": counts, "methods": found}, options.json)


if __name__ == "__main__":
    main()
