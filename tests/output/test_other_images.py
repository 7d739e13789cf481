"""From a recipe to trained weights, for images that are neither of colours nor square."""

from __future__ import annotations

import csv
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.generated_source import load
from vkdnw_search import Result, build, search
from vkdnw_search.commands.export import run_export

SMALL: dict[str, list[str]] = {
    "nb201": ["space.channels=4", "space.cells=1", "score.images=32", "score.parameters=16", "score.resolution=null"],
    "mbv2_600M": ["space.max_width=64", "space.last_width=64", "space.num_classes=10", "limits={}", "score.images=16"],
}
"""What makes the networks and the search of a recipe small."""

EVERY = ["stop.evaluations=4", "finalists=2", "executor=inline", "optimizer={use: random, children: 4}"]


def searched(recipe: str, images: list[str], out: Path) -> Result:
    result = search(recipe, [*SMALL[recipe], *EVERY, *images], out=out)
    assert result.best is not None
    return result


def idx(array: Any) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype("u1").tobytes()


def idx_files(folder: Path, sides: tuple[int, int]) -> Path:
    """MNIST's four files, of few images: whether the upper or the lower half is bright."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part, count in (("train", 64), ("t10k", 32)):
        labels = rng.integers(0, 2, count)
        images = rng.integers(0, 60, (count, *sides))
        for image, label in zip(images, labels, strict=True):
            image[sides[0] // 2 * label :][: sides[0] // 2] += 150
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "resolution", "sides"),
    [("nb201", "28", (28, 28)), ("mbv2_600M", "28", (28, 28)), ("nb201", "[32, 48]", (32, 48))],
    ids=str,
)
def test_grey_images_go_from_a_recipe_to_trained_weights(
    recipe: str, resolution: str, sides: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vkdnw_search.run.by_measures", lambda judgement, *_: judgement)  # which takes seconds
    monkeypatch.setattr("vkdnw_search.output.report.write_report", lambda *_, **__: None)
    result = searched(recipe, ["space.channels_in=1", f"space.resolution={resolution}"], tmp_path / "run")
    assert result.best is not None and result.best.space.input_shape == (1, *sides)
    best = tmp_path / "run/best"
    told = json.loads((best / "architecture.json").read_text())
    assert told["input_shape"] == [1, *sides]
    from fvcore.nn import FlopCountAnalysis  # after vkdnw_search, which silences a warning of its import

    analysis = FlopCountAnalysis(build(result.best).eval(), torch.zeros(1, 1, *sides))
    assert told["cost"]["flops"] == analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
    data = idx_files(tmp_path / "data", sides)
    words = [str(best / "train.py"), "--data", str(data), "--epochs", "1", "--batch", "16", "--threads", "1"]
    subprocess.run([sys.executable, "-W", "error", *words], check=True, capture_output=True)
    (row,) = csv.DictReader((best / "training/curve.csv").read_text().splitlines())
    assert 0 <= float(row["ema_accuracy"]) <= 1
    network = load(best / "model.py").Network(num_classes=2).eval()
    network.load_state_dict(torch.load(best / "training/weights.pt", weights_only=True))
    assert network(torch.zeros(3, 1, *sides)).shape == (3, 2)
    (path, _) = run_export([str(tmp_path / "run"), "--backbone"]).splitlines()
    backbone = load(Path(path)).Backbone()
    weights = torch.load(best / "training/weights.pt", weights_only=True)
    missing, left_out = backbone.load_state_dict(weights, strict=False)
    assert not missing and all(name.partition(".")[0] in ("last", "classifier") for name in left_out)
    assert path == str(tmp_path / f"run/exports/{result.best.evaluation.number}/backbone.py")


@pytest.mark.slow
def test_such_a_network_is_written_as_onnx_and_torch_export(tmp_path: Path) -> None:
    searched("nb201", ["space.channels_in=4", "space.resolution=[16, 32]"], tmp_path / "run")
    for form in ("torch-export", "onnx"):
        if form == "onnx":
            pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
        (path,) = run_export([str(tmp_path / "run"), "--format", form, "--to", str(tmp_path / form)]).splitlines()
        if form == "torch-export":
            assert torch.export.load(path).module()(torch.zeros(3, 4, 16, 32)).shape == (3, 10)


def test_a_score_looks_at_images_as_the_space_has_them(tmp_path: Path) -> None:
    values = []
    for resolution in ("null", "[16, 32]", "[32, 16]", "16"):
        words = ["space.channels_in=1", "space.resolution=[16, 32]", f"score.resolution={resolution}", "finalists=0"]
        (first, *_) = search("nb201", [*SMALL["nb201"], *EVERY, *words, "stop.evaluations=1"]).evaluations()
        assert first.score is not None
        values.append(first.score.value)
    assert values[0] == values[1] and len({*values}) == 3
