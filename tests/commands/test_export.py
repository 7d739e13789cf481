from __future__ import annotations

import json
import math
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from search_spaces.mobilenet import MobileNet
from search_spaces.nasbench201 import NasBench201
from tests.support.generated_source import assert_same_network, load, load_network
from tests.support.quick import Quick, leave_out_the_end
from tests.support.read_only import command_on
from tests.support.tiny_space import Tiny
from vkdnw_search import Result, search
from vkdnw_search.commands.export import _with, run_export
from vkdnw_search.errors import ExportError, PluginError, RunFolderError, SpaceError
from vkdnw_search.output.formats import _must_agree
from vkdnw_search.output.int8 import _compared, write_int8
from vkdnw_search.records import Cost, Evaluation, Status
from vkdnw_search.runs.result import FoundNetwork
from vkdnw_search.source_rules import must_import_torch_alone

RECIPE: dict[str, Any] = {
    "space": {"use": "nasbench201", "cells": 1, "channels": 4, "resolution": 16},
    "score": "trainable_layers",
    "optimizer": {"use": "random", "children": 10},
    "stop": {"evaluations": 20},
    "executor": "inline",
    "finalists": 0,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        leave_out_the_end(patch)
        return search(RECIPE, out=tmp_path_factory.mktemp("runs") / "run")


def test_a_network_that_was_not_the_winner_can_be_exported_for_other_classes(run: Result, tmp_path: Path) -> None:
    values = sorted({e.cost.flops for e in run.evaluations()})
    limit = values[len(values) // 2]
    words = [str(run.folder), "--flops", str(limit), "--num-classes", "7", "--to", str(tmp_path / "model.py")]
    assert run_export(words).splitlines() == [str(tmp_path / "model.py"), str(tmp_path / "architecture.json")]
    best = max(
        (e for e in run.evaluations() if e.cost.flops <= limit and e.score), key=lambda e: (e.score.value, -e.number)
    )
    assert best.key in (tmp_path / "model.py").read_text()
    assert load(tmp_path / "model.py").Network()(torch.zeros(2, 3, 16, 16)).shape == (2, 7)
    assert (tmp_path / "train.py").exists()


def test_the_best_are_exported_at_once_each_to_a_folder_of_its_own(run: Result) -> None:
    assert run.folder is not None
    scored = sorted((-e.score.value, e.number, e.key) for e in run.evaluations() if e.score)[:3]
    files = [Path(line) for line in run_export([str(run.folder), "--top", "3"]).splitlines()]
    modules = [file for file in files if file.name == "model.py"]
    assert [file.parent.name for file in modules] == [str(number) for _, number, _ in scored]
    assert all(key in file.read_text() for file, (_, _, key) in zip(modules, scored, strict=True))
    shutil.rmtree(run.folder / "exports")
    with pytest.raises(RunFolderError, match=r"--top: must be in 1 … 20, the scored networks, but is 21"):
        run_export([str(run.folder), "--top", "21"])
    with pytest.raises(SystemExit):
        run_export([str(run.folder), "--top", "2", "--to", "model.py"])


def test_a_network_can_be_exported_for_images_of_other_channels_and_is_counted_anew(
    run: Result, tmp_path: Path
) -> None:
    path = tmp_path / "grey.py"
    run_export([str(run.folder), "--channels-in", "1", "--to", str(path)])
    assert load(path).Network().eval()(torch.zeros(2, 1, 16, 16)).shape == (2, 10)
    told = json.loads((tmp_path / "grey.json").read_text())
    assert run.best is not None and told["input_shape"] == [1, 16, 16]
    assert run.best.cost.flops - told["cost"]["flops"] == 2 * 4 * 9 * 16 * 16  # two channels fewer in the stem's four


def test_a_space_without_the_option_says_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--channels-in: the space tiny has no option channels_in"):
        _with(
            FoundNetwork(Tiny(), Evaluation(0, 0, (0,), "k", Cost(1, 1, 1, 1, 1, 1), 0, Status.FAILED)), channels_in=1
        )


@pytest.mark.parametrize("there", ["second.py", "second.json"])
def test_a_file_that_is_there_is_not_written_over(run: Result, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(RunFolderError, match=rf"{there}: is there already, and was left as it is"):
        run_export([str(run.folder), "--rank", "2", "--to", str(tmp_path / "second.py")])
    assert [file.name for file in tmp_path.iterdir()] == [there] and (tmp_path / there).read_text() == "mine"


def test_a_network_given_as_text_writes_over_nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text("mine")
    text = "|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"
    with pytest.raises(RunFolderError, match=r"model.py: is there already, and was left as it is"):
        run_export(["nasbench201", "--text", text])
    assert [file.name for file in tmp_path.iterdir()] == ["model.py"] and Path("model.py").read_text() == "mine"


def test_a_training_script_that_is_there_stays_and_nothing_of_the_folder_is_run(
    run: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text("mine")
    Path("queue.py").write_text("raise SystemExit('run')")  # as a module of the standard library is called
    run_export([str(run.folder), "--to", "model.py"])
    assert Path("model.py").exists() and Path("train.py").read_text() == "mine"


def test_initial_weights_are_not_written_over_either(run: Result, tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").write_text("mine")
    with pytest.raises(RunFolderError, match=r"net\.safetensors: is there already"):
        run_export([str(run.folder), "--to", str(tmp_path / "net.py"), "--weights", "safetensors"])
    assert (tmp_path / "net.safetensors").read_text() == "mine"


@pytest.mark.parametrize("place", ["x.py", "new/deep/x.py"])
def test_what_fails_leaves_nothing(run: Result, tmp_path: Path, place: str) -> None:
    words = ["--weights", "safetensors", "--network", '{"dropout": 0.2}', "--to", str(tmp_path / place)]
    with pytest.raises(ExportError, match=r"Network does not take dropout=0\.2: TypeError"):
        run_export([str(run.folder), *words])
    assert not list(tmp_path.iterdir())
    assert run.folder is not None and not (run.folder / "exports").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--rank", "1", "--number", "2"], "argument --number: not allowed with argument --rank"),
        (["--text", "|none~0|", "--rank", "1"], "argument --rank: not allowed with argument --text"),
        (["--to", "."], "argument --to: must be a file to write, such as NAME, but '.' is a folder"),
        (["--to", ".."], "argument --to: must be a file to write, such as ../NAME, but '..' is a folder"),
        (["--to", "new/"], "argument --to: must be a file to write, such as new/NAME, but 'new/' is a folder"),
        (["--network", "[1]"], "must be a JSON object such as '{\"dropout\": 0.2}', but is '[1]'"),
        (["--network", "[" * 100_000], "argument --network: must be JSON such as"),
        (["--int8"], "--int8: is for --format onnx"),
        (["--int8", "--format", "torch-export"], "--int8: is for --format onnx"),
        (["--seed", "1" + "0" * 30], "argument --seed: must be a whole number from 0 to"),
    ],
)
def test_options_that_mean_nothing_are_refused_by_usage(
    run: Result, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_export([str(run.folder), *words])
    assert stop.value.code == 2 and says in capsys.readouterr().err


@pytest.mark.parametrize(("name", "words"), [("x.json", []), ("x.safetensors", ["--weights", "safetensors"])])
def test_files_of_one_name_are_refused(run: Result, tmp_path: Path, name: str, words: list[str]) -> None:
    with pytest.raises(RunFolderError, match=f"--to: {name} is the name of another file written beside"):
        run_export([str(run.folder), "--to", str(tmp_path / name), *words])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_in_a_folder_that_cannot_be_written_to_is_read_and_written_elsewhere(tmp_path: Path) -> None:
    """Also where the run was killed, so that its last candidates are in the write-ahead log alone."""
    with pytest.MonkeyPatch.context() as patch:
        leave_out_the_end(patch)
        result = search(RECIPE, out=tmp_path / "done")
        shutil.copytree(tmp_path / "done", tmp_path / "killed")  # before the database is closed
    result.store.close()
    done, killed, elsewhere = tmp_path / "done", tmp_path / "killed", str(tmp_path / "elsewhere")
    (killed / "run.sqlite-shm").unlink()
    assert (killed / "run.sqlite-wal").stat().st_size > 0 and not (done / "run.sqlite-wal").exists()
    before = [files(folder) for folder in (done, killed)]
    assert result.best is not None
    ended = command_on(killed, "export", str(killed), "--format", "structure", "--to", elsewhere)
    assert (ended.returncode, ended.stderr) == (0, "") and Path(elsewhere).read_text() == f"{result.best.key}\n"
    ended = command_on(killed, "export", str(killed), "--format", "structure")
    assert ended.returncode == 1 and ended.stderr.endswith("Nothing was kept; name another place with --to\n")
    ended = command_on(done, "report", str(done))
    assert ended.returncode == 1 and ended.stderr.startswith(f"{done}: the report cannot be written there: ")
    ended = command_on(done, "report", str(done), "--to", f"{elsewhere}.html")
    assert (ended.returncode, ended.stderr) == (0, "") and result.best.key in Path(f"{elsewhere}.html").read_text()
    assert before == [files(folder) for folder in (done, killed)]


def files(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_structure_is_the_text_that_the_space_reads_back(run: Result, tmp_path: Path) -> None:
    run_export([str(run.folder), "--format", "structure", "--rank", "2", "--to", str(tmp_path / "s")])
    text = (tmp_path / "s").read_text().strip()
    second = sorted((e for e in run.evaluations() if e.score), key=lambda e: (-e.score.value, e.number))[1]
    assert NasBench201().parse(text).key == second.key == text


@pytest.mark.slow
def test_a_torch_export_program_takes_any_batch_and_computes_the_same(run: Result, tmp_path: Path) -> None:
    path, weights = tmp_path / "model.pt2", tmp_path / "model.safetensors"
    written = run_export(
        [str(run.folder), "--format", "torch-export", "--to", str(path), "--weights", "safetensors", "--seed", "3"]
    )
    assert written.splitlines() == [str(path), str(weights)]
    from safetensors.torch import load_file

    assert run.best is not None
    model = run.best.space.build(run.best.architecture).eval()
    model.load_state_dict(load_file(weights))
    images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.load(path).module()(images), model(images), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_an_onnx_file_runs_in_onnxruntime_with_the_same_outputs(run: Result, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = tmp_path / "model.onnx"
    run_export([str(run.folder), "--format", "onnx", "--to", str(path), "--weights", "safetensors"])
    from safetensors.torch import load_file

    assert run.best is not None
    model = run.best.space.build(run.best.architecture).eval()
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))
    images = torch.randn(7, 3, 16, 16)
    (logits,) = onnxruntime.InferenceSession(str(path)).run(None, {"images": images.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), model(images), rtol=1e-4, atol=1e-4)


def test_a_network_is_written_in_int8_and_runs_in_onnxruntime(run: Result, tmp_path: Path) -> None:
    """Its outputs are those of float32 as nearly as it says."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    words = [str(run.folder), "--format", "onnx", "--int8", "--to", str(tmp_path / "m.onnx")]
    file, told, warning = run_export(words).splitlines()
    assert file == str(tmp_path / "m.onnx") and list(tmp_path.iterdir()) == [tmp_path / "m.onnx"]
    assert re.search(r"on 64 random images: the largest output is the same for \d+\.\d%, relative error of the", told)
    assert warning.startswith("warning: these weights are random, and so are the images")
    weights = [
        t for t in onnx.load(file).graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4
    ]
    assert run.best is not None
    assert len(weights) == sum(isinstance(m, nn.Conv2d) for m in run.best.space.build(run.best.architecture).modules())
    image = np.zeros((1, 3, 16, 16), dtype=np.float32)
    assert onnxruntime.InferenceSession(file).run(None, {"images": image})[0].shape == (1, 10)


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


class Doubling:
    """A session that gives twice what it is given."""

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="x")]

    def run(self, names: None, inputs: dict[str, Any]) -> list[Any]:
        return [2 * inputs["x"]]


@pytest.mark.parametrize(("factor", "same", "error"), [(1, 1.0, 1.0), (2, 1.0, 0.0), (-1, 0.0, 3.0)])
def test_int8_is_compared_by_the_largest_output_and_the_norm(factor: float, same: float, error: float) -> None:
    agreement = _compared(Doubling(), Times(factor), (3,))
    assert (agreement.same, agreement.error) == (same, pytest.approx(error))


def test_int8_of_a_network_that_gives_zeros_is_infinitely_wrong_unless_it_gives_them_too() -> None:
    assert _compared(Doubling(), Times(0), (3,)).error == math.inf


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_extra_int8_says_what_to_install(
    run: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    words = [str(run.folder), "--format", "onnx", "--int8", "--to", str(tmp_path / "m.onnx")]
    with pytest.raises(ExportError, match=rf"^{missing} is needed for this format.*pip install 'vkdnw-search\[onnx\]'"):
        run_export(words)
    assert not list(tmp_path.iterdir())


def test_a_network_that_cannot_be_written_in_int8_is_told_in_words(tmp_path: Path) -> None:
    class Strange(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svdvals(x)

    pytest.importorskip("onnxruntime")
    with pytest.raises(ExportError, match=r"^m\.onnx: the network cannot be written as ONNX: .*--format onnx"):
        write_int8(Strange(), (3, 4, 4), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_that_computes_something_else_is_refused() -> None:
    ours = torch.tensor([[1.0, -20.0]])
    _must_agree(ours + 1e-3, ours, Path("x"))  # 1e-4 of the largest logit is 2e-3
    with pytest.raises(ExportError, match=r"differs by up to 0\.01"):
        _must_agree(ours + 1e-2, ours, Path("x"))
    with pytest.raises(ExportError, match="differs by up to nan"):
        _must_agree(ours * float("nan"), ours, Path("x"))


def test_choices_that_do_not_exist_are_refused_in_words(run: Result, tmp_path: Path) -> None:
    folder = str(run.folder)
    with pytest.raises(RunFolderError, match=r"--rank: must be in 1 … 20"):
        run_export([folder, "--rank", "21"])
    with pytest.raises(RunFolderError, match="at most 1k FLOPs"):
        run_export([folder, "--flops", "1k"])
    with pytest.raises(RunFolderError, match="must be a number such as 450M"):
        run_export([folder, "--flops", "many"])
    with pytest.raises(RunFolderError, match=r"must be the folder of a run"):
        run_export([str(tmp_path)])
    with pytest.raises(ExportError, match="does not take dropout"):
        run_export([folder, "--format", "onnx", "--network", '{"dropout": 0.1}', "--to", str(tmp_path / "x.onnx")])
    assert not list(tmp_path.iterdir())


def test_a_run_whose_space_came_from_python_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_the_end(monkeypatch)
    search(
        {"executor": "inline", "stop": {"evaluations": 3}, "finalists": 0},
        space=NasBench201(),
        proxy=Quick(),
        out=tmp_path / "run",
    )
    with pytest.raises(RunFolderError, match="was given from Python"):
        run_export([str(tmp_path / "run")])


@pytest.mark.parametrize(
    "space", [NasBench201(cells=1), MobileNet(resolution=32, num_classes=10)], ids=lambda s: s.name
)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_the_source_of_any_genome_is_the_network_that_is_built(space: Any, data: st.DataObject) -> None:
    genome = tuple(data.draw(st.integers(0, min(len(gene.choices), 6) - 1)) for gene in space.genes)
    architecture = space.decode(genome)
    must_import_torch_alone(space.source(architecture), space.name, architecture.key)
    theirs = load_network(space.source(architecture))()
    assert_same_network(space.build(architecture), theirs, torch.randn(2, *space.input_shape))


CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|none~2|"
PUBLISHED = (
    "SuperConvK3BNRELU(3,8,2,1)SuperResIDWE6K3(8,32,2,8,1)SuperResIDWE6K3(32,48,2,32,1)"
    "SuperResIDWE6K3(48,96,2,48,1)SuperResIDWE6K3(96,128,2,96,1)SuperConvK1BNRELU(128,2048,1,1)"
)


NARROW = (
    "SuperConvK3BNRELU(3,32,2,1)SuperResIDWE6K3(32,48,2,48,1)SuperResIDWE6K3(48,16,2,16,1)"
    "SuperResIDWE6K3(16,64,2,64,1)SuperResIDWE6K3(64,128,2,128,1)SuperConvK1BNRELU(128,256,1,1)"
)
"""A network that the options of the space do not allow, of another last width, with a waist."""


@pytest.mark.parametrize(
    ("space", "text"),
    [
        ("mobilenet", PUBLISHED),
        ("mobilenet", NARROW),
        ("nasbench201", "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|none~2|"),
    ],
)
def test_an_architecture_given_as_text_is_exported(
    space: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out_the_end(monkeypatch)
    path = tmp_path / "mine.py"
    written = run_export([space, "--text", text, "--num-classes", "7", "--to", str(path)]).splitlines()
    assert written == [str(path), str(tmp_path / "mine.json")]
    assert load(path).Network().eval()(torch.randn(1, 3, 64, 64)).shape == (1, 7)
    assert "score" not in path.read_text().partition('"""')[0]
    assert run_export([space, "--text", text, "--format", "structure", "--to", str(tmp_path / "s.txt")])
    again = (tmp_path / "s.txt").read_text().strip()
    assert run_export([space, "--text", again, "--format", "structure", "--to", str(tmp_path / "s2.txt")])
    assert (tmp_path / "s2.txt").read_text().strip() == again


def test_a_text_that_is_no_architecture_is_told_where(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="SuperRes"):
        run_export(["mobilenet", "--text", PUBLISHED.replace("SuperResIDWE6K3(8", "SuperResIDWE9K3(8")])
    with pytest.raises(PluginError, match="Did you mean 'mobilenet'"):
        run_export(["mobilnet", "--text", PUBLISHED])
