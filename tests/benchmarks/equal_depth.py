"""What the scores of a study say of accuracy among networks of one depth, and of the first ten of forty.

python tests/benchmarks/equal_depth.py --scores STUDY/scores.csv --json FILE [--accuracy fashion_mnist]

The study is one of `vkdnw-search rank mobilenet` in which VKDNW_single counts the depth (`vkdnw_single.layers=depth`).
For each score: Spearman's ρ with accuracy among all networks; the partial ρ with the depth held fixed; and the mean
accuracy of the ten that the score puts first among forty, over 1,000 random forties.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import arguments, conclude, table
from tests.benchmarks.trained.tables import partial_rho

DEPTH, ENTROPY = "vkdnw_single.trainable_layers", "vkdnw_single.entropy"
FIRST, OF, DRAWS = 10, 40, 1000
NO_SCORES = ("architecture", "seed", "params")

Values = NDArray[np.float64]


def first_ten(values: Values, accuracies: Values, *, of: int = OF) -> float:
    """Mean accuracy of the FIRST by ``values`` among ``of`` random networks."""
    chance = np.random.default_rng(0)
    means = []
    for _ in range(DRAWS):
        drawn = chance.choice(len(values), min(of, len(values)), replace=False)
        means.append(accuracies[drawn[np.argsort(-values[drawn], kind="stable")[:FIRST]]].mean())
    return float(np.mean(means))


def columns_of(file: Path) -> Mapping[str, Values]:
    """The columns of numbers of a study, networks without a score left out."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if all(row.values())]
    names = [name for name in rows[0] if name not in NO_SCORES and ("." not in name or name in (DEPTH, ENTROPY))]
    return {name: np.array([float(row[name]) for row in rows]) for name in names}


def main() -> None:
    """Read, correlate, print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--scores", type=Path, required=True, metavar="FILE", help="scores.csv of a study")
    parser.add_argument("--accuracy", default="fashion_mnist", help="its column (default: %(default)s)")
    options = parser.parse_args()
    columns = dict(columns_of(options.scores))
    accuracies, depths = columns.pop(options.accuracy), columns[DEPTH]
    found = {
        name: (
            float(stats.spearmanr(values, accuracies).statistic),
            partial_rho(values, accuracies, depths) if name != DEPTH else float("nan"),
            first_ten(values, accuracies),
        )
        for name, values in columns.items()
    }
    rows = [[name, f"{rho:.2f}", f"{equal:.2f}", f"{ten:.2f}"] for name, (rho, equal, ten) in found.items()]
    print(table(["score", "ρ", "ρ at equal depth", f"mean accuracy of the first {FIRST} of {OF}"], rows))
    print(f"\n{len(accuracies)} networks, mean accuracy {accuracies.mean():.2f}")
    conclude({"scores": found}, options.json)


if __name__ == "__main__":
    main()
