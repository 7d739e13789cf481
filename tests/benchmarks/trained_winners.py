"""What the winners of the MobileNet recipes reach once they are trained, beside what one would have without a search.

    apt install dataset-fashion-mnist
    OMP_NUM_THREADS=1 python tests/benchmarks/trained_winners.py --out DIR --json FILE [--layers 7 9 --words KEY=VALUE]
        [--bands 5 7 9 11]

Two recipes search the class of networks that `trained_networks.py` draws from (40×40 pixels, widths halved), each
under the recipe's own score, priors and share of the budget. Their winners, the network of most FLOPs that a search
visited, and MobileNetV2 as wide as the limit allows are trained by that script from three seeds. They are told beside
the random networks of the class in `tests/data/trained_mobilenet`, which were trained alike. `--layers` adds the
winners of `mbv2_600M` among networks of exactly so many layers, with more words of a recipe if you like; `--bands` adds
the winners of one search of it that has bands of at most so many layers. DIR keeps searches and trainings, and the same
command goes on from there.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from search_spaces.mobilenet_structure import Structure, parse
from tests.benchmarks.measuring import arguments, conclude, table
from tests.benchmarks.trained.images import FOLDER, read_images
from tests.benchmarks.trained.networks import (
    LAYERS,
    MOBILENETV2,
    PARTS,
    SPACE,
    Candidate,
    Drawn,
    candidate,
    cost_of,
    is_feasible,
    published,
    scaled,
)
from tests.benchmarks.trained.store import Plan, WorkFolder
from tests.benchmarks.trained.training import Settings
from tests.benchmarks.trained_networks import work
from vkdnw_search import Result, search

TABLE = Path(__file__).parents[1] / "data" / "trained_mobilenet" / "trainings.csv"
SEEDS = (0, 1, 2)
RANDOM, GROUPS = 30, ("random", "any_width")
"""How many networks of the table stand for a random choice, and the groups that were drawn without looking."""

RECIPES = ("mbv2_600M", "mbv2_600M_consensus")
WORDS = (
    f"space.resolution={SPACE.resolution}",
    f"space.num_classes={SPACE.num_classes}",
    f"space.last_width={SPACE.last_width}",
    f"space.max_width={SPACE.max_width}",
    f"space.least_stem={SPACE.least_stem}",
    f"limits.flops.max={PARTS['class'][1]:.0f}",
    f"limits.layers={LAYERS}",
)
"""The recipes' limits, scaled as the table's networks are."""

AT_DEPTH = RECIPES[0]
"""The recipe that searches among networks of one depth."""

SCALES = tuple(hundredth / 100 for hundredth in range(100, 9, -1))


def found(out: Path, evaluations: int) -> dict[str, Structure]:
    """Name → winner of each recipe; and the network of most FLOPs that the first of them visited.

    Raises:
        ValueError: a search found nothing within the limits.
    """
    winners = {}
    for recipe in RECIPES:
        result = searched(recipe, (), out / recipe, evaluations)
        winners[f"winner of {recipe}"] = best_of(result, recipe)
        if "most FLOPs" not in winners:
            costs = {e.key: e.cost.flops for e in result.evaluations() if e.status.is_feasible and e.cost is not None}
            winners["most FLOPs"] = parse(max(costs, key=lambda key: (costs[key], key)))
    return winners


def searched(recipe: str, words: Sequence[str], out: Path, evaluations: int) -> Result:
    """The search of a recipe under the scaled limits."""
    return search(recipe, [*WORDS, *words, f"stop.evaluations={evaluations}"], out=out)


def best_of(result: Result, name: str) -> Structure:
    """The winner of the search of that name.

    Raises:
        ValueError: a search found nothing within the limits.
    """
    if result.best is None:
        raise ValueError(f"{name}: must find a network within the limits, but found none. Raise --evaluations")
    return parse(result.best.key)


def of_depth(layers: int, words: Sequence[str], out: Path, evaluations: int) -> tuple[str, Structure]:
    """Name and winner of ``AT_DEPTH`` among networks of so many layers, with more words of a recipe."""
    name = f"{AT_DEPTH} {' '.join((f'{layers} layers', *words))}"
    limit = f"limits.layers={{min: {layers}, max: {layers}}}"
    result = searched(AT_DEPTH, (limit, *words), out / name, evaluations)
    return f"winner of {name}", best_of(result, name)


def of_bands(edges: Sequence[int], out: Path, evaluations: int) -> dict[str, Structure]:
    """Name → winner of each band of at most so many layers, all of one search of ``AT_DEPTH``."""
    name = f"{AT_DEPTH} bands {' '.join(map(str, edges))}"
    result = searched(AT_DEPTH, ("bands_of=layers", f"bands={list(edges)}"), out / name, evaluations)
    winners = {edge: network for edge, network in result.bands.items() if network is not None}
    return {f"{name}: at most {edge} layers": parse(network.key) for edge, network in winners.items()}


def mobilenetv2() -> Structure:
    """MobileNetV2 as wide as the class allows, its depths scaled as those of all published networks are."""
    original = parse(MOBILENETV2)
    fitting = (scaled(original, scale) for scale in SCALES)
    return next(structure for structure in fitting if is_feasible(cost_of(structure), "class"))


def plan_of(structures: Mapping[str, Structure]) -> Plan:
    """Each network from three seeds."""
    networks = [
        candidate(number, "given", Drawn(structure, cost_of(structure), name), held_out=False, seeds=SEEDS)
        for number, (name, structure) in enumerate(structures.items())
    ]
    return Plan(tuple(networks), SPACE, Settings())


def random_accuracies(file: Path = TABLE) -> list[float]:
    """Accuracies of the first RANDOM networks of the class that were drawn without looking, from their first seed."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = [r for r in csv.DictReader(lines) if r["group"] in GROUPS and r["part"] == "class" and r["seed"] == "0"]
    return [float(row["accuracy"]) for row in sorted(rows, key=lambda row: int(row["network"]))][:RANDOM]


