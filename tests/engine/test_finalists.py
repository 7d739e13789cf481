from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from torch import nn

from tests.support.quick import Quick, leave_out_the_end
from vkdnw_search import search
from vkdnw_search.contracts import Probe
from vkdnw_search.determinism import seed_from
from vkdnw_search.engine.finalists import FRESH, compare
from vkdnw_search.records import Score
from vkdnw_search.runs.judgement import Finalist

RECIPE: dict[str, Any] = {"space": "nasbench201", "executor": "inline", "stop": {"evaluations": 40}}


@pytest.fixture(autouse=True)
def leave_out_the_end_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_the_end(monkeypatch)


@dataclass(frozen=True, kw_only=True)
class Noisy:
    """ℵ / 1000 plus noise of the seed, uniform in [0, 1)."""

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        assert probe.cost is not None
        return Score(probe.cost.tensors / 1000 + seed_from(probe.seed, probe.cost.flops) % 1000 / 1000)


def finalist(number: int, values: list[float]) -> Finalist:
    return Finalist("finalist", number, f"network {number}", tuple(values))


def test_a_clear_lead_is_called_real_and_a_small_one_a_tie_as_the_paired_t_test_says() -> None:
    rng = np.random.default_rng(0)
    a = finalist(1, list(rng.normal(1.0, 0.1, 8)))
    far, near = finalist(2, list(rng.normal(0.5, 0.1, 8))), finalist(3, list(rng.normal(0.99, 0.1, 8)))
    assert compare(a, far).startswith("lower score: -0.") and compare(far, a).startswith("higher score: +0.")
    assert compare(a, near).startswith("the score cannot tell them apart: ")
    p = stats.ttest_rel(a.values, far.values).pvalue
    assert f"p = {p:.2g}" in compare(a, far)
    assert compare(a, a) == "the winner"


def test_without_noise_the_sign_says_which_score_is_higher() -> None:
    low, high = finalist(1, [1.0, 1.0]), finalist(2, [3.5, 3.5])
    assert compare(high, low) == "lower score: -2.5 against the winner, without any noise"
    assert compare(low, high) == "higher score: +2.5 against the winner, without any noise"
    assert compare(low, finalist(3, [1.0, 1.0])) == "the same score, without any noise"


def test_mean_and_standard_error_are_those_of_the_values() -> None:
    f = finalist(1, [1.0, 2.0, 4.0])
    assert f.mean == pytest.approx(7 / 3)
    assert f.standard_error == pytest.approx(np.std([1, 2, 4], ddof=1) / math.sqrt(3))


def test_without_noise_the_finalists_are_the_best_in_their_order() -> None:
    result = search(RECIPE, proxy=Quick())
    assert result.judgement is not None
    best = [e.number for e in result.store.best(10)]
    assert [f.number for f in result.judgement.finalists] == best
    assert all(f.values == (f.values[0],) * FRESH for f in result.judgement.finalists)
    assert result.best is not None and result.best.evaluation.number == best[0]


def test_the_winner_has_the_highest_mean_over_fresh_seeds_not_the_luckiest_score() -> None:
    result = search(RECIPE, ["stop.evaluations=24", "finalists=6", "ties=score"], proxy=Noisy())
    assert result.judgement is not None and result.best is not None
    means = [f.mean for f in result.judgement.finalists]
    assert means == sorted(means, reverse=True)
    assert result.best.key == result.judgement.finalists[0].key
    assert result.best.evaluation.number != result.store.best(1)[0].number  # with this seed, luck would have won


def test_of_those_that_the_score_cannot_tell_apart_the_one_of_most_flops_wins() -> None:
    words = ["stop.evaluations=24", "finalists=6"]
    by_score, by_flops = (
        search(RECIPE, [*words, f"ties={ties}"], proxy=Noisy()).judgement for ties in ("score", "flops")
    )
    assert by_score is not None and by_flops is not None
    leader, *others = by_score.finalists
    flops = {e.number: e.cost.flops for e in search(RECIPE, words, proxy=Noisy()).evaluations()}
    tied = [leader, *(f for f in others if stats.ttest_rel(f.values, leader.values).pvalue >= 0.05)]
    assert len({flops[f.number] for f in tied}) > 1, "else there is nothing to see"
    winner = max(tied, key=lambda f: (flops[f.number], f.mean))
    assert by_flops.winner == winner.number == by_flops.finalists[0].number
    rest = [f.number for f in by_score.finalists if f.number != winner.number]
    assert [f.number for f in by_flops.finalists[1:]] == rest, "the others stay in the order of their means"
    if winner is not leader:
        assert any("wins by its FLOPs" in warning for warning in by_flops.warnings)


def test_baselines_are_the_extremes_of_what_was_visited_within_the_limits() -> None:
    result = search(RECIPE, ["limits.flops=60M"], proxy=Quick())
    assert result.judgement is not None
    feasible = [e for e in result.evaluations() if e.status != "infeasible"]
    by_role = {b.role: b.number for b in result.judgement.baselines}
    assert by_role["most FLOPs"] == max(feasible, key=lambda e: (e.cost.flops, -e.number)).number
    assert by_role["most parameters"] == max(feasible, key=lambda e: (e.cost.parameters, -e.number)).number
    assert by_role["deepest"] == max(feasible, key=lambda e: (e.cost.layers, -e.number)).number
    assert by_role["first random"] == feasible[0].number


def test_correlations_are_spearmans_and_a_score_that_only_counts_is_warned_of() -> None:
    result = search(RECIPE, proxy=Quick())
    assert result.judgement is not None
    scored = [e for e in result.evaluations() if e.score is not None]
    rho = stats.spearmanr([e.score.value for e in scored if e.score], [e.cost.flops for e in scored]).statistic
    assert result.judgement.correlations["flops"] == pytest.approx(rho)
    assert any("almost as their" in text and "tensors alone (ρ = " in text for text in result.judgement.warnings)


def test_the_judgement_is_in_the_folder_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        search(RECIPE, ["finalists=3"], proxy=Quick(), out=tmp_path / name)
    a, b = ((tmp_path / name / "finalists.csv").read_bytes() for name in ("a", "b"))
    assert a == b and a.count(b"\n") == 1 + 3 + 5


def test_no_finalists_means_the_highest_score_wins() -> None:
    result = search(RECIPE, ["finalists=0"], proxy=Quick())
    assert result.best is not None and result.best.evaluation == result.store.best(1)[0]


def test_a_score_relative_to_the_population_can_be_judged_too() -> None:
    from vkdnw_search.proxies.aggregate import LogRankSum
    from vkdnw_search.proxies.size import Flops, Parameters

    result = search(
        RECIPE,
        ["stop.evaluations=20", "finalists=2"],
        proxy=LogRankSum(proxies={"flops": Flops(), "parameters": Parameters()}),
    )
    assert result.best is not None and result.judgement is not None
    assert result.best.cost.flops == max(e.cost.flops for e in result.evaluations())
    assert json.loads(result.judgement.to_json())["finalists"][0]["number"] == result.best.evaluation.number


def test_a_folder_that_is_read_again_ranks_the_finalists_as_they_were_judged(tmp_path: Path) -> None:
    from vkdnw_search.runs.reader import RunReader

    result = search(RECIPE, ["finalists=3", "score=flops"], out=tmp_path / "run")
    visited = RunReader(tmp_path / "run")
    assert result.judgement is not None and visited.judgement == result.judgement
    numbers = [f.number for f in result.judgement.finalists]
    assert [e.number for e in visited.ranked[:3]] == numbers
