from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search_spaces.autoformer import AutoFormer
from search_spaces.stages import Stages
from tests.support.quick import leave_out_the_end
from vkdnw_search import search
from vkdnw_search.commands.report import run_report
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.errors import RunFolderError
from vkdnw_search.output import diagram
from vkdnw_search.output import report_facts as facts
from vkdnw_search.output.pages import plain
from vkdnw_search.output.report import write_report
from vkdnw_search.output.report_figures import MANY, _dots, _figure
from vkdnw_search.output.report_limits import Bound, asked, binding, bounds
from vkdnw_search.recipe.recipe import load_recipe
from vkdnw_search.runs.fitness import pareto_front
from vkdnw_search.runs.judgement import SecondOpinion, Standing
from vkdnw_search.runs.reader import RunReader
from vkdnw_search.runs.store import Store

RECIPE: dict[str, Any] = {
    "space": {"use": "nasbench201", "cells": 1, "channels": 4, "resolution": 16},
    "score": "trainable_layers",
    "limits": {"flops": "300k"},
    "optimizer": {"use": "random", "children": 10, "repair_tries": 0},
    "stop": {"evaluations": 60},
    "executor": "inline",
    "finalists": 0,
}


def run(folder: Path, recipe: dict[str, Any] | None = None) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        leave_out_the_end(patch)
        search({**RECIPE, **(recipe or {})}, out=folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("runs") / "run")


