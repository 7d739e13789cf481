from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from vkdnw_search.commands.main import main
from vkdnw_search.contracts import Probe
from vkdnw_search.engine.doctor import WEIGHED, _drawn, examine, intraclass_correlation, page
from vkdnw_search.recipe.recipe import Recipe, load_recipe
from vkdnw_search.records import Cost, Gene, Score

TINY = [
    "space={use: nasbench201, channels: 4, cells: 1}",
    "score={use: vkdnw_single, images: 16, directions: 8, resolution: 8}",
    "executor={use: processes, workers: 4}",
]


def test_the_intraclass_correlation_recovers_the_share_of_variance_it_estimates() -> None:
    rng = np.random.default_rng(0)
    architecture, noise = rng.normal(0, 3, (20_000, 1)), rng.normal(0, 1, (20_000, 2))
    assert intraclass_correlation(architecture + noise) == pytest.approx(9 / 10, abs=0.01)
    assert intraclass_correlation(noise) == pytest.approx(0, abs=0.03)


def test_a_score_without_noise_is_wholly_reliable_and_equal_scores_say_nothing() -> None:
    assert intraclass_correlation(np.array([[1.0, 1.0], [2.0, 2.0], [5.0, 5.0]])) == 1
    assert np.isnan(intraclass_correlation(np.ones((4, 2))))


def test_shares_add_up_and_the_binding_limit_is_named() -> None:
    found = examine(load_recipe("nb201", [*TINY, "limits.layers=14"]))
    assert found.genomes == 5**6
    assert 0 < found.feasible < 1 and found.binding == {"layers": pytest.approx(1 - found.feasible)}
    afterwards = found.run * found.workers / found.seconds - 1000
    rescored = 15 * 8 + 33  # finalists and baselines; the second opinion
    assert found.workers == 4 and rescored < afterwards < rescored + 6 * 4 + 0.01  # neighbours
    assert found.reliability["trainable_layers"] == 1 and found.reliability["score"] <= 1
    told = page(found, evaluations=1000)
    assert "violate limits.layers" in told and len(told.splitlines()) < 40


def test_networks_above_the_last_band_are_outside_the_limits() -> None:
    found = examine(load_recipe("nb201", [*TINY, "bands=[700k, 1200k]"]))
    assert 0 < found.feasible < 1 and found.binding == {"flops": pytest.approx(1 - found.feasible)}


class Frugal:
    """The fewer FLOPs, the higher."""

    def score_cost(self, cost: Cost) -> Score:
        return Score(-float(cost.flops))

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        raise AssertionError("the cost is enough")


def test_a_score_that_would_leave_the_budget_is_told_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*TINY, "limits.flops={max: 900k}"]
    assert examine(load_recipe("nb201", [*words, "score=flops"])).budget is not None
    assert "budget" not in page(examine(load_recipe("nb201", [*words, "score=flops"])), evaluations=1000)
    monkeypatch.setattr(Recipe, "build_proxy", lambda recipe: Frugal())
    found = examine(load_recipe("nb201", words))
    assert found.budget is not None and found.budget.networks == WEIGHED and found.budget.largest > 0.7
    assert found.budget.correlation == pytest.approx(-1)
    (line,) = (line for line in page(found, evaluations=1000).splitlines() if line.startswith("budget"))
    assert f"among {WEIGHED} random networks within the limits the highest scores go with " in line
    assert line.endswith("set limits.flops.min=90%")
    for limits in ("limits={layers: 14}", "limits.flops={min: 75%, max: 1M}"):
        assert examine(load_recipe("nb201", [*TINY, limits])).budget is None


def test_fitness_by_rank_is_taken_over_all_that_are_weighed() -> None:
    """`az_nas` ranks by FLOPs among others; each network alone would have the fitness 0."""
    words = ["limits.flops={max: 900k}", "score={use: az_nas, images: 2, resolution: 8}"]
    found = examine(load_recipe("nb201", [*TINY[:1], *words]))
    assert found.budget is not None and not np.isnan(found.budget.correlation)


def test_a_choice_that_mutation_never_draws_is_told() -> None:
    genes = (Gene("a", ("x", "y", "z")),)
    space = SimpleNamespace(genes=genes, mutate=lambda genome, rng: (int(rng.integers(2)),))
    unreached, rarest = _drawn(space, np.random.default_rng(0))
    assert unreached == ("a = z",) and rarest == ("a = z", 0.0)


def test_where_nothing_is_feasible_the_exit_code_is_3_and_the_page_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "nb201", *TINY, "limits.flops=10"]) == 3
    assert "NOTHING FEASIBLE" in capsys.readouterr().out


def test_a_recipe_that_is_none_is_refused_as_ever(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(tmp_path / "none.yaml")]) == 2
    assert "there is no such file" in capsys.readouterr().err
