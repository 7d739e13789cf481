"""Runs side by side: what is compared, and with what outcome."""

from __future__ import annotations

import math
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.support.quick import leave_out_the_end
from vkdnw_search import Comparison, compare, search
from vkdnw_search.comparing.contenders import contenders_of
from vkdnw_search.comparing.rescored import FRESH, scorings
from vkdnw_search.contracts import HasRelativeFitness
from vkdnw_search.determinism import seed_from
from vkdnw_search.engine.tasks import Task, score_candidate
from vkdnw_search.errors import RunFolderError, ScoreError
from vkdnw_search.optimizers.algorithms import RandomSearch
from vkdnw_search.recipe.recipe import load_recipe
from vkdnw_search.records import Score
from vkdnw_search.runs.reader import RunReader

VKDNW = {"use": "vkdnw_single", "images": 4, "parameters": 8, "draws": 1}
RECIPE: dict[str, Any] = {
    "space": {"use": "nasbench201", "cells": 1, "channels": 4, "resolution": 16},
    "score": VKDNW,
    "optimizer": {"use": "random", "children": 4},
    "stop": {"evaluations": 4},
    "executor": "inline",
    "finalists": 0,
}
RUNS: dict[str, dict[str, Any]] = {
    "first": {},
    "other": {"seed": 1, "description": "<b>another</b>"},
    "naswot": {"seed": 2, "score": {"use": "naswot", "images": 4}},
    "ranks": {"seed": 3, "score": {"use": "az_nas", "images": 4}},
    "ranks too": {"seed": 4, "score": {"use": "az_nas", "images": 4}},
    "wider": {"space": {**RECIPE["space"], "channels": 6}},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the folders of RUNS are in."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        leave_out_the_end(patch)
        for name, changes in RUNS.items():
            search({**RECIPE, **changes}, out=folder / name).close()
        shutil.copytree(folder / "first", folder / "copy")
    return folder


@pytest.fixture(scope="module")
def pair(runs: Path) -> Comparison:
    return compare(runs / "first", runs / "other", workers=1)


@pytest.fixture(scope="module")
def crossed(runs: Path) -> Comparison:
    return compare(runs / "first", runs / "naswot", workers=1)


def scores(folder: Path, proxy_of: Path) -> list[Score]:
    """The scores of a run's winner by the proxy of another run, one network and one initialization after the other."""
    with RunReader(folder) as visited, RunReader(proxy_of) as other:
        best = max(visited.evaluations, key=lambda e: visited.fitness.get(e.number, -math.inf))
        assert other.proxy is not None
        found = [
            score_candidate(
                Task(visited.space, other.proxy, best.genome, best.key, best.cost, seed_from("compare", i))
            ).score
            for i in range(8)
        ]
    return [score for score in found if score is not None]


def test_winners_are_scored_on_the_same_fresh_initializations_and_compared_by_a_paired_test(
    runs: Path, pair: Comparison
) -> None:
    assert FRESH == 8
    (by,) = pair.rescored
    mine, theirs = ([s.value for s in scores(runs / name, runs / "first")] for name in ("first", "other"))
    assert [list(row.values) for row in by.rows] == [mine, theirs]
    ahead, behind = sorted((mine, theirs), key=np.mean, reverse=True)
    lead, p = np.subtract(behind, ahead), stats.ttest_rel(behind, ahead).pvalue
    row = min(by.rows, key=lambda row: row.mean)
    assert row.mean == pytest.approx(np.mean(behind)) and row.standard_error == pytest.approx(stats.sem(behind))
    assert f"{lead.mean():+.4f} ± {stats.sem(lead):.4f} against the best (paired t-test, p = {p:.2g})" in row.verdict
    assert row.verdict.startswith("lower score" if p < 0.05 else "the score cannot tell them apart")
    assert max(by.rows, key=lambda row: row.mean).verdict == "the best"
    assert row.verdict in pair.in_words()


def test_the_initializations_are_those_of_no_run(runs: Path) -> None:
    """Each winner was chosen for its luck on those of its run."""
    fresh = {seed_from("compare", i) for i in range(FRESH)}
    for recipe in (load_recipe({**RECIPE, **changes}) for changes in RUNS.values()):
        own = {seed_from(recipe.seed, "score"), *(seed_from(recipe.seed, "fresh", i) for i in range(FRESH))}
        assert not own & fresh


def test_a_copy_of_a_run_differs_by_nothing(runs: Path) -> None:
    found = compare(runs / "first", runs / "copy", workers=1)
    first, copy = found.rescored[0].rows
    assert first.values == copy.values and copy.verdict == "the same score, without any noise"
    words = found.in_words()
    assert "A and B found the same network." in words and "no difference" in words
    assert found.runs[1].changes == ()


def test_the_order_of_runs_changes_names_alone(runs: Path, pair: Comparison) -> None:
    turned = compare(runs / "other", runs / "first", workers=1)
    assert [r.values for r in turned.rescored[0].rows] == [r.values for r in reversed(pair.rescored[0].rows)]


@pytest.mark.slow
def test_worker_processes_find_the_same(runs: Path, pair: Comparison) -> None:
    assert compare(runs / "first", runs / "other", workers=2).in_words() == pair.in_words()


def test_the_differences_of_recipes_are_told(pair: Comparison) -> None:
    assert [str(change) for change in pair.runs[1].changes] == ["description: null → <b>another</b>", "seed: 0 → 1"]
    assert "\n  seed: 0 → 1\n" in pair.in_words()


def test_scores_of_different_proxies_are_not_compared_but_each_scores_all(runs: Path, crossed: Comparison) -> None:
    by_vkdnw, by_naswot = crossed.rescored
    assert (by_vkdnw.label, by_vkdnw.searched) == ("vkdnw_single", ("A",))
    assert (by_naswot.label, by_naswot.searched) == ("naswot", ("B",))
    for by, run in ((by_vkdnw, "first"), (by_naswot, "naswot")):
        for row, name in zip(by.rows, ("first", "naswot"), strict=True):
            assert list(row.values) == [s.value for s in scores(runs / name, runs / run)]
    assert "A and B search by different scores (A: vkdnw_single; B: naswot), which cannot be compared" in (
        crossed.in_words()
    )


def test_a_relative_fitness_is_that_among_the_candidates_of_all_its_runs(runs: Path) -> None:
    names = ("ranks", "ranks too", "first")
    found = compare(*(runs / name for name in names), workers=1)
    by = next(r for r in found.rescored if r.label == "az_nas")
    assert by.is_relative and by.searched == ("A", "B")
    known: dict[str, Score] = {}
    for number in range(4):
        of_number = []
        for name in names[:2]:
            with RunReader(runs / name) as visited:
                proxy = visited.proxy
                of_number += [e for e in visited.evaluations if e.number == number]
        for e in sorted(of_number, key=lambda e: e.key):
            if e.score is not None:
                known.setdefault(e.key, e.score)
    assert isinstance(proxy, HasRelativeFitness)
    winners = {c.winner.key: scores(runs / name, runs / "ranks") for name, c in zip(names, found.runs, strict=True)}
    for i in range(FRESH):
        fitness = proxy.fitness([*known.values(), *(column[i] for column in winners.values())])[len(known) :]
        of_key = dict(zip(winners, fitness, strict=True))
        assert [row.values[i] for row in by.rows] == pytest.approx([of_key[c.winner.key] for c in found.runs])
    assert "among all candidates of A and B, each architecture once" in found.in_words()


def test_networks_of_different_spaces_are_not_scored_beside_one_another(runs: Path) -> None:
    found = compare(runs / "first", runs / "wider", workers=1)
    assert found.rescored == ()
    assert "scores of networks of different spaces cannot be compared, only sizes and races" in found.in_words()
    assert "(A: nasbench201 with channels: 4; B: nasbench201 with channels: 6)" in found.in_words()
    three = compare(runs / "first", runs / "wider", runs / "other", workers=1)
    assert [[row.role for row in r.rows] for r in three.rescored] == [["A", "C"]]


def test_proxies_of_one_name_and_other_options_are_told_apart(runs: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        leave_out_the_end(patch)
        search({**RECIPE, "score": {**VKDNW, "images": 6}}, out=tmp_path / "more").close()
    found = compare(runs / "first", tmp_path / "more", workers=1)
    assert [r.label for r in found.rescored] == ["vkdnw_single of A", "vkdnw_single of B"]
    assert "score.images: 4 → 6" in found.in_words()


def test_records_have_a_row_for_each_run_with_the_same_names(runs: Path, pair: Comparison) -> None:
    rows = compare(runs / "first", runs / "wider", runs / "other", workers=1).records()
    assert [row["run"] for row in rows] == ["A", "B", "C"]
    assert len({tuple(row) for row in rows}) == 1 and math.isnan(rows[1]["rescored.vkdnw_single"])
    row = pair.records()[1]
    with RunReader(runs / "other") as visited:
        best = visited.ranked[0]
        assert (row["score"], row["flops"], row["layers"]) == (
            visited.fitness[best.number], best.cost.flops, best.cost.layers,
        )  # fmt: skip
        judged = visited.judgement
        assert judged is not None and judged.second_opinion is not None
        assert row["percentile.FLOPs"] == judged.second_opinion.sizes[0].percentile
    assert (row["candidates"], row["rescored.vkdnw_single"]) == (4, pair.rescored[0].rows[1].mean)
    assert len(pair.to_frame()) == 2


def test_what_a_search_returned_can_be_compared_if_it_has_a_folder(runs: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        leave_out_the_end(patch)
        one, kept_in_memory = search({**RECIPE, "seed": 6}, out=tmp_path / "one"), search({**RECIPE, "score": "flops"})
    with one, kept_in_memory:
        assert compare(one, runs / "first", workers=1).runs[0].folder == tmp_path / "one"
        with pytest.raises(RunFolderError, match="must have a folder"):
            compare(kept_in_memory, runs / "first")


def test_a_proxy_that_does_not_suit_a_winner_is_told_in_its_row(
    runs: Path, monkeypatch: pytest.MonkeyPatch, crossed: Comparison
) -> None:
    def refuses(self: object, model: object, probe: object) -> Score:
        raise ScoreError("needs rectifiers")

    monkeypatch.setattr("vkdnw_search.proxies.naswot.Naswot.__call__", refuses)
    found = compare(runs / "first", runs / "naswot", workers=1)
    assert found.rescored[0] == crossed.rescored[0]
    assert [row.verdict for row in found.rescored[1].rows] == ["cannot be scored: needs rectifiers"] * 2
    assert "none" in found.in_words() and "needs rectifiers" in found.to_html()


def test_where_a_run_found_the_fast_way_of_its_proxy_wrong_the_careful_one_scores(tmp_path: Path, runs: Path) -> None:
    for name in ("first", "other"):
        shutil.copytree(runs / name, tmp_path / name)
    with sqlite3.connect(tmp_path / "other" / "run.sqlite") as database:
        text = '{"verdict": "wrong", "reason": "it differs"}'
        database.execute("INSERT OR REPLACE INTO note VALUES ('audit', ?)", (text,))
    database.close()
    with RunReader(tmp_path / "first") as a, RunReader(tmp_path / "other") as b:
        readers = {"A": a, "B": b}
        (planned,) = scorings(contenders_of(readers), readers)
        assert a.proxy is not None and planned.proxy == a.proxy.careful() != a.proxy  # type: ignore[union-attr]


def test_an_optimizer_from_python_is_no_hindrance_but_told(runs: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        leave_out_the_end(patch)
        search({**RECIPE, "seed": 5}, optimizer=RandomSearch, out=tmp_path / "own").close()
    words = compare(runs / "first", tmp_path / "own", workers=1).in_words()
    assert "B was given its optimizer from Python, which its recipe does not tell." in words
