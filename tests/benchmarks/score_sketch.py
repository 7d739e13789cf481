"""Does sketching the classes change the ranking? The default score against the exact Fisher matrix.

    python tests/benchmarks/score_sketch.py --json FILE

Both see the same images and the same weights, so that they differ by the sketch alone.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path

from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from search_spaces.nasbench201 import NasBench201
from tests.benchmarks.measuring import finish
from tests.benchmarks.sampling import scores
from vkdnw_search.execution.executors import processes
from vkdnw_search.proxies.vkdnw import VkdnwSingle

NETWORKS = 300


def main() -> None:
    """Measure and print."""
    space = NasBench201()
    rng = random.Random(0)
    genomes: dict[str, tuple[int, ...]] = {}
    while len(genomes) < NETWORKS:
        genome = tuple(rng.randrange(len(gene.choices)) for gene in space.genes)
        key = space.decode(genome).key
        if "nor_conv" in key:  # without a convolution there is nothing to learn in a cell
            genomes[key] = genome
    sketched, exact = VkdnwSingle(), replace(VkdnwSingle(), directions="all")
    with processes() as executor:
        found = [scores(space, list(genomes.values()), proxy, (0,), executor) for proxy in (sketched, exact)]
    entropies = [[row[0].terms["entropy"] for row in rows if row[0] is not None] for rows in found]
    rho = float(stats.spearmanr(*entropies).statistic)
    print(f"Spearman's ρ of the sketched with the exact entropy over {NETWORKS} NAS-Bench-201 networks: {rho:.4f}")
    finish({"networks": NETWORKS, "spearman": rho}, __doc__ or "")


if __name__ == "__main__":
    main()
