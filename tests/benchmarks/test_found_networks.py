"""Searches in stored scores, and the script that makes them, on spaces so small that the answer is known."""

from __future__ import annotations

import json
import sys
from itertools import product

import numpy as np
import pytest

from search_spaces.nasbench201 import NasBench201
from tests.benchmarks import found_networks
from tests.benchmarks.nas_benchmarks import CELLS, Unavailable, once_for_all, tabulated
from tests.benchmarks.stored_search import KnownAccuracies, StoredScores, StoredSearch
from tests.support.quick import Recording
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.cost.limits import Limits, Range
from vkdnw_search.execution.executors import inline
from vkdnw_search.optimizers.algorithms import Evolution, RandomSearch
from vkdnw_search.proxies.aggregate import LogRankSum
from vkdnw_search.proxies.size import Flops, Parameters, TrainableLayers

SPACE = NasBench201()


def accuracy(key: str) -> float:
    return 20 + 10 * key.count("conv_3x3") + key.count("skip") - 2 * key.count("pool")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Accuracies by a formula, of the cells whose first edge is a convolution."""
    folder = tmp_path_factory.mktemp("data")
    keys = {SPACE.decode((3, *rest)).key for rest in product(range(5), repeat=5)}
    lines = [f"{key},{accuracy(key)},{accuracy(key) / 2}" for key in sorted(keys)]
    (folder / CELLS).write_text("\n".join(["arch,cifar10,cifar100", *lines]) + "\n")
    return folder


@pytest.fixture(scope="module")
def benchmark(data):
    return tabulated("nasbench201", data / CELLS, evaluations=0)


def found(benchmark, folder, proxy, *, evaluations, optimizer=RandomSearch, most=None):
    """A search by one proxy, its scores and its row."""
    with StoredScores(folder, benchmark.space, {"fitness": proxy}, inline()) as scores:
        limits = Limits(flops=Range(maximum=most)) if most else Limits()
        row = scores.rows["fitness"]
        is_known = lambda key: benchmark.accuracies(key) is not None  # noqa: E731
        search = StoredSearch(scores, row, benchmark.space, is_known, limits=limits, seed=0)
        result = search.run(optimizer(search.evaluator.problem()), evaluations=evaluations)
        return result, scores.fitness(row, result.visited)


def test_a_search_of_everything_finds_what_the_fitness_puts_first(benchmark, tmp_path):
    result, fitness = found(benchmark, tmp_path, Flops(), evaluations=10**6)
    counter = CostCounter(SPACE)
    flops = {key: counter.cost(SPACE.parse(key)).flops for key in result.visited}
    assert len(result.visited) > 100 and all(benchmark.accuracies(key) for key in result.visited)
    best = sorted(flops.values(), reverse=True)
    assert [flops[key] for key in result.finalists] == best[:10] and result.most_flops == result.finalists[0]
    assert fitness.tolist() == list(flops.values()) == list(result.flops.values())


@pytest.mark.parametrize("optimizer", [RandomSearch, Evolution])
def test_a_sum_of_ranks_ranks_all_that_the_search_has_visited(benchmark, tmp_path, optimizer):
    proxy = LogRankSum(proxies={"flops": Flops(), "layers": TrainableLayers(), "parameters": Parameters()})
    result, fitness = found(benchmark, tmp_path, proxy, optimizer=optimizer, evaluations=300)
    places = {key: place for place, key in enumerate(result.visited)}
    order = sorted(result.visited, key=lambda key: (-fitness[places[key]], places[key]))
    assert list(result.finalists) == order[:10] and len(result.visited) > 10


def test_a_limit_and_the_number_of_candidates_hold(benchmark, tmp_path):
    result, _ = found(benchmark, tmp_path, Flops(), most=60e6, evaluations=400)
    assert result.visited and max(result.flops.values()) <= 60e6
    assert len(result.visited) <= 400


def test_what_is_stored_is_not_scored_again(benchmark, tmp_path):
    proxy = Recording(file=str(tmp_path / "calls"))
    first, _ = found(benchmark, tmp_path / "study", proxy, evaluations=400)
    calls = (tmp_path / "calls").read_text().split()
    assert len(calls) == len(first.visited)
    again, _ = found(benchmark, tmp_path / "study", proxy, evaluations=400)
    assert (tmp_path / "calls").read_text().split() == calls and again == first


def test_a_search_by_the_accuracies_themselves_finds_the_best(benchmark):
    search = StoredSearch(
        KnownAccuracies(benchmark.accuracies, "cifar10"), KnownAccuracies.row, SPACE,
        lambda key: benchmark.accuracies(key) is not None, limits=Limits(), seed=0,
    )  # fmt: skip
    result = search.run(RandomSearch(search.evaluator.problem()), evaluations=1000)
    assert len(result.visited) > 10
    assert [accuracy(key) for key in result.finalists] == sorted(map(accuracy, result.visited), reverse=True)[:10]


def test_budgets_and_what_is_best_within_them_are_of_the_table(benchmark, data):
    whole = tabulated("nasbench201", data / CELLS, evaluations=1)
    counter = CostCounter(SPACE)
    keys = [line.split(",")[0] for line in (data / CELLS).read_text().splitlines()[1:]]
    flops = np.array([counter.cost(SPACE.parse(key)).flops for key in keys])
    assert whole.flops["35%"] == pytest.approx(0.35 * flops.max()) and whole.flops["100%"] == flops.max()
    within = [accuracy(key) for key, cost in zip(keys, flops, strict=True) if cost <= 0.5 * flops.max()]
    assert whole.best["50%"] == {"cifar10": max(within), "cifar100": max(within) / 2}


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(Unavailable, match=r"there is no table\.csv in"):
        tabulated("nasbench201", tmp_path / "table.csv", evaluations=1)
    with pytest.raises(Unavailable, match="there is no "):
        once_for_all(tmp_path / "predictor.npz")


@pytest.mark.slow
def test_the_script_goes_on_where_it_ended_and_ends_the_same(data, tmp_path, monkeypatch, capsys):
    def run(file: str, seeds: int) -> tuple[list[dict[str, object]], str, int]:
        words = ["--fitness", "flops", "--seeds", str(seeds), "--evaluations", "64"]
        places = ["--data", str(data), "--studies", str(tmp_path / "studies"), "--json", str(tmp_path / file)]
        monkeypatch.setattr(sys, "argv", ["found_networks.py", *words, *places])
        found_networks.main()
        written = json.loads((tmp_path / file).read_text())
        assert list(written["skipped"]) == ["macro", "ofa_mobilenetv3"] and "machine" in written
        told = capsys.readouterr()
        return written["searches"], told.out, told.err.count("search ")

    records, printed, done = run("once.json", 2)
    assert done == len(records) == 2 * 5 * 2  # optimizers, budgets, seeds
    assert "macro is left out: there is no nas_bench_macro_2000.csv" in printed
    assert "| most FLOPs | random |" in printed and "| AZ-NAS (published) | 93.49 | 70.33 |" in printed
    some, _, first = run("twice.json", 1)
    more, again, second = run("twice.json", 2)
    assert first == len(some) == second == 10
    assert again == printed and sorted(map(json.dumps, more)) == sorted(map(json.dumps, records))
    assert all(record["winner"] for record in records if record["budget"] == "100%")
    for record in (record for record in records if record["winner"]):
        assert record["accuracy"] == {"cifar10": accuracy(record["winner"]), "cifar100": accuracy(record["winner"]) / 2}