def told(network: Candidate, own: Sequence[float], others: Sequence[float]) -> list[object]:
    """A row of the table."""
    spread = f"{fmean(own):.2f} ± {stdev(own):.2f}" if len(own) > 1 else f"{fmean(own):.2f}"
    better = sum(other > fmean(own) for other in others)
    return [network.name, network.layers, f"{network.flops / 1e6:.2f}M", spread, f"{better} of {len(others)}"]


def main() -> None:
    """Search, train, print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="searches and trainings")
    parser.add_argument("--images", type=Path, default=FOLDER, help="Fashion-MNIST (default: %(default)s)")
    parser.add_argument("--layers", type=int, nargs="*", default=[], metavar="N", help="winners of these depths, too")
    parser.add_argument("--words", nargs="*", default=[], metavar="KEY=VALUE", help="of the recipe, for these winners")
    parser.add_argument("--bands", type=int, nargs="*", default=[], metavar="N", help="winners of one search in bands")
    parser.add_argument("--evaluations", type=int, default=1500, help="of each search (default: %(default)s)")
    options = parser.parse_args()
    structures = found(options.out, options.evaluations)
    structures["MobileNetV2, scaled"] = mobilenetv2()
    structures |= {name: s for name, s in published().items() if is_feasible(cost_of(s), "class")}
    groups = {"trainings": structures}
    for layers in options.layers:
        name, winner = of_depth(layers, options.words, options.out, options.evaluations)
        groups[f"trainings of {name}"] = {name: winner}
    if options.bands:
        winners = of_bands(options.bands, options.out, options.evaluations)
        groups[f"trainings of bands {' '.join(map(str, options.bands))}"] = winners
    folders = {WorkFolder(options.out / name): plan_of(group) for name, group in groups.items()}
    images, accuracies = read_images(options.images), dict[Candidate, list[float]]()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        for folder, plan in folders.items():
            work(folder, folder.open_plan(plan), images)
    finally:
        torch.set_flush_denormal(False)
    others = random_accuracies()
    for folder, plan in folders.items():
        done = folder.trainings()
        accuracies |= {n: [t.outcome.accuracy for t in done if t.network == n.number] for n in plan.networks}
    rows = [told(network, own, others) for network, own in accuracies.items()]
    print(table(["network", "layers", "FLOPs", f"accuracy, {len(SEEDS)} seeds", "random ones better"], rows))
    print(f"\n{len(others)} random networks: {fmean(others):.2f} ± {stdev(others):.2f}, the best {max(others):.2f}")
    conclude({"accuracies": {n.name: own for n, own in accuracies.items()}, "random": others}, options.json)


if __name__ == "__main__":
    main()
