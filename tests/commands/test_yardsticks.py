"""Networks given by --with in the closing table, in the files of a run, and in its report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from tests.support.quick import leave_out_the_end
from vkdnw_search import search
from vkdnw_search.commands.main import main
from vkdnw_search.output.report import write_report
from vkdnw_search.output.report_figures import _score_flops
from vkdnw_search.runs.reader import RunReader
from vkdnw_search.runs.store import Store

INSTANT = ["nb201", "score=flops", "executor=inline", "finalists=2", "stop.evaluations=15", "--out", "run"]
MINE = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Conv2d(3, 256, 9), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, num_classes))
"""
FLOPS = 24 * 24 * 256 * (9 * 9 * 3 + 1) + 256 * 10
"""The convolution, the pooling that fvcore counts by its input, and the linear layer."""


@pytest.fixture(autouse=True)
def a_file_of_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    leave_out_the_end(monkeypatch)
    monkeypatch.setattr("vkdnw_search.run.score_neighbours", lambda *_: {})
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)


def test_the_closing_table_the_files_and_the_report_tell_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*INSTANT, "limits.flops=30M", "--with", "mine.py:Net", "--with", "resnet"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    rows = [line.strip() for line in out.splitlines()]
    place = next(i for i, row in enumerate(rows) if row.split() == ["yours", "mine.py:Net"])
    assert (
        rows[place + 1].startswith(f"{FLOPS:,}, higher score: +")
        and "against the winner, without any" in rows[place + 1]
    )
    assert rows[place + 2] == f"{FLOPS:,} FLOPs, {256 * 243 + 256 + 2560 + 10:,} parameters, 2 layers"
    assert rows[place + 3] == f"outside the limits: flops {FLOPS / 1e6:.4g}M is above the limit 30M (by 20 %)"
    assert "scoring the networks given by --with on the same initializations" in err
    assert "yours: mine.py:Net,," in Path("run/finalists.csv").read_text()

    write_report("run")
    page = Path("run/report.html").read_text()
    assert "<h2>Your networks</h2>" in page and "<summary>mine.py:Net</summary>" in page
    assert f"flops {FLOPS / 1e6:.4g}M is above the limit 30M (by 20 %)" in page
    assert page.count("mine.py:Net") >= 3, "in the table, its source, and the figure"
    assert "yours" in Path("run/figures/score_flops.svg").read_text()


def test_a_page_without_them_has_no_word_of_them() -> None:
    assert main(INSTANT) == 0
    write_report("run")
    assert "Your networks" not in Path("run/report.html").read_text()
    assert "yours" not in Path("run/finalists.csv").read_text()


def test_what_a_strangers_folder_calls_them_is_escaped(tmp_path: Path) -> None:
    result = search("nb201", INSTANT[1:5], out="run", baselines=["resnet"])
    assert result.judgement is not None
    strange = [replace(y, name="<script>$\\frac{</script>\n\x1b[2J", note="<b>") for y in result.judgement.yardsticks]
    store = Store(Path("run/run.sqlite"))
    store.set_note("judgement", replace(result.judgement, yardsticks=tuple(strange)).to_json())
    store.close()
    result.close()
    write_report("run")
    page = Path("run/report.html").read_text()
    assert (
        "<script>" not in page and "&lt;script&gt;" in page and "<b>" not in page.partition("Your networks")[2][:3000]
    )


def test_a_file_that_is_not_there_is_told_before_torch_is_imported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*INSTANT, "--with", "gone.py:Net"]) == 2
    assert capsys.readouterr().err == "--with gone.py:Net: must be a Python file, but there is none\n"
    assert main([*INSTANT, "--with", "resnets"]) == 2
    assert "Did you mean 'resnet'?" in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_recipe_names_none() -> None:
    Path("stranger.yaml").write_text("space: nasbench201\nscore: flops\nbaselines: [mine.py]\n")
    assert main(["stranger.yaml"]) == 2


def test_one_that_is_far_from_all_others_stands_at_the_edge_of_the_figure() -> None:
    with search("nb201", INSTANT[1:5], out="run", baselines=["mine.py:Net"]) as result:
        assert result.judgement is not None
        (yours,) = result.judgement.yardsticks
        far = replace(yours, cost=replace(yours.cost, flops=10**12), values=(1e12,) * 8)
        result.store.set_note("judgement", replace(result.judgement, yardsticks=(yours, far)).to_json())
        highest = max(e.cost.flops for e in result.evaluations()) / 1e6
    write_report("run")
    text = Path("run/figures/score_flops.svg").read_text()
    assert "mine.py:Net (1000G, " in text and ">1000000<" not in text
    with RunReader(Path("run")) as visited:
        axes = Figure().subplots()
        _score_flops(axes, visited, visited.ranked[0])
    assert axes.get_xlim()[1] < 3 * highest and axes.get_ylim()[1] < 3e6 * highest


def test_the_figure_of_a_notebook_has_their_names() -> None:
    with search("nb201", INSTANT[1:5], baselines=["resnet"]) as result:
        (axes,) = result.plot().axes
    legend = axes.get_legend()
    assert legend is not None and "resnet" in [text.get_text() for text in legend.get_texts()]


def test_the_doctor_says_what_they_cost_and_whether_they_keep_the_limits(capsys: pytest.CaptureFixture[str]) -> None:
    limits = ["limits.flops=30M", "limits.latency=1s"]
    assert main(["doctor", "nb201", "score=flops", *limits, "--with", "mine.py:Net", "--with", "resnet"]) == 0
    out = capsys.readouterr().out
    assert f"yours        mine.py:Net\n             {FLOPS:,} FLOPs, " in out
    assert f"outside the limits: flops {FLOPS / 1e6:.4g}M is above the limit 30M (by 20 %)" in out
    assert out.endswith("latencies are timed by the search alone\n") and "nan" not in out
    assert main(["doctor", "nb201", "--with", "gone.py"]) == 2
