"""Where do published networks stand among random ones of their class, by the fitness of the MobileNet recipes?

    python tests/benchmarks/published_networks.py [--networks 300] [--any-widths] --json FILE

A class is a window of FLOPs and a limit on layers. Random networks are those that the recipe's search would draw within
it. Of each published network within the window, as `tests/golden/mobilenet_published.json` has them, the share of the
random ones that it beats is printed, by the consensus, by VKDNW_single with ℵ counted in each way, and by its parts and
the sizes; scores are taken as the recipes take them.
A network with more FLOPs than its name says (fvcore counts batch norms) belongs to the window that it falls into.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path

from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import arguments, conclude, table
from tests.benchmarks.sampling import mobilenets, scores
from tests.support.golden import MOBILENETS
from vkdnw_search import load_recipe
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.execution.executors import processes
from vkdnw_search.records import Cost

CLASSES = {"450M": (405, 459, 14), "480M": (444, 494, 15), "600M": (540, 612, 14)}
"""Name → least and most FLOPs in millions, most layers."""

CONSENSUS = "mbv2_600M_consensus"

ANY_WIDTHS = ("space.least_width=0", "space.least_waist=0", "space.least_stem=8")

MEASURES: dict[str, Callable[[Cost, float], float]] = {
    "depth + entropy": lambda cost, entropy: cost.layers + entropy,
    "tensors + entropy": lambda cost, entropy: cost.tensors + entropy,
    "modules + entropy": lambda cost, entropy: cost.modules + entropy,
    "entropy": lambda cost, entropy: entropy,
    "depth": lambda cost, entropy: cost.layers,
    "FLOPs": lambda cost, entropy: cost.flops,
    "parameters": lambda cost, entropy: cost.parameters,
}
"""Beside the consensus, which ranks all of them."""


def measured(name: str, changes: Sequence[str], count: int, executor: Executor) -> list[list[object]]:
    """One row for each published network of a class."""
    low, high, layers = CLASSES[name]
    limits = (f"limits.flops={{min: {low}M, max: {high}M}}", f"limits.layers={layers}", *changes)
    space, genomes = mobilenets(count, *limits)
    counter = CostCounter(space)
    known = {record["name"]: space.parse(record["structure"]) for record in MOBILENETS}
    costs = {published: counter.cost(structure) for published, structure in known.items()}
    within = [p for p, c in costs.items() if low * 10**6 <= c.flops <= high * 10**6 and c.layers <= layers]
    everything = [*genomes, *(space.encode(known[published]) for published in within)]
    consensus = load_recipe(CONSENSUS).build_proxy()
    found = [row[0] for row in scores(space, everything, consensus, [0], executor)]
    scored = [(genome, score) for genome, score in zip(everything, found, strict=True) if score is not None]
    if None in found[len(genomes) :]:
        raise ValueError(f"{name}: a published network has no score")
    pairs = [(counter.cost(space.decode(genome)), score.terms["entropy"]) for genome, score in scored]
    columns = {title: [of(*pair) for pair in pairs] for title, of in MEASURES.items()}
    columns = {"consensus": consensus.fitness([score for _, score in scored]).tolist(), **columns}
    drawn = len(scored) - len(within)
    return [
        [name, published, drawn]
        + [round(stats.percentileofscore(c[:drawn], c[drawn + i], kind="mean")) for c in columns.values()]
        for i, published in enumerate(within)
    ]


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--networks", type=int, default=300, help="random networks of each class")
    parser.add_argument("--any-widths", action="store_true", help="draw them from the space as published")
    options = parser.parse_args()
    changes = ANY_WIDTHS if options.any_widths else ()
    with processes() as executor:
        rows = [row for name in CLASSES for row in measured(name, changes, options.networks, executor)]
    head = ["class", "network", "random networks", "consensus", *MEASURES]
    print(table(head, rows))
    conclude({"networks": [dict(zip(head, row, strict=True)) for row in rows]}, options.json)


if __name__ == "__main__":
    main()
