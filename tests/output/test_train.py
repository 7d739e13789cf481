"""train.py, which the export writes beside model.py, is run here as its user runs it, on real small data."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from vkdnw_search.output.module import TRAINER

SMALL = """
import torch
from torch import nn


class Network(nn.Sequential):
    def __init__(self, num_classes=10):
        super().__init__(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Flatten(), nn.LazyLinear(num_classes),
        )
        self(torch.zeros(2, 3, 16, 16))
"""
DIGITS = ["--data", "digits", "--size", "16"]


def program(folder: Path) -> ModuleType:
    """train.py in ``folder``, beside a small model.py."""
    (folder / "model.py").write_text(SMALL)
    (folder / "train.py").write_text(TRAINER.read_text())
    modules: list[Any] = []
    for name in ("model", "train"):
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None and spec.loader is not None
        modules.append(importlib.util.module_from_spec(spec))
        sys.modules[name] = modules[-1]
        spec.loader.exec_module(modules[-1])
    return modules[-1]


def curve(folder: Path) -> list[dict[str, float]]:
    rows = csv.DictReader((folder / "curve.csv").read_text().splitlines())
    return [{name: float(value) for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"input_shape": 3}'])
def test_a_description_that_is_damaged_is_told_of_with_the_option_to_give(tmp_path: Path, text: str) -> None:
    train = program(tmp_path)
    (tmp_path / "architecture.json").write_text(text)
    with pytest.raises(SystemExit, match=r"architecture\.json: must have the input_shape, but: .*Give --size instead"):
        train._searched_size()


def test_a_small_network_learns_the_digits_and_its_weights_can_be_loaded(tmp_path: Path) -> None:
    train = program(tmp_path)
    accuracy = train.main([*DIGITS, "--epochs", "4", "--out", str(tmp_path / "out")])
    rows = curve(tmp_path / "out")
    assert accuracy == rows[-1]["ema_accuracy"] > 0.85
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    network = sys.modules["model"].Network()
    network.load_state_dict(torch.load(tmp_path / "out/weights.pt", weights_only=True))
    _, test = train.digits(16)
    images, labels = test.tensors
    with torch.no_grad():
        right = (network.eval()(images).argmax(dim=1) == labels).double().mean()
    assert float(right) == pytest.approx(accuracy)


def test_the_same_seed_gives_the_same_curve_and_another_seed_another(tmp_path: Path) -> None:
    train = program(tmp_path)
    curves = []
    for number, seed in enumerate(("0", "0", "1")):
        train.main([*DIGITS, "--epochs", "1", "--seed", seed, "--out", str(tmp_path / str(number))])
        curves.append(curve(tmp_path / str(number)))
    assert curves[0] == curves[1] != curves[2]


def test_a_stopped_run_goes_on_to_the_same_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = program(tmp_path)
    train.main([*DIGITS, "--epochs", "3", "--out", str(tmp_path / "whole")])
    save = train.Trainer.save

    def save_and_stop(self: Any) -> None:
        save(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train.Trainer, "save", save_and_stop)
        train.main([*DIGITS, "--epochs", "3", "--out", str(tmp_path / "parts")])
    train.main([*DIGITS, "--epochs", "3", "--resume", "--out", str(tmp_path / "parts")])
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")


def test_a_run_stopped_while_it_saved_does_the_epoch_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = program(tmp_path)
    train.main([*DIGITS, "--epochs", "2", "--out", str(tmp_path / "whole")])
    replace, places = Path.replace, []

    def stopped(self: Path, target: Path) -> Path:
        places.append(target.name)
        if places.count("last.pt") == 2:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", stopped)
        train.main([*DIGITS, "--epochs", "2", "--out", str(tmp_path / "parts")])
    train.main([*DIGITS, "--epochs", "2", "--resume", "--out", str(tmp_path / "parts")])
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")


@pytest.mark.parametrize("data", ["nosuch:datasets", "json:datasets"])
def test_data_that_is_not_there_is_told(tmp_path: Path, data: str) -> None:
    with pytest.raises(SystemExit, match=f"--data {data}: must be a function of a module here or installed, but: "):
        program(tmp_path).main(["--data", data])


def test_an_earlier_run_is_neither_overwritten_nor_invented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = program(tmp_path)
    with pytest.raises(SystemExit):
        train.main([*DIGITS, "--resume", "--out", str(tmp_path / "out")])
    assert "last.pt is not there: leave out --resume" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out/last.pt").touch()
    with pytest.raises(SystemExit):
        train.main([*DIGITS, "--out", str(tmp_path / "out")])
    assert "last.pt is there: add --resume" in capsys.readouterr().err


def test_the_learning_rate_rises_then_falls_as_half_a_cosine_to_zero(tmp_path: Path) -> None:
    train = program(tmp_path)
    options = train.parse(["--data", "x", "--epochs", "10", "--warm-up", "2", "--batch", "64"])
    images = torch.utils.data.TensorDataset(torch.zeros(64 * 100, 1))
    trainer = train.Trainer(options, images, images, 10)
    rates = [trainer.rate(step) for step in range(1000)]
    peak = 0.4 * 64 / 256
    assert rates[99] == pytest.approx(peak / 2) and rates[199] == pytest.approx(peak)
    assert rates[599] == pytest.approx(peak / 2) and rates[999] == pytest.approx(0)
    assert all(a < b for a, b in pairwise(rates[:200]))
    assert all(a > b for a, b in pairwise(rates[200:]))


def test_the_defaults_are_the_published_ones(tmp_path: Path) -> None:
    options = program(tmp_path).parse(["--data", "x"])
    assert (options.epochs, options.lr, options.batch, options.warm_up) == (150, 0.4, 64, 5)
    assert (options.weight_decay, options.label_smoothing) == (4e-5, 0.1)


def test_the_average_follows_a_weight_that_jumped(tmp_path: Path) -> None:
    train = program(tmp_path)
    images = torch.utils.data.TensorDataset(torch.zeros(64, 1))
    trainer = train.Trainer(train.parse(["--data", "x"]), images, images, 10)
    expected = trainer.model[0].weight.detach().clone()
    with torch.no_grad():
        trainer.model[0].weight.add_(1)
    for step in (0, 10, 10**9):
        trainer.average(step)
        decay = min(0.9999, (step + 1) / (step + 10))
        expected = decay * expected + (1 - decay) * trainer.model[0].weight.detach()
        torch.testing.assert_close(trainer.ema[0].weight, expected)


def test_a_function_of_ones_own_gives_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = program(tmp_path)
    (tmp_path / "stripes.py").write_text(
        "import torch\n"
        "def datasets():\n"
        "    labels = torch.arange(128) % 2\n"
        "    images = labels.view(-1, 1, 1, 1) * torch.ones(128, 3, 16, 16)\n"
        "    data = torch.utils.data.TensorDataset(images, labels)\n"
        "    return data, data\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    words = ["--data", "stripes:datasets", "--epochs", "4", "--batch", "16", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="--classes: say how many"):
        train.main(words)
    assert train.main([*words, "--classes", "2", "--bn-momentum", "0.1"]) == 1


def test_a_folder_of_images_is_read(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    train = program(tmp_path)
    for part in ("train", "val"):
        for name, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(8):
                image.new("RGB", (40, 30), colour).save(tmp_path / part / name / f"{number}.png")
    options = train.parse(["--data", str(tmp_path), "--size", "16"])
    images, test, classes = train.datasets(options)
    assert (len(images), len(test), classes) == (16, 16, 2)
    for data in (images, test):
        (blue, zero), (red, one) = data[0], data[15]
        assert blue.shape == (3, 16, 16) and (zero, one) == (0, 1)
        for channel, (mean, deviation) in enumerate(zip(train.MEAN, train.DEVIATION, strict=True)):
            assert float(red[channel].mean()) == pytest.approx(((channel == 0) - mean) / deviation, abs=1e-5)
            assert float(blue[channel].mean()) == pytest.approx(((channel == 2) - mean) / deviation, abs=1e-5)
    with pytest.raises(SystemExit, match="must hold a folder of images for each class"):
        train.datasets(train.parse(["--data", str(tmp_path / "train")]))


@pytest.mark.slow
def test_two_processes_train_together(tmp_path: Path) -> None:
    program(tmp_path)
    words = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2", str(tmp_path / "train.py")]
    words += [*DIGITS, "--epochs", "3", "--batch", "16", "--out", str(tmp_path / "out")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONWARNINGS": "ignore"}
    run = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    rows = curve(tmp_path / "out")
    assert len(rows) == 3 and rows[-1]["ema_accuracy"] > 0.85
    assert run.stdout.count("epoch 3/3") == 1  # the first process alone speaks
