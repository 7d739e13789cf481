"""From the best score to what a run leaves: the gate, bands, the front, the surroundings, the report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from search_spaces.nasbench201 import NasBench201
from tests.support.generated_source import load
from tests.support.quick import Quick, leave_out_the_end
from vkdnw_search import FoundNetwork, Result, build, search
from vkdnw_search.commands.progress import closing_table
from vkdnw_search.engine.neighbours import one_step
from vkdnw_search.runs.reader import RunReader

SMALL = {"use": "nasbench201", "cells": 1, "channels": 8, "resolution": 16}
RECIPE: dict[str, Any] = {
    "space": SMALL,
    "score": "trainable_layers",
    "stop": {"evaluations": 60},
    "executor": "inline",
    "finalists": 3,
}


class Dead(nn.Module):
    """What it computes does not depend on any of its weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0 * self.model(x)  # type: ignore[no-any-return]


class AllDead(NasBench201):
    def build(self, architecture: Any) -> nn.Module:
        return Dead(super().build(architecture))


def small(kind: type[NasBench201]) -> NasBench201:
    return kind(cells=1, channels=8, resolution=16)


@pytest.mark.parametrize("finalists", [0, 10])
def test_a_winner_that_cannot_be_trained_gives_place_to_the_next(finalists: int) -> None:
    overrides = ["stop.evaluations=40", f"finalists={finalists}"]
    plain = search(RECIPE, overrides, space=small(NasBench201), proxy=Quick())
    assert plain.best is not None
    dead = plain.best.key.split("+")[0]

    class HalfDead(NasBench201):
        """Networks with the winner's operation on the first edge cannot be trained."""

        def build(self, architecture: Any) -> nn.Module:
            model = super().build(architecture)
            return Dead(model) if architecture.key.startswith(dead) else model

    gated = search(RECIPE, overrides, space=small(HalfDead), proxy=Quick())
    assert gated.best is not None and gated.judgement is not None
    assert not gated.best.key.startswith(dead)
    assert gated.best.key == next(e.key for e in gated.store.best(40) if not e.key.startswith(dead))
    number = plain.best.evaluation.number
    assert f"network {number} would have won, but cannot be trained: no gradient reaches" in gated.judgement.warnings[0]
    if finalists:
        first, second, *_ = gated.judgement.finalists
        assert first.key == gated.best.key and second.verdict.startswith("cannot be trained: ")
    assert "cannot be trained" in closing_table(gated) or not finalists


@pytest.mark.parametrize("finalists", [0, 3])
def test_every_reader_names_the_winner_of_the_run(tmp_path: Path, finalists: int) -> None:
    """Also where networks with a higher score cannot be trained: overall, in each band, and below a number of FLOPs."""
    recipe = {**RECIPE, "bands": ["600k", "1M", "2M"], "finalists": finalists}
    plain = search(recipe, space=small(NasBench201), proxy=Quick())
    dead = {found.key for found in (plain.best, *plain.bands.values()) if found is not None}

    class HalfDead(NasBench201):
        """The networks that would win otherwise cannot be trained."""

        def build(self, architecture: Any) -> nn.Module:
            model = super().build(architecture)
            return Dead(model) if architecture.key in dead else model

    result = search(recipe, space=small(HalfDead), proxy=Quick(), out=tmp_path / "run")
    assert result.best is not None and result.best.key not in dead
    assert result.judgement is not None and len(result.judgement.untrainable) == len(dead)
    with RunReader(tmp_path / "run", space=small(NasBench201), proxy=Quick()) as visited:
        assert visited.judgement == result.judgement
        assert visited.ranked[0].key == result.best.key
        assert {e.key for e in visited.ranked[-len(dead) :]} == dead
        assert dict(visited.bands) == {most: found and found.evaluation for most, found in result.bands.items()}
        for most, found in result.bands.items():
            best = max((b for edge, b in result.bands.items() if edge <= most and b), key=lambda b: standing(b, result))
            assert found is not None and next(e for e in visited.ranked if e.cost.flops <= most).key == best.key
    page = (tmp_path / "run/report.html").read_text()
    assert f"<h2>The winner</h2>\n<p><code>{result.best.key}</code>" in page
    assert all(f"bands/{edge}/model.py" in page for edge in ("600k", "1M", "2M"))
    assert result.best.key in (tmp_path / "run/best/model.py").read_text()


def standing(found: FoundNetwork, result: Result) -> tuple[bool, float]:
    """What a network of a band is ranked by: the winner first, others by mean or score."""
    assert result.best is not None and result.judgement is not None
    mean = result.judgement.means.get(found.evaluation.number, found.score.value)
    return found.key == result.best.key, mean


