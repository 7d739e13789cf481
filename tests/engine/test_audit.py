"""A fast way is compared with the literal one on the first network, and trusted in the others only if it is right."""

from __future__ import annotations

import math
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.fast_ways import Shortcut, Straight, Swapped, Widths
from tests.support.quick import leave_out_the_end
from vkdnw_search import Result, score, search
from vkdnw_search.contracts import HasFastWay, Probe
from vkdnw_search.engine.audit import NOTE, audit_candidate
from vkdnw_search.errors import CandidateLost, ExecutionError, RunFolderError, ScoreError
from vkdnw_search.execution.executors import Inline
from vkdnw_search.proxies.aggregate import LogRankSum, make_vkdnw_agg
from vkdnw_search.proxies.size import Flops
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.ranking.study import rank
from vkdnw_search.ranking.tables import AccuracyTable
from vkdnw_search.runs.store import Store

RECIPE: dict[str, Any] = {
    "space": {"use": "nasbench201", "channels": 1, "cells": 1},
    "executor": "inline",
    "finalists": 2,
    "stop": {"evaluations": 6},
}
SMALL = VkdnwSingle(images=16, directions=2, draws=2, parameters=6)
WIDTHS: dict[str, Any] = {"finalists": 2, "optimizer": "random", "stop": {"evaluations": 12}}


@pytest.fixture(autouse=True)
def without_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_the_end(monkeypatch)


def shortcut(folder: Path, **options: Any) -> Shortcut:
    return Shortcut(file=str(folder / "checks.txt"), **options)


def values(result: Result) -> list[float]:
    return [e.score.value if e.score else math.nan for e in result.evaluations()]


def warnings(result: Result) -> tuple[str, ...]:
    assert result.judgement is not None
    return tuple(w for w in result.judgement.warnings if "fast way" in w)


# ---------------------------------------------------------------------------------------------- what a search does


def test_a_search_scores_networks_that_the_fast_derivatives_get_wrong_as_the_literal_ones_say() -> None:
    space: Any = Widths(Swapped)
    found, checked = (search(WIDTHS, space=space, proxy=replace(SMALL, check=check)) for check in (False, True))
    assert values(found) == values(checked) and len(values(found)) == 12
    assert found.judgement is not None and checked.judgement is not None
    assert found.judgement.finalists == checked.judgement.finalists
    (warning,) = warnings(found)
    first = next(found.evaluations()).key
    assert warning.startswith(
        f"the fast way of VkdnwSingle is wrong for {first}: the fast derivatives of hidden.weight, hidden.bias differ"
    )
    assert warnings(checked) == ()


def test_a_sum_of_ranks_audits_the_proxies_it_is_made_of() -> None:
    space: Any = Widths(Swapped)
    both = LogRankSum(proxies={"vkdnw": SMALL, "flops": Flops()})
    found = search(WIDTHS, space=space, proxy=both)
    terms = [e.score.terms["vkdnw"] for e in found.evaluations() if e.score]
    literal = search(WIDTHS, space=space, proxy=replace(SMALL, check=True))
    by_key = {e.key: e.score.value for e in literal.evaluations() if e.score}
    assert terms == [by_key[e.key] for e in found.evaluations()] and len(terms) == 12
    assert "wrong for" in warnings(found)[0] and "vkdnw: the fast derivatives of hidden.weight" in warnings(found)[0]


def test_the_first_candidate_is_looked_at_once_and_a_right_way_changes_nothing(tmp_path: Path) -> None:
    proxy = shortcut(tmp_path)
    found = search(RECIPE, proxy=proxy)
    first = next(e for e in found.evaluations() if e.status.has_score)
    assert [line.split()[1] for line in proxy.checks()] == [str(first.cost.parameters)]
    assert all(e.score is not None and e.score.value == e.cost.parameters for e in found.evaluations())
    assert warnings(found) == ()


def test_where_it_is_wrong_all_are_scored_carefully_the_finalists_too(tmp_path: Path) -> None:
    found = search(RECIPE, proxy=shortcut(tmp_path, wrong=True))
    assert all(e.score is not None and e.score.value == e.cost.parameters for e in found.evaluations())
    assert found.judgement is not None and found.best is not None
    assert found.judgement.finalists[0].values == (float(found.best.cost.parameters),) * 8
    assert found.judgement.warnings[0].endswith("which takes longer") and "a thousand too much" in warnings(found)[0]


