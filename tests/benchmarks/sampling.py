"""Networks for the benchmarks: random feasible ones of one size, and scores of many networks on all cores."""

from __future__ import annotations

import csv
import math
import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces.nasbench201 import NasBench201
from vkdnw_search import load_recipe
from vkdnw_search.contracts import Proxy
from vkdnw_search.cost.limits import Limits
from vkdnw_search.engine.evaluator import Evaluator, limits_of
from vkdnw_search.engine.tasks import Task, score_candidate
from vkdnw_search.optimizers.algorithms import RandomSearch
from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.records import Genome, Score

ACCURACIES = Path(__file__).parents[3] / "shared" / "data" / "nb201_test_accuracy.csv"


def mobilenets(count: int, *changes: str, recipe: str = "mbv2_600M") -> tuple[Any, list[Genome]]:
    """The space of ``recipe`` and ``count`` random networks within its limits, or those of its ``changes``."""
    space, evaluator, genomes = _random_search(load_recipe(recipe, changes), 2 * count)
    return space, [genome for genome in genomes if evaluator.violation(genome) == 0][:count]


def equal_mobilenets(count: int, *, recipe: str = "mbv2_600M") -> tuple[Any, list[Genome]]:
    """The same, all of greatest depth and equal ℵ."""
    layers = load_recipe(recipe).limits.layers
    assert layers is not None and layers.max is not None
    fixed = load_recipe(recipe, [f"limits.layers={{min: {layers.max}, max: {layers.max}}}"])
    space, evaluator, genomes = _random_search(fixed, 6 * count)
    tensors = {genome: evaluator.task(genome).cost.tensors for genome in genomes if evaluator.violation(genome) == 0}
    size = Counter(tensors.values()).most_common(1)[0][0]
    return space, [genome for genome in genomes if tensors.get(genome) == size][:count]


def _random_search(recipe: Recipe, count: int) -> tuple[Any, Evaluator, list[Genome]]:
    space = recipe.build_space()
    evaluator = Evaluator(space, limits=limits_of(recipe), proxy=recipe.build_proxy(), seed=0)
    return space, evaluator, RandomSearch(evaluator.problem(), children=count).ask()


def equal_cells(count: int, *, convolutions: int) -> tuple[NasBench201, list[Genome], list[float] | None]:
    """``count`` NAS-Bench-201 networks with so many convolutions, and their CIFAR-100 accuracies if they are here."""
    space = NasBench201()
    accuracies = None
    if ACCURACIES.is_file():
        with ACCURACIES.open() as file:
            accuracies = {row["arch"]: float(row["cifar100"]) for row in csv.DictReader(file)}
    keys = [key for key in every_cell(space) if key.count("nor_conv") == convolutions]
    keys = random.Random(0).sample(keys, count)
    known = None if accuracies is None else [accuracies[key] for key in keys]
    return space, [space.encode(space.parse(key)) for key in keys], known


def every_cell(space: NasBench201) -> list[str]:
    """The keys of all different networks."""
    return sorted({space.decode(genome).key for genome in _genomes(space)})


def _genomes(space: NasBench201) -> list[Genome]:
    genomes: list[Genome] = [()]
    for gene in space.genes:
        genomes = [(*genome, choice) for genome in genomes for choice in range(len(gene.choices))]
    return genomes


def scores(
    space: Any, genomes: Sequence[Genome], proxy: Proxy, seeds: Sequence[int], executor: Executor
) -> list[list[Score | None]]:
    """A score for each network and seed, (networks, seeds); None where the network has no usable one."""
    evaluator = Evaluator(space, limits=Limits(), proxy=proxy, seed=0)
    tasks = [[_task(evaluator, genome, seed) for seed in seeds] for genome in genomes]
    futures = [[executor.submit(score_candidate, task) for task in row] for row in tasks]
    return [[future.result().score for future in row] for row in futures]


def values(found: Sequence[Sequence[Score | None]]) -> np.ndarray:
    """The values of :func:`scores`, NaN where there is none. (networks, seeds), float64."""
    return np.array([[math.nan if score is None else score.value for score in row] for row in found])


def _task(evaluator: Evaluator, genome: Genome, seed: int) -> Task:
    task = evaluator.task(genome)
    return Task(task.space, task.proxy, task.genome, task.key, task.cost, seed)