def test_where_no_network_can_be_trained_the_run_says_so() -> None:
    result = search(RECIPE, ["stop.evaluations=5"], space=small(AllDead), proxy=Quick())
    assert result.best is not None and result.judgement is not None
    assert result.judgement.warnings[0].startswith("none of the best 3 can be trained: no gradient reaches")


@pytest.mark.parametrize(
    ("of", "edges", "place", "told"),
    [
        ("flops", (200_000, 1_000_000, 2_000_000), "1M", "1M FLOPs"),
        ("layers", (11, 17, 20), "17_layers", "17 layers"),
        ("parameters", (20_000, 40_000, 60_000), "40k_parameters", "40k parameters"),
    ],
)
def test_bands_have_a_winner_each_exported_and_in_the_report(
    of: str, edges: tuple[int, ...], place: str, told: str, tmp_path: Path
) -> None:
    result = search({**RECIPE, "bands_of": of, "bands": list(edges)}, out=tmp_path / "run")
    assert tuple(result.bands) == edges
    assert result.judgement is not None
    assert any("let their winners race" in warning for warning in result.judgement.warnings)
    scored = [e for e in result.evaluations() if e.status == "scored" and e.score]
    for low, (high, found) in zip((0, *edges), result.bands.items(), strict=False):
        within = [e.score.value for e in scored if e.score and low < getattr(e.cost, of) <= high]
        assert (found is None) == (not within)
        if found is not None:
            assert low < getattr(found.cost, of) <= high and found.score.value == max(within)
    assert all(e.status == "infeasible" for e in result.evaluations() if getattr(e.cost, of) > edges[-1])
    found = result.bands[edges[1]]
    assert found is not None
    module = tmp_path / "run/bands" / place / "model.py"
    assert [p.shape for p in load(module).Network().parameters()] == [p.shape for p in build(found).parameters()]
    page = (tmp_path / "run/report.html").read_text()
    assert found.key in page and f"at most {told}" in page
    assert f"at {told}" in closing_table(result)
    assert json.loads(module.with_name("architecture.json").read_text())["architecture"] == found.key


def test_nsga2_leaves_its_whole_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_the_end(monkeypatch)
    result = search({**RECIPE, "optimizer": "nsga2", "finalists": 0}, out=tmp_path / "run")
    front = result.front()
    assert len(front) > 2
    assert [found.cost.flops for found in front] == sorted(found.cost.flops for found in front)
    assert {p.parent.name for p in (tmp_path / "run/front").glob("*/model.py")} == {str(f.cost.flops) for f in front}


def test_the_surroundings_of_the_winner_are_scored_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out_the_end(monkeypatch)
    result = search({**RECIPE, "limits": {"flops": "1M"}}, out=tmp_path / "run")
    assert result.best is not None
    with RunReader(tmp_path / "run") as visited:
        neighbours = visited.neighbours
    costs = {e.key: e for e in result.evaluations()}
    keys = {result.space.decode(step.genome).key for step in one_step(result.space, result.best.evaluation.genome)}
    assert set(neighbours) <= keys and result.best.key not in neighbours
    assert neighbours and all(costs[key].score.value == v for key, v in neighbours.items() if key in costs)


def test_a_step_changes_one_gene_and_leads_to_every_near_network_once() -> None:
    space = small(NasBench201)
    genome = (3, 2, 3, 1, 4, 0)
    steps = list(one_step(space, genome))
    keys = [space.decode(step.genome).key for step in steps]
    assert len(set(keys)) == len(keys) and space.decode(genome).key not in keys
    assert all(sum(a != b for a, b in zip(step.genome, genome, strict=True)) == 1 for step in steps)


def test_a_result_is_at_home_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_the_end(monkeypatch)
    result = search({**RECIPE, "limits": {"flops": "1M"}, "optimizer": {"use": "random", "repair_tries": 0}})
    monkeypatch.setitem(sys.modules, "pandas", None)
    records = result.to_frame()
    assert len(records) == result.visited
    scored = [r for r in records if r["status"] == "scored"]
    assert {r["architecture"]: r["score"] for r in scored} == {
        e.key: e.score.value for e in result.evaluations() if e.status == "scored" and e.score
    }
    (axes,) = result.plot().axes
    assert axes.get_xlabel() == "FLOPs (millions)" and len(axes.collections[0].get_offsets()) == len(scored)
    assert f"{len(scored)} scored" in repr(result) and result.best is not None and result.best.key in repr(result)
