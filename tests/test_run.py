from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from tests.support.quick import Failing, Quick, QuickWithBound, Recording, leave_out_the_end
from vkdnw_search import Result, search
from vkdnw_search.choices import Choice, space_of
from vkdnw_search.engine.best_scores import BestScores
from vkdnw_search.errors import ExecutionError, RunFolderError, SpaceError
from vkdnw_search.optimizers.ask_tell import AskTellOptimizer
from vkdnw_search.records import Cost, Evaluation, Genome
from vkdnw_search.runs.reader import RunReader

PARAMETRIZED: dict[str, Any] = {
    "score": {"use": "vkdnw_single", "parameters": 4, "images": 8},
    "stop": {"evaluations": 2},
    "executor": "inline",
    "finalists": 0,
}
NB201: dict[str, Any] = {"space": "nasbench201", "executor": "inline", "finalists": 0, "stop": {"evaluations": 60}}


class Copied(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.clone()


class Parametrized(nn.Sequential):
    def __init__(self, num_classes: int) -> None:
        width = Choice("width", 4, 8)
        first = nn.Linear(48, width)
        nn.utils.parametrize.register_parametrization(first, "weight", Copied())
        super().__init__(nn.Flatten(), first, nn.ReLU(), nn.Linear(width, num_classes))


@pytest.fixture(autouse=True)
def leave_out_the_end_of_runs(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "slow" not in request.keywords:
        leave_out_the_end(monkeypatch)


def quick(overrides: list[str] | None = None, *, proxy: Any = None, **options: Any) -> Result:
    return search(NB201, overrides or [], proxy=proxy or Quick(), **options)


def rows(result: Result) -> list[Evaluation]:
    return list(result.evaluations())


@pytest.mark.parametrize("optimizer", ["evolution", "aging", "random", "nsga2"])
def test_the_same_seed_gives_the_same_candidates_and_another_seed_another(optimizer: str) -> None:
    tables = [rows(quick([f"optimizer={optimizer}", f"seed={seed}"])) for seed in (0, 0, 1)]
    assert tables[0] == tables[1] != tables[2]


@pytest.mark.parametrize("optimizer", ["evolution", "aging", "random", "nsga2"])
def test_no_architecture_is_visited_twice(optimizer: str) -> None:
    keys = [e.key for e in rows(quick([f"optimizer={optimizer}", "stop.evaluations=150"]))]
    assert len(keys) == 150 == len(set(keys))


def test_numbers_count_up_and_generations_are_in_order() -> None:
    visited = rows(quick())
    assert [e.number for e in visited] == list(range(60))
    assert [e.generation for e in visited] == sorted(e.generation for e in visited)


def test_the_best_is_the_highest_score_within_the_limits() -> None:
    result = quick(["limits.flops=60M"])
    feasible = [e for e in rows(result) if e.cost.flops <= 60_000_000]
    assert result.best is not None and result.best.score.value == max(e.score.value for e in feasible if e.score)
    assert all(e.status == "infeasible" and e.score is None for e in rows(result) if e.cost.flops > 60_000_000)


def test_infeasible_candidates_are_recorded_with_violation_and_reason_and_never_scored(tmp_path: Path) -> None:
    scored = tmp_path / "scored"
    overrides = ["limits.flops=60M", "optimizer={use: random, repair_tries: 0}"]
    result = quick(overrides, proxy=Recording(file=str(scored)))
    outside = [e for e in rows(result) if e.status == "infeasible"]
    assert outside
    for e in outside:
        assert e.violation == pytest.approx(e.cost.flops / 60e6 - 1)
        assert "is above the limit 60M" in e.reason
    assert len(scored.read_text().splitlines()) == 60 - len(outside)


def test_all_candidates_of_a_search_are_scored_on_the_same_numbers_and_another_seed_has_others(tmp_path: Path) -> None:
    seen = []
    for seed in (0, 1):
        file = tmp_path / str(seed)
        quick([f"seed={seed}"], proxy=Recording(file=str(file)))
        seen.append(set(file.read_text().split()))
    assert [len(seeds) for seeds in seen] == [1, 1] and seen[0] != seen[1]


def test_nothing_feasible_is_a_normal_end_that_names_the_nearest() -> None:
    result = quick(["limits.flops=1k"])
    assert result.best is None and result.visited == 60 == result.counts["infeasible"]
    nearest = result.least_infeasible()
    assert nearest is not None
    assert nearest.evaluation.violation == min(e.violation for e in rows(result))


def test_the_whole_space_can_be_visited_and_its_end_is_said_in_words() -> None:
    tiny = {
        **NB201,
        "limits": {"flops": {"min": 1, "max": "1G"}},
        "optimizer": "random",
        "stop": {"evaluations": 20_000},
    }
    result = search(tiny, proxy=Quick())
    assert result.visited == 9445
    assert result.ended == "the space is exhausted: all of its 9445 architectures were visited"


def test_a_search_ends_after_generations_or_seconds_if_so_asked() -> None:
    assert quick(["stop.generations=2", "stop.evaluations=1000"]).ended == "the 2 generations asked for are done"
    assert quick(["stop.seconds=0.0001"]).ended == "the 0.0001 seconds asked for are over"


def test_the_last_generation_is_clipped_to_the_evaluations_asked_for() -> None:
    assert quick(["stop.evaluations=50"]).visited == 50


def test_the_first_of_a_generation_are_scored_before_the_last_are_bred(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    stream = AskTellOptimizer.stream

    def noted(self: AskTellOptimizer) -> Iterator[Genome]:
        for genome in stream(self):
            events.append("asked")
            yield genome

    monkeypatch.setattr(AskTellOptimizer, "stream", noted)
    quick(listener=lambda evaluation: events.append(evaluation.status))
    assert events == ["asked", "scored"] * 60 + ["asked"]  # whether it was the last of its generation


def test_an_interrupted_search_keeps_what_it_has_and_goes_on_to_the_same_result(tmp_path: Path) -> None:
    whole = quick(out=tmp_path / "whole")
    seen: list[Evaluation] = []
    part = quick(out=tmp_path / "part", listener=seen.append, stopped=lambda: len(seen) >= 45)
    assert part.ended == "interrupted" and part.visited == 45
    rest = quick(out=tmp_path / "part")
    assert rest.ended == whole.ended
    for name in ("results.csv", "best/model.py", "best/architecture.json"):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_raising_the_limit_continues_as_if_it_had_been_that_high_before(tmp_path: Path) -> None:
    quick(["stop.evaluations=40"], out=tmp_path / "raised")
    quick(["stop.evaluations=90"], out=tmp_path / "raised")
    quick(["stop.evaluations=90"], out=tmp_path / "once")
    assert (tmp_path / "raised/results.csv").read_bytes() == (tmp_path / "once/results.csv").read_bytes()


def test_candidates_that_are_stored_are_not_scored_again(tmp_path: Path) -> None:
    scored = tmp_path / "scored"
    for evaluations in (20, 40):
        quick([f"stop.evaluations={evaluations}"], out=tmp_path / "run", proxy=Recording(file=str(scored)))
    assert len(scored.read_text().splitlines()) == 40


def test_a_folder_with_another_recipe_is_refused_with_the_difference_and_left_alone(tmp_path: Path) -> None:
    quick(out=tmp_path / "run")
    before = (tmp_path / "run/results.csv").read_bytes()
    with pytest.raises(RunFolderError, match=r"limits\.flops\.max: null → 60000000"):
        quick(["limits.flops=60M"], out=tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"stop\.evaluations: 60 → 50"):
        quick(["stop.evaluations=50"], out=tmp_path / "run")
    assert (tmp_path / "run/results.csv").read_bytes() == before


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match="must be empty, or hold a run"):
        quick(out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_in_use_is_refused_naming_the_process(tmp_path: Path) -> None:
    def intrude(_: Evaluation) -> None:
        with pytest.raises(RunFolderError, match=r"is in use by process \d+ on "):
            quick(out=tmp_path / "run")

    quick(["stop.evaluations=2"], out=tmp_path / "run", listener=intrude)


@pytest.mark.parametrize(
    ("how", "reason"),
    [("nan", "the score is nan"), ("inf", "the score is inf"), ("degenerate", "nothing reaches the output")],
)
def test_a_score_that_is_no_number_is_a_recorded_failure(how: str, reason: str) -> None:
    result = quick(proxy=Failing(how=how))
    failed = [e for e in rows(result) if e.status == "failed"]
    assert failed and all(e.reason == reason and e.score is None for e in failed)
    assert result.best is not None


def test_an_exception_in_a_proxy_stops_the_run_and_names_the_architecture(tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match=r"scoring \|.*RuntimeError: a bug in a proxy"):
        quick(out=tmp_path / "run", proxy=Failing(how="raises"))


@pytest.mark.parametrize(
    "optimizer",
    ["evolution", "random", "{use: evolution, population: 4, children: 8}"],
    ids=["evolution", "random", "more finalists than survivors"],
)
def test_skipping_candidates_by_their_bound_changes_nothing_but_the_time(
    optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [f"optimizer={optimizer}", "stop.evaluations=400", "finalists=10"]
    bounded = quick(overrides, proxy=QuickWithBound())
    monkeypatch.setattr(BestScores, "least", lambda self, cost: -math.inf)  # so that all are scored
    plain = quick(overrides, proxy=QuickWithBound())
    assert "bounded" not in plain.counts
    assert bounded.counts.get("bounded", 0) > 0
    assert [e.key for e in rows(plain)] == [e.key for e in rows(bounded)]
    assert plain.best is not None and bounded.best is not None
    assert plain.best.evaluation == bounded.best.evaluation
    best = [[e.key for e in result.store.best(10)] for result in (plain, bounded)]
    assert best[0] == best[1]
    for skipped in (e for e in rows(bounded) if e.status == "bounded"):
        true = rows(plain)[skipped.number]
        assert true.score is not None and skipped.score is not None and true.score.value <= skipped.score.value


@dataclass(frozen=True, kw_only=True)
class Boasting(QuickWithBound):
    """Its bound is too low for every network."""

    def upper_bound(self, cost: Cost) -> float:
        return cost.tensors - 1.0


def test_a_score_above_its_own_bound_is_an_error_that_names_the_network() -> None:
    with pytest.raises(ExecutionError, match=r"with Boasting: must give at most its upper_bound \d+\.0+, but"):
        quick(proxy=Boasting())


def test_evolution_asks_few_that_cannot_survive_and_random_search_many() -> None:
    def bounded(optimizer: str, seed: int) -> int:
        overrides = [f"optimizer={optimizer}", f"seed={seed}", "stop.evaluations=400"]
        return quick(overrides, proxy=QuickWithBound()).counts["bounded"]

    evolution, random = (sum(bounded(name, seed) for seed in range(5)) for name in ("evolution", "random"))
    assert evolution < random / 4


def test_the_table_has_every_candidate_with_its_terms(tmp_path: Path) -> None:
    result = quick(out=tmp_path / "run")
    table = list(csv.DictReader(io.StringIO((tmp_path / "run/results.csv").read_text())))
    assert len(table) == 60
    best = max(table, key=lambda row: float(row["score"]))
    assert result.best is not None and best["architecture"] == result.best.key
    assert float(best["score"]) == float(best["score.layers"]) + float(best["score.chance"])


@pytest.mark.slow
def test_one_two_and_no_worker_processes_find_the_same_to_the_byte(tmp_path: Path) -> None:
    score = "score={use: vkdnw_single, images: 16, directions: 8, resolution: 16}"
    optimizer = "optimizer={use: evolution, population: 16, children: 8}"
    files = []
    for name, executor in enumerate(("inline", "{use: processes, workers: 1}", "{use: processes, workers: 2}")):
        folder = tmp_path / str(name)
        search(NB201, [score, optimizer, f"executor={executor}", "stop.evaluations=48"], out=folder)
        files.append([(folder / file).read_bytes() for file in ("results.csv", "best/model.py")])
    assert files[0] == files[1] == files[2]


def test_a_verdict_does_not_outlive_the_candidates_it_is_about(tmp_path: Path) -> None:
    first = quick(["finalists=2", "optimizer=random", "stop.evaluations=20"], out=tmp_path / "run")
    assert first.judgement is not None and (tmp_path / "run/finalists.csv").exists()
    seen: list[Evaluation] = []
    longer = ["finalists=2", "optimizer=random", "stop.evaluations=500"]
    second = quick(longer, out=tmp_path / "run", listener=seen.append, stopped=lambda: len(seen) >= 120)
    assert second.judgement is None and not (tmp_path / "run/finalists.csv").exists()
    with RunReader(tmp_path / "run", space=second.space, proxy=Quick()) as visited:
        assert visited.ranked[0] == second.best.evaluation != first.best.evaluation  # type: ignore[union-attr]


def test_a_space_that_cannot_write_its_networks_down_is_refused_before_the_search(tmp_path: Path) -> None:
    class Local(nn.Sequential):
        def __init__(self, num_classes: int) -> None:
            super().__init__(nn.Flatten(), nn.Linear(48, Choice("width", 4, 8)), nn.Linear(8, num_classes))

    space = space_of(Local, input_shape=(3, 4, 4), num_classes=3)
    recipe = {"score": "vkdnw_single", "stop": {"evaluations": 4}, "executor": "inline"}
    with pytest.raises(SpaceError, match="must be a class or function at the top level of a module"):
        search(recipe, space=space, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_computed_from_others_are_the_same_in_every_search() -> None:
    space = space_of(Parametrized, input_shape=(3, 4, 4), num_classes=3, free_operators=["aten::clone"])
    first, second = (rows(search(PARAMETRIZED, space=space)) for _ in range(2))
    assert first == second and all(e.score is not None for e in first)
