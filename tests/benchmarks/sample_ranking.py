"""What a ranking of 1,000 networks says of all 9,445: means and deviations over random samples.

    python tests/benchmarks/sample_ranking.py --scores study/scores.csv --json FILE

The scores of all networks are those that `vkdnw-search rank` wrote, one seed. nDCG, whose gains are powers of two in
percents, hangs on the very best networks, of which a sample holds some.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import arguments, conclude, table
from vkdnw_search.ranking.metrics import kendall, ndcg_at, spearman

NETWORKS, SAMPLES = 1000, 100
ACCURACIES = ("cifar10", "cifar100")
METRICS: dict[str, Any] = {"τ": kendall, "ρ": spearman, "nDCG": ndcg_at}


def measured(scores: np.ndarray, accuracies: np.ndarray, share: float) -> list[float]:
    """Each metric; nDCG looks at the same share of the best, as `rank` does."""
    top = round(1000 * share)
    return [f(scores, accuracies, **({"P": top} if f is ndcg_at else {})) for f in METRICS.values()]


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--scores", type=Path, required=True, metavar="FILE", help="scores.csv of all networks")
    given = parser.parse_args()
    with given.scores.open() as file:
        networks = list(csv.DictReader(file))
    at = list(networks[0]).index(ACCURACIES[-1]) + 1
    proxies = [name for name in list(networks[0])[at:] if "." not in name]
    samples = [np.random.default_rng(i).choice(len(networks), NETWORKS, replace=False) for i in range(SAMPLES)]
    rows, figures = [], []
    for proxy in proxies:
        scores = np.array([float(row[proxy]) if row[proxy] else -np.inf for row in networks])
        row: list[object] = [proxy]
        for name in ACCURACIES:
            accuracies = np.array([float(row_[name]) for row_ in networks])
            whole = np.array(measured(scores, accuracies, 1.0))
            of_samples = [measured(scores[i], accuracies[i], NETWORKS / len(networks)) for i in samples]
            difference, deviation = np.mean(of_samples, axis=0) - whole, np.std(of_samples, axis=0)
            row += [f"{d:+.3f} ± {s:.3f}" for d, s in zip(difference, deviation, strict=True)]
            figures.append({"proxy": proxy, "accuracy": name, "difference": [*difference], "deviation": [*deviation]})
        rows.append(row)
    print(f"{SAMPLES} samples of {NETWORKS} of {len(networks)} networks: mean − that of all, ± standard deviation\n")
    print(table(["method", *(f"{a} {m}" for a in ACCURACIES for m in METRICS)], rows))
    conclude({"rows": figures}, given.json)


if __name__ == "__main__":
    main()
