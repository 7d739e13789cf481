"""The examples do what their first lines say."""

from __future__ import annotations

import csv
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.documents import ROOT, run
from tests.support.generated_source import load
from vkdnw_search.runs.reader import RunReader

EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.slow


def test_a_search_from_a_recipe_continues_exports_and_its_winner_learns(tmp_path: Path) -> None:
    told = run(["bash", str(EXAMPLES / "search_from_recipe.sh"), "found"], tmp_path)
    assert "vkdnw_single" in told
    with (tmp_path / "found/results.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 45
    second = load(tmp_path / "found.second.py").Network(num_classes=10)
    assert sum(p.numel() for p in second.parameters()) > 0
    told = run([sys.executable, str(EXAMPLES / "train_the_winner.py"), "found/best/model.py", "2"], tmp_path)
    accuracy = re.search(r"test accuracy (\S+)", told)
    assert accuracy is not None and float(accuracy[1]) > 0.5  # by chance: 0.1


def test_a_search_from_python_leaves_a_module_and_a_figure(tmp_path: Path) -> None:
    told = run([sys.executable, str(EXAMPLES / "search_from_python.py"), "found"], tmp_path)
    assert "the winner" in told and "on the Pareto front" in told
    assert load(tmp_path / "found/model.py").Network(num_classes=4)
    assert (tmp_path / "found/search.png").stat().st_size > 1000


def segmentation_commands(text: str) -> list[str]:
    """How ``text`` says that the network for segmentation is searched and trained."""
    lines = r"^[# ]*(vkdnw-search examples/segmentation.*|cd examples|python .*segmentation:shapes.*)$"
    return re.findall(lines, text, flags=re.MULTILINE)


def test_all_places_tell_of_the_same_commands_for_segmentation() -> None:
    places = (EXAMPLES / "segmentation.py", EXAMPLES / "segmentation.yaml", ROOT / "docs/command-line.md")
    told = [segmentation_commands(place.read_text()) for place in places]
    assert told[0] == told[1] == told[2] and len(told[0]) == 3


def test_a_network_for_segmentation_is_found_exported_and_learns(tmp_path: Path) -> None:
    """By the commands of its first lines, but for fewer candidates and epochs."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    search, *training = segmentation_commands((EXAMPLES / "segmentation.py").read_text())
    run(["sh", "-c", f"{search} stop.evaluations=8 executor=inline finalists=2"], tmp_path)
    train = " && ".join(training).replace("--epochs 10", "--epochs 2")
    told = run(["sh", "-c", train], tmp_path).splitlines()
    assert told[0] == "images 3×64×64" and told[1].startswith("learning a class of each pixel: cross-entropy, ")
    with (tmp_path / "runs/shapes/best/training/curve.csv").open(newline="") as file:
        first, second = (float(row["loss"]) for row in csv.DictReader(file))
    assert second < first < 1.1  # ln 3 by chance


def test_the_exported_winner_of_a_limit_of_latency_takes_about_what_the_search_timed(tmp_path: Path) -> None:
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name, reason="needs the extra onnx: pip install 'vkdnw-search[onnx]'")
    words = [
        "space={use: nasbench201, cells: 1, channels: 8}", "limits={latency: 1s}", "optimizer={use: random}",
        "latency={use: onnxruntime, correction: 8}", "score=flops", "executor=inline", "stop.evaluations=12",
    ]  # fmt: skip
    told = run(["vkdnw-search", "nb201", *words, "--out", "found"], tmp_path)
    with RunReader(tmp_path / "found") as visited:
        assert visited.judgement is not None and (timed := visited.judgement.whole_latency) is not None
    assert timed.within and str(timed) in told
    run(["vkdnw-search", "export", "found", "--format", "onnx", "--to", "best.onnx"], tmp_path)
    printed = run([sys.executable, str(EXAMPLES / "time_onnx.py"), "best.onnx", "1"], tmp_path)
    assert 1 / 3 < float(printed) / (1000 * timed.seconds) < 3, "the machine may be busy, but not as much as that"
