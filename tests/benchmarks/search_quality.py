"""How good a search is: candidates until the best network is found, what it is worth, and evolution against chance.

python tests/benchmarks/search_quality.py --json FILE [--only nasbench201|mobilenet|ofa]

NAS-Bench-201 is searched in a table of the scores of all its 9,445 networks, under half of the largest FLOPs. The
table is the scores.csv of `vkdnw-search rank nasbench201 --accuracies … --proxies vkdnw_single`, given with --scores;
without it all networks are scored first, which takes half an hour. MobileNet networks are scored in earnest. So are
those of Once-for-all's MobileNetV3 space, by the recipe ``ofa_mobilenetv3``; a surrogate says how accurate the winner
is, beside random networks within the same limits and the best that a search by the surrogate itself finds.
"""

from __future__ import annotations

import csv
import math
import multiprocessing
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from search_spaces.nasbench201 import NasBench201
from tests.benchmarks.measuring import arguments, conclude, table
from tests.benchmarks.ofa_surrogate import WEIGHTS, OfaSurrogate
from tests.benchmarks.sampling import ACCURACIES, every_cell, mobilenets, scores
from vkdnw_search import load_recipe, search
from vkdnw_search.contracts import Optimizer
from vkdnw_search.cost.limits import Limits, Range
from vkdnw_search.engine.evaluator import Evaluator, limits_of
from vkdnw_search.execution.executors import processes
from vkdnw_search.optimizers.algorithms import AgingEvolution, Evolution, RandomSearch
from vkdnw_search.proxies.size import Flops
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.records import Evaluation, Score, Status

OPTIMIZERS: dict[str, Any] = {"evolution": Evolution, "aging": AgingEvolution, "random": RandomSearch}
CELL_SEEDS, MOBILE_SEEDS = 20, 5
MOBILE_EVALUATIONS = 1000
BUDGET = 500
"""Candidates after which the accuracy of the best one is looked up."""
OFA_SEEDS, OFA_EVALUATIONS, OFA_RANDOM = 3, 1000, 300
OFA_KNOWN = 5000
"""Candidates of the search by the surrogate itself."""


@dataclass(frozen=True)
class Trial:
    """One search in a table of scores."""

    optimizer: str
    seed: int
    scores: Mapping[str, float]
    goal: float
    limits: Limits

    def run(self) -> tuple[int, str]:
        """Candidates until a score of ``goal`` is met, and the best after ``BUDGET`` of them."""
        space = NasBench201()
        evaluator = Evaluator(space, limits=self.limits, proxy=VkdnwSingle(), seed=self.seed)
        optimizer: Optimizer = OPTIMIZERS[self.optimizer](evaluator.problem())
        number, best, best_then = 0, (-math.inf, ""), ""
        while best[0] < self.goal or number < BUDGET:
            asked = enumerate(optimizer.ask())
            evaluations = [looked_up(evaluator, genome, number + i, self.scores.get) for i, genome in asked]
            for e in evaluations:
                if e.score is not None and best[0] < self.goal:
                    best = max(best, (e.score.value, e.key))
                    reached = e.number + 1
                best_then = best[1] if e.number < BUDGET else best_then
            number += len(evaluations)
            optimizer.tell(evaluations)
        return reached, best_then


def looked_up(
    evaluator: Evaluator, genome: tuple[int, ...], number: int, value: Callable[[str], float | None]
) -> Evaluation:
    """The evaluation of a candidate whose score is known by its key; None: it has none."""
    task, violation = evaluator.task(genome), evaluator.violation(genome)
    if violation > 0:
        return Evaluation(number, 0, genome, task.key, task.cost, violation, Status.INFEASIBLE)
    score = value(task.key)
    if score is None:  # the network whose edges are all none
        return Evaluation(number, 0, genome, task.key, task.cost, violation, Status.FAILED, "no score")
    return Evaluation(number, 0, genome, task.key, task.cost, violation, Status.SCORED, score=Score(score))


