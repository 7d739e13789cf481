"""Latency of candidates from a table of parts, against whole networks measured on this machine.

python tests/benchmarks/latency.py --json FILE
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from search_spaces.nasbench201 import NasBench201
from search_spaces.resnet import ResNet
from search_spaces.stages import Stages
from tests.benchmarks.measuring import finish, table
from tests.benchmarks.sampling import mobilenets
from vkdnw_search.cost.latency import LatencyTable, measured
from vkdnw_search.optimizers.variation import random_genome

NETWORKS = 30


def compare(space: Any, genomes: list[Any]) -> list[float]:
    """Spearman's ρ of table and measurement, of two measurements (each the best of three), and what the table costs."""
    networks = [space.decode(genome) for genome in genomes]
    latencies = LatencyTable(space)
    started = time.perf_counter()
    predicted = [latencies.seconds(network) for network in networks]
    filling = time.perf_counter() - started
    started = time.perf_counter()
    again = [latencies.seconds(network) for network in networks]
    each = (time.perf_counter() - started) / len(networks)
    assert again == predicted
    first, second = (np.min([measure(space, networks) for _ in range(3)], axis=0) for _ in range(2))
    whole = np.minimum(first, second)
    return [
        float(stats.spearmanr(predicted, whole).statistic),
        float(stats.spearmanr(first, second).statistic),
        float(np.median(np.array(predicted) / whole)),
        filling,
        1e6 * each,
    ]


def measure(space: Any, networks: list[Any]) -> list[float]:
    """Seconds of each whole network."""
    return [measured(space.build(network), space.input_shape) for network in networks]


def main() -> None:
    """Measure and print."""
    spaces: dict[str, tuple[Any, list[Any]]] = {
        "mobilenet, 540M to 600M FLOPs": mobilenets(NETWORKS),
        "mobilenet, to 600M FLOPs": mobilenets(NETWORKS, "limits.flops={max: 600M}"),
    }
    for space in (NasBench201(), Stages(), ResNet(resolution=64, max_width=256)):
        rng = np.random.default_rng(0)
        spaces[space.name] = space, [random_genome(space.genes, rng) for _ in range(NETWORKS)]
    columns = ("rho", "rho_of_two_measurements", "median_ratio", "seconds_to_fill", "microseconds_each")
    figures = {name: dict(zip(columns, compare(*given), strict=True)) for name, given in spaces.items()}
    print(f"{NETWORKS} random networks each, one thread, one image.\n")
    head = ["space", "ρ table, whole", "ρ whole, whole again", "table / whole", "s to fill", "µs a network"]
    print(table(head, [[name, *row.values()] for name, row in figures.items()]))
    finish(figures, __doc__ or "")


if __name__ == "__main__":
    main()