@pytest.mark.parametrize("wrong", [False, True])
def test_a_run_that_goes_on_does_not_look_again_and_remembers(tmp_path: Path, wrong: bool) -> None:
    proxy, out = shortcut(tmp_path, wrong=wrong), tmp_path / "run"
    search(RECIPE, ["stop.evaluations=3"], proxy=proxy, out=out)
    assert len(proxy.checks()) == 1
    found = search(RECIPE, proxy=proxy, out=out)
    assert len(proxy.checks()) == 1 and len(values(found)) == 6
    assert all(e.score is not None and e.score.value == e.cost.parameters for e in found.evaluations())
    assert len(warnings(found)) == wrong
    again = search(RECIPE, proxy=proxy, out=out)
    assert len(proxy.checks()) == 1 and warnings(again) == warnings(found)


def test_a_degenerate_network_cannot_tell_and_the_next_is_asked(tmp_path: Path) -> None:
    proxy = shortcut(tmp_path, wrong=True, degenerate=2)
    found = search(RECIPE, proxy=proxy)
    candidates = [str(e.cost.parameters) for e in found.evaluations()]
    assert [line.split()[1] for line in proxy.checks()] == candidates[:3]
    third = list(found.evaluations())[2]
    assert values(found)[2:] == [e.cost.parameters for e in found.evaluations()][2:]
    assert third.key in warnings(found)[0]


def test_a_proxy_that_has_no_other_way_ends_the_run_in_words_and_ends_it_again(tmp_path: Path) -> None:
    proxy = shortcut(tmp_path, wrong=True, alone=True)
    for _ in range(2):
        with pytest.raises(ScoreError, match="has no way but the fast one"):
            search(RECIPE, proxy=proxy, out=tmp_path / "run")
    assert len(proxy.checks()) == 1