class Page(HTMLParser):
    """Tags that are open at the end, and addresses that would be fetched."""

    VOID = frozenset({"meta", "link", "br", "img", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.addresses += [str(v) for n, v in attrs if n in ("src", "href") and not str(v).startswith(("#", "data:"))]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Closed at once, as in SVG."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_fetches_nothing(folder: Path) -> None:
    assert run_report([str(folder)]) == str(folder / "report.html")
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert page.open == [] and page.addresses == []
    assert "<script" not in text and not re.search(r"@import|url\((?!#)", text)
    for name in ("progress", "score_flops"):
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / "figures" / f"{name}.svg").read_text().rstrip().endswith("</svg>")


def test_the_page_may_be_written_elsewhere_and_over_nothing(folder: Path, tmp_path: Path) -> None:
    before = sorted(folder.rglob("*"))
    page = tmp_path / "page.html"
    assert run_report([str(folder), "--to", str(page)]) == str(page)
    assert page.read_text().count("<svg") >= 2 and sorted(folder.rglob("*")) == before
    page.write_text("mine")
    with pytest.raises(RunFolderError, match="is there already, and was left as it is"):
        run_report([str(folder), "--to", str(page)])
    assert page.read_text() == "mine" and [file.name for file in tmp_path.iterdir()] == ["page.html"]


def test_the_page_shows_the_winner_and_the_limit_that_binds(folder: Path) -> None:
    text = write_report(folder).read_text()
    with RunReader(folder) as visited:
        best = max(visited.evaluations, key=lambda e: (e.score.value if e.score else -1, -e.number))
        assert visited.ranked[0] == best and best.key in text
        (bound,) = bounds(visited, best)
    assert bound.broken == sum(e.cost.flops > 300_000 for e in visited.evaluations) > 0
    assert bound.room == pytest.approx(1 - best.cost.flops / 300_000)
    told = f"the maximum of flops, 300k, from which the winner is {100 * bound.room:.0f} % away."
    assert f"No limit binds: the nearest is {told}" in text


def test_blocks_of_any_kind_are_drawn_or_left_to_the_text() -> None:
    stages = Stages()
    bars = diagram.chain(stages.decode(tuple(0 for _ in stages.genes)))
    assert [bar.label for bar in bars][:2] == ["16 channels", "24 channels"] and bars[-1].share == 100
    transformers = AutoFormer()
    assert diagram.chain(transformers.decode(tuple(0 for _ in transformers.genes))) == []


@pytest.mark.parametrize("blocks", [5, "three", [], [(1, 2)], [SimpleNamespace(out=(8, 8), stride=1)]])
def test_what_a_stranger_calls_blocks_is_not_drawn(blocks: object) -> None:
    assert diagram.chain(SimpleNamespace(blocks=blocks)) == []


@pytest.mark.parametrize("edges", [5, [(0, 1)], [(0, 7, "conv")], [("a", "b", "conv")]])
def test_what_a_stranger_calls_edges_is_not_drawn(edges: object) -> None:
    assert diagram.cell(SimpleNamespace(edges=edges)) == ([], [])


def test_no_text_of_a_run_becomes_markup(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    text = write_report(run(tmp_path / "run", {"description": hostile})).read_text()
    assert hostile not in text and "&lt;script&gt;" in text


def test_one_step_of_one_gene_is_counted_as_the_whole_network_it_leads_to(folder: Path) -> None:
    with RunReader(folder) as visited:
        winner = visited.ranked[0]
        rows = facts.mutations(visited, winner)
        space, counter = visited.space, CostCounter(visited.space)
    names = [gene.name for gene in space.genes]
    assert rows and len({(row.gene, row.after) for row in rows}) == len(rows)
    for row in rows[::5]:
        place = names.index(row.gene)
        index = space.genes[place].choices.index(row.after)  # type: ignore[arg-type]  # it came from there
        genome = (*winner.genome[:place], index, *winner.genome[place + 1 :])
        cost = counter.whole(space.decode(genome))
        assert row.flops == cost.flops - winner.cost.flops and row.tensors == cost.tensors - winner.cost.tensors
        assert row.feasible == (cost.flops <= 300_000)


def test_no_network_on_the_front_is_beaten_by_a_cheaper_one(folder: Path) -> None:
    with RunReader(folder) as visited:
        best, fitness = pareto_front(visited.evaluations, visited.fitness), visited.fitness
        scored = [e for e in visited.evaluations if e.number in fitness]
    for e in scored:
        beaten = any(o.cost.flops <= e.cost.flops and fitness[o.number] > fitness[e.number] for o in scored)
        assert not (beaten and e in best)
        assert beaten or any(fitness[e.number] == fitness[f.number] for f in best)


def test_the_page_shows_where_the_winner_stands_by_other_measures(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", {"finalists": 2})
    with RunReader(folder) as visited:
        assert visited.judgement is not None and visited.judgement.second_opinion is not None
        judgement, sizes = visited.judgement, visited.judgement.second_opinion.sizes
    measures = (Standing("Jacov", -16.2, 12.5, 32), Standing("expressivity", 40.0, 87.5, 32))
    told = replace(judgement, second_opinion=SecondOpinion(sizes, measures, (16, 8, 440)))
    for opinion, shown in ((told, True), (replace(judgement, second_opinion=None), False)):
        with Store(folder / "run.sqlite") as store:
            store.set_note("judgement", opinion.to_json())
        text = write_report(folder).read_text()
        assert Page(text).open == [] and ("A second opinion" in text) == shown
        assert ('<div class="place low" role="img" aria-label="12 of 100"><i style="width: 12.5%">' in text) == shown
        assert ('<div class="place" role="img" aria-label="87 of 100"><i style="width: 87.5%">' in text) == shown
        assert ("16 → 8 → 440" in text) == shown
        assert "p is about the score, not about accuracy" in text


def test_a_run_that_has_not_ended_says_so(folder: Path, tmp_path: Path) -> None:
    assert "This run has not ended" not in write_report(folder).read_text()
    copy = shutil.copytree(folder, tmp_path / "run")
    with Store(copy / "run.sqlite") as store:
        store.forget(["judgement"])
    assert "This run has not ended: below is what it has found so far" in write_report(copy).read_text()


def test_the_page_of_a_watched_run_reloads_itself_until_the_run_has_ended(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(folder, tmp_path / "run")
    with Store(copy / "run.sqlite") as store:
        judgement = store.note("judgement")
        store.forget(["judgement"])
    assert judgement is not None
    slept = list[float]()

    def ends_meanwhile(seconds: float) -> None:
        assert '<meta http-equiv="refresh" content="7">' in (copy / "report.html").read_text()
        slept.append(seconds)
        if len(slept) == 2:
            with Store(copy / "run.sqlite") as store:
                store.set_note("judgement", judgement)

    monkeypatch.setattr("vkdnw_search.commands.report.time.sleep", ends_meanwhile)
    assert run_report([str(copy), "--watch", "7"]) == str(copy / "report.html")
    assert slept == [7, 7]
    page = (copy / "report.html").read_text()
    assert "http-equiv" not in page and "This run has not ended" not in page


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon", "1e9"])
def test_a_run_is_watched_every_so_many_seconds(seconds: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_report([str(folder), f"--watch={seconds}"])
    assert "--watch: must be a number of seconds from 1 to 3600" in capsys.readouterr().err


def test_a_run_in_which_nothing_was_feasible_shows_the_nearest_and_what_it_misses(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", {"limits": {"flops": 1, "layers": 3}, "stop": {"evaluations": 5}})
    text = write_report(folder).read_text()
    with RunReader(folder) as visited:
        nearest = min(visited.evaluations, key=lambda e: (e.violation, e.number))
    assert "Nothing within the limits" in text and Page(text).open == []
    assert f"The nearest is network {nearest.number}:" in text and nearest.key in text
    assert f'<td class="n">{nearest.cost.layers}</td><td class="n">5</td>' in text


def test_a_run_that_has_just_begun_has_no_score_yet(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", {"stop": {"evaluations": 1}, "limits": {}})
    with closing(sqlite3.connect(folder / "run.sqlite")) as database, database:
        database.execute("DELETE FROM evaluation")
        database.execute("DELETE FROM note WHERE name = 'judgement'")
    text = write_report(folder).read_text()
    assert "No candidate has a score yet." in text and Page(text).open == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([Bound("flops", 90, 100, 98, 0)], "flops binds: the winner is 2 % below its maximum, 100."),
        ([Bound("flops", 90, 100, 91, 0)], "flops binds: the winner is 1.1 % above its minimum, 90."),
        ([Bound("latency", None, 5000, 5000, 0)], "latency binds: the winner is at its maximum, 5 ms."),
        ([Bound("layers", None, 20, 20, 0), Bound("memory", None, 8e6, 7.8e6, 0)],
         "layers binds: the winner is at its maximum, 20; memory binds: the winner is 2.5 % below its maximum, 8 MB."),
        ([Bound("flops", None, 600e6, 331_800_000, 0)],
         "No limit binds: the nearest is the maximum of flops, 600M, from which the winner is 45 % away."),
        ([Bound("latency", None, 5000, None, 0), Bound("flops", 100, None, 100, 0)],
         "flops binds: the winner is at its minimum, 100."),
    ],
)  # fmt: skip
def test_a_limit_binds_where_little_of_it_is_left_and_on_the_side_that_is_near(given: list[Bound], words: str) -> None:
    assert binding(sorted(given, key=lambda bound: bound.room)) == words


def test_the_head_says_what_was_asked_for(folder: Path) -> None:
    rows = [("space", "nasbench201"), ("score", "trainable_layers"), ("limits", "flops at most 300k"), ("seed", "0")]
    with RunReader(folder) as visited:
        assert asked(visited.recipe) == rows
    text = write_report(folder).read_text()
    assert all(f"{name} <b>{words}</b>" in text for name, words in rows)
    limits = {"flops": {"min": "1M", "max": "2M"}, "latency": "5ms", "layers": {"min": 3}}
    told = dict(asked(load_recipe({**RECIPE, "limits": limits})))["limits"]
    assert told == "flops 1M to 2M, layers at least 3, latency at most 5 ms"


def test_what_is_a_mapping_is_written_as_words() -> None:
    assert plain({"torch": "2.5", "numpy": "2.1"}) == "torch 2.5, numpy 2.1"
    assert plain({"commit": "0e5c", "changed": False}) == "commit 0e5c, changed no" and plain(None) == "none"


def test_a_listed_network_has_its_structure_and_the_command_that_exports_it(folder: Path) -> None:
    text = write_report(folder).read_text()
    with RunReader(folder) as visited:
        ten = visited.ranked[:10]
    for e in ten:
        assert text.count(f"vkdnw-search export DIR --number {e.number}<") == 1 and f"{e.key}</code>" in text


def test_the_start_of_a_long_structure_is_shown_and_all_of_a_short_one() -> None:
    stages = Stages()
    assert diagram.brief(stages.decode(tuple(0 for _ in stages.genes))).startswith("16 → 24 → ")
    assert diagram.brief(SimpleNamespace(key="|conv|")) == "|conv|"
    assert len(diagram.brief(SimpleNamespace(key="x" * 500))) < 100


@pytest.mark.parametrize("count", [MANY, MANY + 1])
def test_many_dots_are_one_picture(count: int) -> None:
    drawn = _figure("dots", lambda axes: _dots(axes, range(count), [float(n % 7) for n in range(count)]), png=False)
    assert ("<image" in drawn.svg) == (count > MANY) and len(drawn.svg) < 215 * MANY + 20_000


def test_scores_far_below_the_best_are_counted_at_the_foot_of_a_linear_axis() -> None:
    scores = [10.0, *[9.9] * 20, -1e9, -5.0]

    def paint(axes: Any) -> None:
        _dots(axes, range(len(scores)), scores)
        assert axes.get_yscale() == "linear" and 9 < axes.get_ylim()[0] < 9.3 and axes.get_ylim()[1] > 10
        assert [c.get_label() for c in axes.collections] == ["scored", "2 below 9.2"]

    _figure("foot", paint, png=False)
    _figure("one", lambda axes: _dots(axes, [1.0], [3.0]), png=False)


def test_the_page_says_why_a_winner_is_below_the_front(folder: Path, tmp_path: Path) -> None:
    assert "not on the front of these first scores" not in write_report(folder).read_text()
    copy = run(tmp_path / "run", {"finalists": 2})
    with RunReader(copy) as visited:
        assert visited.judgement is not None
        front = pareto_front(visited.evaluations, visited.fitness)
        beaten = next(e.number for e in visited.ranked if e not in front)
        judgement = replace(visited.judgement, winner=beaten)
    with Store(copy / "run.sqlite") as store:
        store.set_note("judgement", judgement.to_json())
    assert "not on the front of these first scores" in write_report(copy).read_text()


def test_a_folder_that_is_no_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="must be the folder of a run"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_surroundings_are_summed_up_in_words(folder: Path) -> None:
    with RunReader(folder) as visited:
        winner = visited.ranked[0]
    step = facts.Mutation("gene", 1, 2, 0, 0, 0, feasible=True, score=None)
    assert facts.surroundings([step], winner) == ""
    assert facts.surroundings([replace(step, score=-1.0)], winner).startswith("None of the 1 that were scored exceeds")
    higher = [replace(step, score=0.5), replace(step, score=9.0, feasible=False)]
    assert facts.surroundings(higher, winner).startswith("1 of the 1 that were scored exceed the winner by more")


def test_a_step_beyond_the_last_band_is_outside_the_limits(tmp_path: Path) -> None:
    with RunReader(run(tmp_path / "run", {"limits": {}, "bands": ["200k", "300k"]})) as visited:
        winner = visited.ranked[0]
        flops = [(winner.cost.flops + row.flops, row.feasible) for row in facts.mutations(visited, winner)]
    assert any(total > 300_000 for total, _ in flops)
    assert all(feasible == (total <= 300_000) for total, feasible in flops)
