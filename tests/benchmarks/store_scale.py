"""A run of a million candidates, opened and continued: seconds and peak memory.

    python tests/benchmarks/store_scale.py --json store_scale.json

The run is one of evolution in the MobileNet space without limits: every candidate is a real network, counted as in a
search, with a score of VKDNW_single's form that is made from its cost, so that the store is as large as a real one.
It is made in bulk; then a fresh process continues it by one generation. Targets: under 60 s until the first new
candidate, under 1 GB. Making the run takes some ten to twenty minutes on two cores, the rest three.
"""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import arguments, conclude, in_own_process, peak_bytes, table
from vkdnw_search import load_recipe, search
from vkdnw_search.contracts import Probe
from vkdnw_search.determinism import seed_from
from vkdnw_search.engine.evaluator import Evaluator, limits_of
from vkdnw_search.engine.tasks import Outcome
from vkdnw_search.optimizers.variation import random_genome
from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.records import Cost, Evaluation, Score
from vkdnw_search.runs.folder import RunFolder
from vkdnw_search.runs.store import Snapshot, Store

CHILDREN, POPULATION = 32, 64
BEGUN = 160
"""Candidates of a real search, whose snapshot is carried over to the end of the bulk."""
CHUNK = 20_000


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """ℵ plus a number in [0, 1), with the terms of VKDNW_single, from the cost alone."""

    def score_cost(self, cost: Cost) -> Score:
        """The score of any network with this cost."""
        chance = np.random.default_rng(seed_from(cost.flops, cost.parameters)).random(10).tolist()
        deciles = {f"decile_{k}": value for k, value in enumerate(chance[1:], start=1)}
        return Score(
            cost.tensors + chance[0],
            chance[1] / 100,
            {"trainable_layers": cost.tensors, "entropy": chance[0], **deciles},
        )

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The same."""
        assert probe.cost is not None
        return self.score_cost(probe.cost)


def recipe(evaluations: int) -> Recipe:
    """Of the run, up to so many candidates."""
    return load_recipe(
        {
            "space": "mobilenet",
            "optimizer": {"use": "evolution", "population": POPULATION, "children": CHILDREN},
            "stop": {"evaluations": evaluations},
        },
        supplied=["score"],
    )


@cache
def the_evaluator() -> Evaluator:
    """One for the life of a process: it remembers what the parts of networks cost."""
    chosen = recipe(1)
    return Evaluator(chosen.build_space(), limits=limits_of(chosen), proxy=Synthetic(), seed=chosen.seed)


def random_candidates(first: int, count: int) -> list[Evaluation]:
    """Evaluations ``first``, ``first + 1``, … of random networks."""
    evaluator, rng = the_evaluator(), np.random.default_rng(first)
    made = []
    for number in range(first, first + count):
        genome = random_genome(evaluator.space.genes, rng)
        score = Synthetic().score_cost(evaluator.task(genome).cost)
        generation = (number - POPULATION) // CHILDREN + 1
        made.append(evaluator.conclude(Outcome(score, "", 0.01), genome, number=number, generation=generation))
    return made


def fill(out: Path, evaluations: int) -> None:
    """Make a run folder with so many candidates."""
    search(recipe(BEGUN), out=out, proxy=Synthetic())
    with RunFolder(out, recipe(evaluations)) as folder, ProcessPoolExecutor(2, get_context("spawn")) as pool:
        store = folder.store
        starts = range(BEGUN, evaluations, CHUNK)
        counts = [min(CHUNK, evaluations - first) for first in starts]
        for made in pool.map(random_candidates, starts, counts):
            for first in range(0, len(made), CHILDREN):
                block = made[first : first + CHILDREN]
                genomes = [e.genome for e in block]
                store.add_generation(block[0].generation, first=block[0].number, genomes=genomes)
            store.add(made, seconds={}, now=float(made[-1].number))
        store.set_snapshot(_at_the_end(store, evaluations))


def _at_the_end(store: Store, evaluations: int) -> Snapshot:
    """The state of the search that was begun, with the best of all candidates as its survivors."""
    snapshot = store.snapshot()
    assert snapshot is not None
    survivors = [(e.number, rank, None) for rank, e in enumerate(store.best(POPULATION))]
    generation = (evaluations - POPULATION) // CHILDREN + 1
    return Snapshot(generation, evaluations, snapshot.made_by, {**snapshot.state, "survivors": survivors})


def go_on(out: Path, evaluations: int) -> dict[str, Any]:
    """Continue by a generation, in this process: seconds and bytes until the first new candidate, and at the end."""
    met: dict[str, Any] = {}

    def listener(evaluation: Evaluation) -> None:
        if evaluation.number == evaluations:
            met.update(seconds=time.perf_counter() - started, bytes=peak_bytes())

    started = time.perf_counter()
    search(recipe(evaluations + CHILDREN), out=out, proxy=Synthetic(), listener=listener)
    return {**met, "end_seconds": time.perf_counter() - started, "end_bytes": peak_bytes()}


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--evaluations", type=int, default=1_000_000)
    options = parser.parse_args()
    # whole generations only
    evaluations = POPULATION + (options.evaluations - POPULATION + CHILDREN - 1) // CHILDREN * CHILDREN
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        started = time.perf_counter()
        fill(out, evaluations)
        filled = time.perf_counter() - started
        size = (out / "run.sqlite").stat().st_size
        figures = in_own_process(go_on, out, evaluations)
    rows = [
        ["candidates in the store", f"{evaluations:,}"],
        ["size of run.sqlite", f"{size / 1e6:,.0f} MB"],
        ["making it, in bulk", f"{filled:.0f} s"],
        ["continuing: until the first new candidate", f"{figures['seconds']:.1f} s, {figures['bytes'] / 1e6:,.0f} MB"],
        ["… and all files of the run written", f"{figures['end_seconds']:.1f} s, {figures['end_bytes'] / 1e6:,.0f} MB"],
    ]
    print(table(["", "wall-clock time, peak memory"], rows))
    conclude({"evaluations": evaluations, "database_bytes": size, "filling_seconds": filled, **figures}, options.json)


if __name__ == "__main__":
    main()