def all_scores(file: Path | None) -> dict[str, float]:
    """Key → VKDNW_single of every cell that has one."""
    if file is not None:
        with file.open() as rows:
            return {r["architecture"]: float(r["vkdnw_single"]) for r in csv.DictReader(rows) if r["vkdnw_single"]}
    space = NasBench201()
    genomes = [space.encode(space.parse(key)) for key in every_cell(space)]
    with processes() as executor:
        found = scores(space, genomes, VkdnwSingle(), (0,), executor)
    return {space.decode(g).key: s.value for g, (s,) in zip(genomes, found, strict=True) if s is not None}


def cells(scored: Mapping[str, float]) -> dict[str, Any]:
    """Search NAS-Bench-201 with each optimizer and seed."""
    space = NasBench201()
    every = Evaluator(space, limits=Limits(), proxy=VkdnwSingle(), seed=0)
    flops = {key: every.task(space.encode(space.parse(key))).cost.flops for key in scored}
    half = max(flops.values()) // 2
    feasible = [key for key in scored if flops[key] <= half]
    best = max(feasible, key=lambda key: scored[key])
    accuracies: dict[str, dict[str, float]] = {}
    if ACCURACIES.is_file():
        with ACCURACIES.open() as file:
            accuracies = {r["arch"]: {c: float(r[c]) for c in ("cifar10", "cifar100")} for r in csv.DictReader(file)}
    limits = Limits(flops=Range(maximum=half))
    trials = [Trial(name, seed, scored, scored[best], limits) for name in OPTIMIZERS for seed in range(CELL_SEEDS)]
    with multiprocessing.get_context("spawn").Pool() as pool:
        outcomes = pool.map(Trial.run, trials, chunksize=1)
    figures: dict[str, Any] = {"networks": len(scored), "feasible": len(feasible), "flops_limit": half}
    for name in OPTIMIZERS:
        mine = [o for t, o in zip(trials, outcomes, strict=True) if t.optimizer == name]
        found = {c: median(accuracies[key][c] for _, key in mine) for c in ("cifar10", "cifar100") if accuracies}
        figures[name] = {"evaluations": median(number for number, _ in mine), **found}
    figures["highest score"] = {"evaluations": "", **accuracies.get(best, {})}
    for c in ("cifar10", "cifar100"):
        if accuracies:
            figures.setdefault("best possible", {"evaluations": ""})[c] = max(accuracies[key][c] for key in feasible)
    return figures


def mobile_leads() -> list[dict[str, Any]]:
    """Winners of evolution and of random search at equal evaluations, for each seed, on fresh initializations."""
    rows = []
    for seed in range(MOBILE_SEEDS):
        winners, scored = {}, {}
        for name in ("evolution", "random"):
            overrides = [f"seed={seed}", f"optimizer={name}", f"stop.evaluations={MOBILE_EVALUATIONS}"]
            result = search("mbv2_600M", overrides)
            assert result.judgement is not None
            winners[name], scored[name] = result.judgement.finalists[0], result.counts["scored"]
        lead = winners["evolution"].mean - winners["random"].mean
        error = math.hypot(*(winner.standard_error for winner in winners.values()))
        rows.append({"seed": seed, "lead": lead, "error": error, "beyond": lead > 2 * error, "scored": scored})
        print(f"seed {seed}: {lead:+.3f} ± {error:.3f}", file=sys.stderr, flush=True)
    return rows


def best_known(value: Callable[[str], float], *, evaluations: int) -> str:
    """Key of the best network that evolution by ``value`` itself finds within the limits of ``ofa_mobilenetv3``."""
    recipe = load_recipe("ofa_mobilenetv3")
    evaluator = Evaluator(recipe.build_space(), limits=limits_of(recipe), proxy=Flops(), seed=0)  # never called
    optimizer = Evolution(evaluator.problem())
    number, best = 0, (-math.inf, "")
    while number < evaluations:
        asked = enumerate(optimizer.ask())
        told = [looked_up(evaluator, genome, number + i, value) for i, genome in asked]
        best = max([best, *((e.score.value, e.key) for e in told if e.score is not None)])
        number += len(told)
        optimizer.tell(told)
    return best[1]


