"""Which tensors should be looked at, where there are more than the score takes? Agreement with accuracy decides.

    python tests/benchmarks/which_tensors.py --json FILE

Spearman's ρ of VKDNW_single with accuracy among networks of equal size, so that only the entropy speaks: those of
NAS-Bench-201 with four convolutions (CIFAR-100), and those of NAS-Bench-Macro of the commonest ℵ (CIFAR-10), whose
blocks are MobileNetV2's. Needs their accuracies, in ``../shared/data``.
"""

from __future__ import annotations

import csv
import math
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from search_spaces.macro import Macro
from tests.benchmarks.measuring import finish, table
from tests.benchmarks.sampling import ACCURACIES, equal_cells, scores, values
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.execution.executors import processes
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.records import Genome

NETWORKS, CONVOLUTIONS = 120, 4
MACRO = ACCURACIES.with_name("nas_bench_macro_2000.csv")
SELECTIONS = ("first", "last", "spread")


def equal_macros(count: int) -> tuple[Macro, int, list[Genome], list[float]]:
    """``count`` networks of the commonest ℵ, that ℵ, and their accuracies."""
    space = Macro()
    counter = CostCounter(space)
    with MACRO.open() as file:
        rows = [(space.parse(row["arch"]), float(row["cifar10"])) for row in csv.DictReader(file)]
    tensors = [counter.cost(architecture).tensors for architecture, _ in rows]
    size = Counter(tensors).most_common(1)[0][0]
    of_size = [row for row, own in zip(rows, tensors, strict=True) if own == size][:count]
    return space, size, [space.encode(architecture) for architecture, _ in of_size], [acc for _, acc in of_size]


def main() -> None:
    """Measure and print."""
    cells, of_cells, cell_accuracies = equal_cells(NETWORKS, convolutions=CONVOLUTIONS)
    macro, size, of_macro, macro_accuracies = equal_macros(NETWORKS)
    assert cell_accuracies is not None
    rows: list[list[object]] = []
    figures: list[dict[str, Any]] = []
    with processes() as executor:
        for space, genomes, accuracies, numbers in (
            (cells, of_cells, cell_accuracies, (64, 128)),
            (macro, of_macro, macro_accuracies, (16, 32, size)),
        ):
            for number in numbers:
                for selection in SELECTIONS if number != size else SELECTIONS[:1]:  # all are all
                    proxy = replace(VkdnwSingle(), parameters=number, selection=selection)
                    judged = values(scores(space, genomes, proxy, (0,), executor))[:, 0]
                    scored = np.isfinite(judged)
                    rho = math.nan
                    if scored.sum() > 2:
                        rho = float(stats.spearmanr(judged[scored], np.array(accuracies)[scored]).statistic)
                    rows.append([space.name, number, selection if number != size else "all", f"{rho:.3f}"])
                    figures.append({"space": space.name, "tensors": number, "selection": selection, "spearman": rho})
                    print(*rows[-1], file=sys.stderr)
    print(f"{NETWORKS} networks each: nasbench201 with {CONVOLUTIONS} convolutions, macro with ℵ = {size}\n")
    print(table(["space", "tensors", "which", "ρ with accuracy"], rows))
    finish({"rows": figures}, __doc__ or "")


if __name__ == "__main__":
    main()
