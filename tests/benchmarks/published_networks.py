"""Where do published networks stand among random ones of their class, by the fitness of the MobileNet recipes?

    python tests/benchmarks/published_networks.py [--networks 300] --json FILE

A class is a window of FLOPs and a limit on layers. Random networks are those that the recipe's search would draw within
it. Of each published network within the window, as `tests/golden/mobilenet_published.json` has them, the share of the
random ones that it beats is printed, by the recipe's score with ℵ counted in each way, and by its parts and the sizes.
A network with more FLOPs than its name says (fvcore counts batch norms) belongs to the window that it falls into.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

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

ANY_WIDTHS = ("space.least_width=0", "space.least_waist=0")

MEASURES: dict[str, Callable[[Cost, float], float]] = {
    "depth + entropy": lambda cost, entropy: cost.layers + entropy,
    "tensors + entropy": lambda cost, entropy: cost.tensors + entropy,
    "modules + entropy": lambda cost, entropy: cost.modules + entropy,
    "entropy": lambda cost, entropy: entropy,
    "depth": lambda cost, entropy: cost.layers,
    "FLOPs": lambda cost, entropy: cost.flops,
    "parameters": lambda cost, entropy: cost.parameters,
}


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
    found = [row[0] for row in scores(space, everything, load_recipe("mbv2_600M").build_proxy(), [0], executor)]
    pairs = [
        (counter.cost(space.decode(genome)), score.terms["entropy"])
        for genome, score in zip(everything, found, strict=True)
        if score is not None
    ]
    drawn = pairs[: len(pairs) - len(within)]
    return [
        [name, published, len(drawn)]
        + [
            round(stats.percentileofscore([of(*other) for other in drawn], of(*own), kind="mean"))
            for of in MEASURES.values()
        ]
        for published, own in zip(within, pairs[len(drawn) :], strict=True)
    ]


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--networks", type=int, default=300, help="random networks of each class")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    with processes() as executor:
        for title, changes in (("widths of the recipe", ()), ("any widths", ANY_WIDTHS)):
            rows = [row for name in CLASSES for row in measured(name, changes, options.networks, executor)]
            head = ["class", "network", "random networks", *MEASURES]
            print(f"{title}\n\n{table(head, rows)}\n")
            figures[title] = [dict(zip(head, row, strict=True)) for row in rows]
    conclude(figures, options.json)


if __name__ == "__main__":
    main()