def subnetworks() -> dict[str, Any]:
    """Accuracy in percent, by the surrogate, of what the recipe ``ofa_mobilenetv3`` finds; each optimizer and seed."""
    surrogate = OfaSurrogate.read()
    space, genomes = mobilenets(OFA_RANDOM, recipe="ofa_mobilenetv3")
    chance = sorted(surrogate.of_keys([space.decode(genome).key for genome in genomes]).values())
    figures: dict[str, Any] = {"random": {"networks": len(chance), "median": median(chance), "best": chance[-1]}}
    for name in ("evolution", "random"):
        winners = []
        for seed in range(OFA_SEEDS):
            overrides = [f"seed={seed}", f"optimizer={name}", f"stop.evaluations={OFA_EVALUATIONS}"]
            result = search("ofa_mobilenetv3", overrides)
            assert result.best is not None
            winners += surrogate.of_keys([result.best.key]).values()
            print(f"ofa_mobilenetv3, {name}, seed {seed}: {winners[-1]:.2f}", file=sys.stderr, flush=True)
        below = [100 * sum(accuracy < winner for accuracy in chance) / len(chance) for winner in winners]
        figures[f"winner of {name}"] = {"accuracies": winners, "percentiles": below}
    best = best_known(lambda key: surrogate.of_keys([key])[key], evaluations=OFA_KNOWN)
    figures["best known"] = {"key": best, "accuracy": surrogate.of_keys([best])[best]}
    return figures


def show_cells(found: Mapping[str, Any]) -> None:
    """Print what :func:`cells` gave."""
    print(
        f"NAS-Bench-201, at most {found['flops_limit']:,} FLOPs: {found['feasible']} of {found['networks']} networks."
    )
    print(f"Candidates until the highest score is met, median of {CELL_SEEDS} seeds; accuracy in % of the best after")
    print(f"{BUDGET} candidates, median.\n")
    shown = [*OPTIMIZERS, *(name for name in ("highest score", "best possible") if name in found)]
    columns = ("evaluations", "cifar10", "cifar100")
    print(table(["", *columns], [[name, *(str(found[name].get(c, "")) for c in columns)] for name in shown]))


def show_mobile_leads(mobile: list[dict[str, Any]]) -> None:
    """Print what :func:`mobile_leads` gave."""
    ahead = sum(row["beyond"] for row in mobile)
    print(f"\nMobileNet space, 600M FLOPs, {MOBILE_EVALUATIONS} evaluations: evolution's winner exceeds that of random")
    print(f"search by more than two standard errors in {ahead} of {len(mobile)} seeds; its lead over the seeds:\n")
    shown = [[row["seed"], f"{row['lead']:.3f}", f"{row['error']:.3f}", *row["scored"].values()] for row in mobile]
    print(table(["seed", "lead", "±", "scored by evolution", "scored by random"], shown))


def show_subnetworks(found: Mapping[str, Any]) -> None:
    """Print what :func:`subnetworks` gave."""
    chance, best = found["random"], found["best known"]["accuracy"]
    print(f"\nOnce-for-all's MobileNetV3 space, recipe ofa_mobilenetv3, {OFA_EVALUATIONS} evaluations; accuracy in %")
    print(f"by the surrogate. Of {chance['networks']} random networks within the limits the median has")
    print(f"{chance['median']:.2f} and the best {chance['best']:.2f}; the best that is known has {best:.2f}.\n")
    rows = [
        [name, " ".join(f"{x:.2f}" for x in found[name]["accuracies"]), f"{median(found[name]['percentiles']):.0f}"]
        for name in ("winner of evolution", "winner of random")
    ]
    print(table(["", "accuracy, each seed", "% of random networks that it exceeds, median"], rows))


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--scores", type=Path, metavar="FILE", help="scores.csv with the column vkdnw_single")
    parser.add_argument("--only", choices=("nasbench201", "mobilenet", "ofa"), help="one of the three (default: all)")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    if options.only in (None, "nasbench201"):
        figures["nasbench201"] = cells(all_scores(options.scores))
        show_cells(figures["nasbench201"])
    if options.only in (None, "mobilenet"):
        figures["mobilenet"] = mobile_leads()
        show_mobile_leads(figures["mobilenet"])
    if options.only == "ofa" or (options.only is None and WEIGHTS.is_file()):
        figures["ofa_mobilenetv3"] = subnetworks()
        show_subnetworks(figures["ofa_mobilenetv3"])
    conclude(figures, options.json)


if __name__ == "__main__":
    main()
