"""What a search costs: candidates a minute with the main recipe, and where the time goes.

python tests/benchmarks/search_cost.py --json FILE
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import finish, seconds, table
from tests.benchmarks.sampling import equal_mobilenets, mobilenets, scores, values
from vkdnw_search import load_recipe, search
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.execution.executors import processes
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.records import Genome

RECIPE = "mbv2_600M"
EVALUATIONS = 600
WORKERS = 2
NETWORKS, EQUAL = 20, 40


def agreement(space: Any, genomes: list[Genome]) -> float:
    """Spearman's ρ of the recipe's score with that of 64 images of 224×224; the same weights for both."""
    proxy = load_recipe(RECIPE).build_proxy()
    assert isinstance(proxy, VkdnwSingle)
    with processes() as executor:
        small, full = (
            values(scores(space, genomes, p, (0,), executor))
            for p in (proxy, replace(proxy, resolution=224, images=64, directions=1))
        )
    return float(stats.spearmanr(small[:, 0], full[:, 0]).statistic)


def counting(space: Any, genomes: list[Genome]) -> tuple[float, float]:
    """Seconds to count a candidate of a whole search with nothing known before, and by a trace of the network."""
    counter = CostCounter(space)
    started = perf_counter()
    for genome in genomes:
        counter.cost(space.decode(genome))
    each = (perf_counter() - started) / len(genomes)
    architectures = [space.decode(genome) for genome in genomes[:3]]
    assert all(counter.cost(a).flops == counter.whole(a).flops for a in architectures)
    return each, seconds(lambda: counter.whole(architectures[0]), repeats=3)


def main() -> None:
    """Measure and print."""
    rho, rho_equal = agreement(*mobilenets(NETWORKS)), agreement(*equal_mobilenets(EQUAL))
    started = perf_counter()
    result = search(RECIPE, [f"stop.evaluations={EVALUATIONS}", "finalists=0", f"executor.workers={WORKERS}"])
    elapsed = perf_counter() - started
    timings = result.store.timings()
    scoring = sum(own for _, _, own in timings)
    searching = max(finished for _, finished, _ in timings) - min(done - own for _, done, own in timings if own > 0)
    share = 1 - scoring / WORKERS / searching
    once = elapsed - searching  # starting workers, checking the winner: as long for any number of candidates
    in_ten_minutes = result.counts["scored"] / searching * (600 - once)
    each, whole = counting(result.space, [e.genome for e in result.evaluations()])
    rows: list[list[object]] = [
        ["scored candidates in 10 minutes, start and check of the winner included", round(in_ten_minutes)],
        ["of them start and check, whatever the number of candidates", f"{once:.1f} s"],
        ["candidates skipped by their bound", f"{result.counts.get('bounded', 0) / result.visited:.1%}"],
        ["candidates outside the limits", f"{result.counts.get('infeasible', 0) / result.visited:.1%}"],
        ["time outside scoring, workers started", f"{share:.1%}"],
        [f"Spearman's ρ with 224×224, {NETWORKS} random networks within the limits", f"{rho:.3f}"],
        [f"the same among {EQUAL} networks of equal depth and ℵ", f"{rho_equal:.3f}"],
        ["counting by a trace of the whole network over counting by parts", f"{whole / each:.0f}×"],
        ["counting a candidate, first traces included", f"{each * 1e3:.2f} ms"],
    ]
    print(f"Recipe {RECIPE}, {result.visited} candidates, {WORKERS} workers:\n")
    print(table(["", ""], rows))
    figures: dict[str, Any] = {
        "scored_in_10_minutes": in_ten_minutes,
        "seconds_before_and_after": once,
        "bounded_share": result.counts.get("bounded", 0) / result.visited,
        "outside_scoring": share,
        "agreement_with_224": rho,
        "agreement_with_224_equal_layers": rho_equal,
        "counting_ratio": whole / each,
        "counting_seconds": each,
    }
    finish(figures, __doc__ or "")


if __name__ == "__main__":
    main()
