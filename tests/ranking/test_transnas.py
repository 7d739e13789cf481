"""Tables of TransNAS-Bench-101: what is measured otherwise becomes percents, and a task finds its column."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from search_spaces.transnas_macro import TransNasMacro
from search_spaces.transnas_micro import TransNasMicro
from search_spaces.transnas_tasks import TASKS
from vkdnw_search.commands.main import main
from vkdnw_search.errors import RankingError
from vkdnw_search.ranking.tables import AccuracyTable, read_csv

DATA = Path(__file__).parents[3] / "shared" / "data"
HEADER = "arch_str,class_scene,room_layout,normal,params_m"
needs_table = pytest.mark.skipif(not DATA.is_dir(), reason="the published tables are not beside the repository")


def read(folder: Path, *lines: str) -> AccuracyTable:
    path = folder / "table.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return read_csv(path, canonical=lambda text: TransNasMacro().parse(text).key)


def test_similarities_and_losses_become_percents_and_sizes_are_left_out(tmp_path):
    table = read(tmp_path, "64-1242-basic,54.3,-0.5,0.57,11.2", "64-1124-basic,,-1.5,0.56,2.9")
    assert table.architectures == ("64-1242-basic", "64-1124-basic")
    assert list(table.columns) == ["class_scene", "room_layout", "normal"]
    assert table.column("normal") == pytest.approx([57, 56])
    assert table.column("room_layout") == pytest.approx([100 * math.exp(-0.5), 100 * math.exp(-1.5)])
    assert table.column("class_scene")[0] == 54.3 and np.isnan(table.column("class_scene")[1])


def test_the_networks_of_which_a_column_is_not_known_are_left_out_of_its_study(tmp_path):
    table = read(tmp_path, "64-1242-basic,54.3,-0.5,0.57,11.2", "64-1124-basic,,-1.5,0.56,2.9")
    assert table.known(["class_scene"]).architectures == ("64-1242-basic",)
    assert len(table.known(["room_layout", "normal"])) == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("64-1242-basic,54.3,low,0.57,11.2", "line 2, room_layout: must be a number, but is 'low'"),
        ("64-1242-basic,54.3,-0.5,1.57,11.2", "line 2, normal: must be an accuracy in percent, 0 … 100, but is 157"),
        ("64-1152-basic,54.3,-0.5,0.57,11.2", "line 2: the architecture is not of this space"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path, line, words):
    with pytest.raises(RankingError, match=words):
        read(tmp_path, line)


@needs_table
@pytest.mark.parametrize("task", ["room_layout", "segmentsemantic"])
def test_rank_compares_with_the_column_of_the_task(tmp_path, capsys, task):
    words = ["--accuracies", str(DATA / "transnas_micro.csv"), "--proxies", "flops", "--no-figures", "-q"]
    options = [f"space.task={task}", "space.resolution=64", "--sample", "20", "--budgets", "100%"]
    assert main(["rank", "transnas_micro", *options, *words, "--out", str(tmp_path / "study")]) == 0
    told = capsys.readouterr().out
    assert f"| {task} τ |" in told and f"Regret under budgets, {task}:" in told
    assert not any(f"| {other} τ" in told for other in TASKS if other != task)


@needs_table
def test_the_published_cells_are_fewer_networks_since_many_have_dead_edges():
    table = read_csv(DATA / "transnas_micro.csv", canonical=lambda text: TransNasMicro().parse(text).key)
    assert set(table.columns) == set(TASKS) and len(table) == 285
