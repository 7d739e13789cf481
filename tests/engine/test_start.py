"""A search can begin with networks that are known already: from text, by name, or the best of an earlier run."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.quick import Quick, leave_out_the_end
from vkdnw_search import Result, search
from vkdnw_search.contracts import HasStart, Problem
from vkdnw_search.engine.doctor import examine, page
from vkdnw_search.engine.finalists import BEST_GIVEN, FIRST_RANDOM
from vkdnw_search.errors import OptimizerError, RecipeError, RunFolderError
from vkdnw_search.optimizers.algorithms import AgingEvolution, Evolution, Nsga2, RandomSearch
from vkdnw_search.proxies.aggregate import LogRankSum
from vkdnw_search.proxies.size import Flops, Parameters
from vkdnw_search.recipe.recipe import load_recipe
from vkdnw_search.records import Cost, Evaluation, Score, Status
from vkdnw_search.runs.fitness import fitness_of
from vkdnw_search.runs.given import number_given
from vkdnw_search.runs.reader import RunReader
from vkdnw_search.runs.store import Store

CELLS = [
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
    "|nor_conv_1x1~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|",
    "|skip_connect~0|+|nor_conv_3x3~0|skip_connect~1|+|nor_conv_1x1~0|nor_conv_3x3~1|skip_connect~2|",
]
NB201: dict[str, Any] = {"space": "nasbench201", "executor": "inline", "finalists": 0, "stop": {"evaluations": 70}}
OPTIMIZERS = ["evolution", "random", "nsga2", "aging", "{use: evolution, population: 8, children: 5}"]


@pytest.fixture(autouse=True)
def leave_out_the_end_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_the_end(monkeypatch)


def quick(*overrides: str, proxy: Any = None, start: Any = None, **options: Any) -> Result:
    recipe = NB201 if start is None else NB201 | {"start": start}
    return search(recipe, overrides, proxy=proxy or Quick(), **options)


def rows(result: Result) -> list[Evaluation]:
    return list(result.evaluations())


def keys(result: Result) -> list[str]:
    return [e.key for e in rows(result)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_first_candidates_are_those_given_and_the_random_ones_follow_as_without(optimizer: str) -> None:
    plain = quick(f"optimizer={optimizer}", "stop.generations=1")
    given = quick(f"optimizer={optimizer}", "stop.generations=1", start=CELLS)
    assert keys(given)[:3] == CELLS and all(e.status == "scored" and e.generation == 0 for e in rows(given)[:3])
    random = [key for key in keys(plain) if key not in CELLS]
    fewer = 3 if optimizer == "aging" else 0  # whose oldest die: random ones make room
    assert keys(given)[3:] == random[: len(random) - fewer]


def test_evolution_breeds_from_what_it_was_given() -> None:
    best = quick("optimizer=random", "stop.evaluations=300").best
    assert best is not None
    settings = ("optimizer={use: evolution, population: 8, children: 8, crossover: 0}", "stop.evaluations=80")
    runs = [quick(*settings, start=start) for start in ([], [best.key])]
    means = [np.mean([e.score.value for e in rows(run)[24:] if e.score is not None]) for run in runs]
    assert means[1] > means[0]


def test_a_name_is_that_of_a_reference_and_a_network_that_is_given_twice_comes_once() -> None:
    result = quick("stop.evaluations=20", start=["resnet", CELLS[1], CELLS[1], "resnet"])
    assert keys(result)[:2] == [result.space.references["resnet"], CELLS[1]]  # type: ignore[attr-defined]
    assert number_given(result.store) == 2 and len(set(keys(result))) == 20


def test_what_is_outside_the_limits_is_recorded_with_its_reason() -> None:
    result = quick("limits.flops=60M", "stop.evaluations=30", start=CELLS)
    first, *_ = rows(result)
    assert first.key == CELLS[0] and first.status == "infeasible" and first.reason.startswith("flops 186.3M is above")
    assert result.best is not None and result.best.cost.flops <= 60_000_000


@pytest.mark.parametrize(
    ("optimizer", "bands"),
    [
        ("evolution", "[]"),
        ("{use: evolution, population: 8, children: 5}", "[60M, 120M, 200M]"),
        *(pytest.param(name, "[]", marks=pytest.mark.slow) for name in OPTIMIZERS[1:]),
        *(pytest.param(name, "[60M, 120M, 200M]", marks=pytest.mark.slow) for name in OPTIMIZERS[:-1]),
    ],
)
def test_a_run_that_was_cut_off_goes_on_to_the_same_bytes(
    optimizer: str, bands: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vkdnw_search.engine.session.SPACING", 20)
    settings = [f"optimizer={optimizer}", "stop.evaluations=120", f"bands={bands}"]
    quick(*settings, start=CELLS, out=tmp_path / "whole")
    seen: list[Evaluation] = []
    for stop_at in (2, 118, 10**6):  # among those given, and after a checkpoint
        quick(
            *settings,
            start=CELLS,
            out=tmp_path / "part",
            listener=seen.append,
            stopped=lambda stop_at=stop_at: len(seen) >= stop_at,  # type: ignore[misc]
        )
    ours, theirs = ((tmp_path / name / "results.csv").read_bytes() for name in ("whole", "part"))
    assert ours == theirs and ours.count(b"\n") == 121


def test_fewer_evaluations_than_networks_given_are_the_first_of_them(tmp_path: Path) -> None:
    assert keys(quick("stop.evaluations=2", start=CELLS)) == CELLS[:2]


# ------------------------------------------------------------------------------------------------- an earlier run


def test_the_best_of_a_run_that_fit_are_taken(tmp_path: Path) -> None:
    old = quick("stop.evaluations=200", "optimizer=random", out=tmp_path / "old")
    fitting = [e for e in rows(old) if e.cost.flops <= 60_000_000 and e.score is not None]
    best = sorted(fitting, key=lambda e: (-e.score.value, e.number))[:10]  # type: ignore[union-attr]
    for entry in (tmp_path / "old", tmp_path / "old/results.csv"):
        new = quick("limits.flops=60M", "seed=1", start=str(entry))
        assert keys(new)[:10] == [e.key for e in best]
        assert number_given(new.store) == 10


def test_every_band_gets_its_best(tmp_path: Path) -> None:
    old = quick("stop.evaluations=300", "optimizer=random", out=tmp_path / "old")
    new = quick("bands=[40M, 90M]", start=str(tmp_path / "old"))
    scored = sorted((e for e in rows(old) if e.score is not None), key=lambda e: (-e.score.value, e.number))  # type: ignore[union-attr]
    low = [e.key for e in scored if e.cost.flops <= 40_000_000][:10]
    high = [e.key for e in scored if 40_000_000 < e.cost.flops <= 90_000_000][:10]
    assert sorted(keys(new)[: number_given(new.store)]) == sorted(low + high)


def test_a_run_goes_on_although_the_one_it_began_with_has_changed_or_gone(tmp_path: Path) -> None:
    quick("stop.evaluations=40", out=tmp_path / "old")
    settings: dict[str, Any] = {"start": str(tmp_path / "old")}
    quick("seed=1", "stop.evaluations=50", out=tmp_path / "whole", **settings)
    seen: list[Evaluation] = []
    settings["out"] = tmp_path / "part"
    quick("seed=1", "stop.evaluations=50", listener=seen.append, stopped=lambda: len(seen) > 20, **settings)
    (tmp_path / "old").rename(tmp_path / "gone")
    quick("seed=1", "stop.evaluations=50", **settings)
    assert (tmp_path / "part/results.csv").read_bytes() == (tmp_path / "whole/results.csv").read_bytes()


def test_a_run_of_which_nothing_fits_leaves_the_search_to_itself_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quick("stop.evaluations=20", "limits.flops.min=60M", out=tmp_path / "old")
    new = quick("limits.flops=40M", "stop.evaluations=20", start=str(tmp_path / "old"))
    assert "none of the best networks" in caplog.text
    assert keys(new) == keys(quick("limits.flops=40M", "stop.evaluations=20"))


def test_a_run_in_other_options_of_the_space_gives_what_the_genes_can_express(tmp_path: Path) -> None:
    quick("stop.evaluations=60", "optimizer=random", out=tmp_path / "old")
    new = quick("space={use: nasbench201, residual: true}", start=str(tmp_path / "old"))
    with RunReader(tmp_path / "old", proxy=Quick()) as old:
        residual = [e.key for e in old.ranked if "skip_connect~0|" in e.key.rpartition("+")[2]]
    assert residual and set(keys(new)[: number_given(new.store)]) <= set(residual)


# ----------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("space", "start", "told"),
    [
        ("nasbench201", "resnett", "must be resnet, the folder of a run, or an architecture .*Did you mean 'resnet'"),
        ("nasbench201", "|none~0|", "start, '|none~0|'"),
        ("{use: nasbench201, residual: true}", CELLS[1], "residual"),
        ("{use: nasbench201, fix: {node1.from0: none}}", CELLS[0], "gene node1.from0: must be one of none"),
        ("mobilenet", "x" * 900, "start, "),
        ("mobilenet", "runs/gone", "the folder of a run"),
    ],
)
def test_what_the_genes_cannot_express_is_told_before_the_search_begins(
    space: str, start: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=told):
        quick(f"space={space}", start=start, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_run_and_a_damaged_one_are_told(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(RunFolderError, match="must be the folder of a run"):
        quick(start=str(tmp_path / "other"))
    quick("stop.evaluations=5", out=tmp_path / "old")
    (tmp_path / "old/run.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(RunFolderError, match="cannot be read as one"):
        quick(start=str(tmp_path / "old"))


def test_a_run_in_another_space_has_nothing_to_give(tmp_path: Path) -> None:
    quick("stop.evaluations=5", "space=macro", out=tmp_path / "old")
    with pytest.raises(RecipeError, match="must have networks that the genes can express, but has none: the best: "):
        quick(start=str(tmp_path / "old"))


def test_another_start_is_another_run(tmp_path: Path) -> None:
    quick("stop.evaluations=5", start=CELLS, out=tmp_path / "run")
    with pytest.raises(RunFolderError, match="start:"):
        quick("stop.evaluations=5", start=CELLS[:1], out=tmp_path / "run")


def test_networks_given_that_were_damaged_in_the_folder_are_told(tmp_path: Path) -> None:
    quick("stop.evaluations=5", start=CELLS, out=tmp_path / "run")
    with Store(tmp_path / "run/run.sqlite") as store:
        store.set_note("start", '[[0, "x"]]')
    with pytest.raises(RunFolderError, match="start: must be as it was written"):
        quick("stop.evaluations=9", start=CELLS, out=tmp_path / "run")


class Plain:
    """An optimizer that cannot begin with anything."""

    def __init__(self, problem: Problem) -> None: ...
    def ask(self) -> list[Any]:
        return []

    def tell(self, evaluations: Any) -> None: ...


def test_an_optimizer_that_cannot_begin_with_networks_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(
        OptimizerError, match=r"start: the optimizer must have begin_with\(genomes\).*but Plain has none"
    ):
        quick(start=CELLS, optimizer=Plain, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert all(issubclass(kind, HasStart) for kind in (Evolution, AgingEvolution, Nsga2, RandomSearch))


# -------------------------------------------------------------------------------- what is random, and what was given

RANKS = LogRankSum(proxies={"flops": Flops(), "parameters": Parameters()}, reference=16)


def evaluation(number: int, flops: float) -> Evaluation:
    terms = {"flops": flops, "parameters": 1.0}
    cost = Cost(int(flops), 1, 1, 1, 1, 1)
    return Evaluation(number, 0, (number,), str(number), cost, 0.0, Status.SCORED, "", Score(0.0, 0.0, terms))


def test_networks_given_are_not_among_those_by_which_others_are_ranked() -> None:
    random = [evaluation(number + 4, flops) for number, flops in enumerate(np.random.default_rng(0).random(40) * 100)]
    given = [evaluation(number, 1e6 + number) for number in range(4)]
    alone = fitness_of([replace(e, number=e.number - 4) for e in random], RANKS)
    together = fitness_of(given + random, RANKS, given=4)
    assert [together[number + 4] for number in range(40)] == list(alone.values())
    assert list(together) == list(range(44)) and min(together[n] for n in range(4)) > max(alone.values())
    assert fitness_of(given + random, RANKS)[10] != together[10]


@dataclass(frozen=True, kw_only=True)
class Seen(LogRankSum):
    """Notes the FLOPs of its reference each time fitness is asked for."""

    file: str = ""

    def fitness(self, scores: Any) -> Any:
        with Path(self.file).open("a") as file:
            file.write(" ".join(str(int(s.terms["flops"])) for s in scores[: self.reference]) + "\n")
        return super().fitness(scores)


def test_a_search_ranks_among_its_first_random_candidates_whatever_it_was_given(tmp_path: Path) -> None:
    small = "space={use: nasbench201, channels: 2, cells: 1, resolution: 8}"

    def references(start: list[str]) -> list[str]:
        file = tmp_path / f"seen{len(start)}"
        proxy = Seen(proxies=RANKS.proxies, reference=16, file=str(file))
        quick(small, "finalists=2", "stop.evaluations=40", start=start, proxy=proxy, out=tmp_path / f"run{len(start)}")
        return file.read_text().splitlines()

    plain = quick(small, "stop.evaluations=16", proxy=RANKS)
    assert CELLS[0] not in keys(plain)
    assert set(references([])) == set(references(CELLS[:1])) == {" ".join(str(e.cost.flops) for e in rows(plain))}


def test_the_baselines_know_what_was_random_and_what_was_given(tmp_path: Path) -> None:
    result = quick("finalists=3", "stop.evaluations=60", start=CELLS, out=tmp_path / "run")
    assert result.judgement is not None
    roles = {b.role: b.number for b in result.judgement.baselines}
    assert roles[FIRST_RANDOM] == 3
    assert roles[BEST_GIVEN] == max(range(3), key=lambda n: rows(result)[n].score.value)  # type: ignore[union-attr]
    told = list(csv.DictReader((tmp_path / "run/finalists.csv").read_text().splitlines()))
    assert [row["number"] for row in told if row["role"] == BEST_GIVEN] == [str(roles[BEST_GIVEN])]
    plain = quick("finalists=3", "stop.evaluations=60")
    assert plain.judgement is not None and BEST_GIVEN not in {b.role for b in plain.judgement.baselines}


def test_doctor_says_what_a_run_would_begin_with() -> None:
    recipe = load_recipe({"space": "nasbench201", "score": "flops", "start": CELLS, "limits": {"flops": "60M"}})
    diagnosis = examine(recipe)
    assert diagnosis.start == (3, 1)
    assert "1 of 3 networks to begin with are within the limits" in page(diagnosis, evaluations=9)


@pytest.mark.slow
def test_workers_change_nothing(tmp_path: Path) -> None:
    found = []
    for number, executor in enumerate(("inline", "{use: processes, workers: 2}")):
        folder = tmp_path / str(number)
        score = "score={use: naswot, images: 4, resolution: 16}"
        search(NB201 | {"start": CELLS}, [score, f"executor={executor}", "stop.evaluations=50"], out=folder)
        found.append((folder / "results.csv").read_bytes())
    assert found[0] == found[1]