def test_an_exception_in_the_comparison_names_the_architecture(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Raising(Shortcut):
        def check_fast_way(self, model: nn.Module, probe: Probe) -> str:
            raise ZeroDivisionError("a bug in a check")

    with pytest.raises(ExecutionError, match=r"checking \|.* with Raising: ZeroDivisionError: a bug in a check"):
        search(RECIPE, proxy=Raising(file=""))


class Impatient(Inline):
    """Gives up what compares, as limits of time and memory make it."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if audit_candidate in (fn, *args):  # by itself, or called after the code was compared
            lost: Future[Any] = Future()
            lost.set_exception(CandidateLost("took more than the 60 seconds allowed"))
            return lost
        return super().submit(fn, *args, **kwargs)


def impatient() -> Executor:
    return Impatient()


def test_a_comparison_that_exceeds_a_limit_is_told_and_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vkdnw_search.execution.executors.inline", impatient)
    found = search(RECIPE, proxy=shortcut(tmp_path))
    assert len(values(found)) == 6
    (warning,) = warnings(found)
    assert "could not be checked on |" in warning and warning.endswith("way took more than the 60 seconds allowed")


@pytest.mark.slow
def test_limits_of_time_hold_for_the_comparison(tmp_path: Path) -> None:
    executor = {"use": "processes", "workers": 1, "seconds": 2.0}
    found = search({**RECIPE, "executor": executor}, proxy=shortcut(tmp_path, wrong=True, seconds=3600.0))
    assert len(values(found)) == 6 and "took more than the 2 seconds allowed" in warnings(found)[0]


@pytest.mark.parametrize("note", ["{}", '{"verdict": "perhaps", "reason": ""}', "[]"])
def test_an_outcome_that_is_damaged_is_refused_in_words(tmp_path: Path, note: str) -> None:
    proxy, out = shortcut(tmp_path), tmp_path / "run"
    search(RECIPE, ["stop.evaluations=3"], proxy=proxy, out=out)
    with Store(out / "run.sqlite") as store:
        store.set_note(NOTE, note)
    with pytest.raises(RunFolderError, match=r"run.sqlite: the outcome of the audit must be as it was written"):
        search(RECIPE, proxy=proxy, out=out)


# ---------------------------------------------------------------------------------------------- what proxies say


def probe() -> Probe:
    return Probe((3, 4, 4), 4, 1)


def test_vkdnw_names_the_tensors_whose_derivatives_are_wrong_for_any_image() -> None:
    assert SMALL.check_fast_way(Straight(6), probe()) == ""
    told = SMALL.check_fast_way(Swapped(6), probe())
    assert told == "the fast derivatives of hidden.weight, hidden.bias differ from literal ones"
    assert SMALL.careful() == replace(SMALL, check=True)
    assert SMALL.careful().check_fast_way(Swapped(6), probe()) == "", "every network is checked"


def test_the_comparison_is_in_float64_so_that_rounding_is_not_taken_for_a_mistake() -> None:
    class Magnifying(Straight):
        """What float32 rounds differently in a batch and alone becomes as large as everything else."""

        def forward(self, x: Tensor) -> Tensor:
            x = torch.tanh(self.embed(x.flatten(1)))
            for _ in range(40):
                x = torch.tanh(3.0 * self.hidden(x))
            return self.head(x)

    torch.manual_seed(0)
    proxy = VkdnwSingle(images=16, directions=2, draws=8, parameters=6)
    assert proxy.check_fast_way(Magnifying(64), probe()) == ""


def test_a_network_that_cannot_compute_in_float64_is_compared_in_its_own_precision() -> None:
    class Single(Swapped):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x @ torch.eye(4))

    class SingleStraight(Straight):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x @ torch.eye(4))

    assert "hidden.weight" in SMALL.check_fast_way(Single(6), probe())
    assert SMALL.check_fast_way(SingleStraight(6), probe()) == ""


def test_score_relies_on_no_fast_way_in_a_sum_of_ranks_either() -> None:
    sums = LogRankSum(proxies={"vkdnw": SMALL})
    assert isinstance(make_vkdnw_agg(), HasFastWay)
    torch.manual_seed(0)
    model = Swapped(6)
    literal = score(model, (3, 4, 4), proxy=SMALL).value
    assert score(model, (3, 4, 4), proxy=sums).terms["vkdnw"] == literal
    assert SMALL(Swapped(6), Probe((3, 4, 4), 4, 0)).value != literal, "the fast way is wrong indeed"


# ---------------------------------------------------------------------------------------------- what rank does


def table() -> AccuracyTable:
    keys = tuple(f"w{width}" for width in range(4, 12))
    return AccuracyTable(keys, {"good": np.arange(8.0)})


def test_rank_scores_them_as_the_literal_derivatives_say_and_warns_whenever_it_is_asked(tmp_path: Path) -> None:
    space: Any = Widths(Swapped)
    found, checked = (
        rank(space, table(), {"v": replace(SMALL, check=check)}, out=tmp_path / str(check), seeds=2, figures=False)
        for check in (False, True)
    )
    assert found is not None and checked is not None
    assert np.array_equal(found.values["v"], checked.values["v"])
    assert "**Warning**: the fast way of VkdnwSingle is wrong for w4" in found.markdown
    assert "warning" not in checked.markdown
    again = rank(space, table(), {"v": SMALL}, out=tmp_path / "False", seeds=2, figures=False)
    assert again is not None and again.markdown == found.markdown
    assert (tmp_path / "False/table.md").read_text() == found.markdown


def test_rank_looks_once_at_the_first_network_that_can_tell(tmp_path: Path) -> None:
    proxy = shortcut(tmp_path, wrong=True, degenerate=1)
    space: Any = Widths(Straight)
    study = rank(space, table(), {"mine": proxy}, out=tmp_path / "study", figures=False)
    assert study is not None and len(proxy.checks()) == 2
    sizes = [float(sum(p.numel() for p in Straight(width).parameters())) for width in range(4, 12)]
    assert study.values["mine"][0, 1:].tolist() == sizes[1:]
    rank(space, table(), {"mine": proxy}, out=tmp_path / "study", figures=False, seeds=2)
    assert len(proxy.checks()) == 2, "kept with the study"
