"""train.py, which the export writes beside model.py, is run here as its user runs it, on real small data."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import os
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vkdnw_search.output.module import TEMPLATES
from vkdnw_search.runs.contents import PROGRAMS

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
    """train.py in ``folder``, beside a small model.py and what reads its images."""
    (folder / "model.py").write_text(SMALL)
    for name in PROGRAMS:
        (folder / name).write_text((TEMPLATES / name).read_text())
    modules: list[Any] = []
    for name in ("model", "train_data", "train"):
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None and spec.loader is not None
        modules.append(importlib.util.module_from_spec(spec))
        sys.modules[name] = modules[-1]
        spec.loader.exec_module(modules[-1])
    return modules[-1]


def network() -> Any:
    return sys.modules["model"].Network


def read(*arguments: Any, **options: Any) -> Any:
    return sys.modules["train_data"].read(*arguments, **options)


def curve(folder: Path) -> list[dict[str, float]]:
    rows = csv.DictReader((folder / "curve.csv").read_text().splitlines())
    return [{name: float(value) for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"input_shape": 3}'])
def test_a_description_that_is_damaged_is_told_of_with_the_option_to_give(tmp_path: Path, text: str) -> None:
    train = program(tmp_path)
    (tmp_path / "architecture.json").write_text(text)
    with pytest.raises(SystemExit, match=r"\.json: must have the input_shape, but: .*Give --size and --channels"):
        train._images(train.parse(["--data", "x", "--size", "16"]))
    assert train._images(train.parse(["--data", "x", "--size", "16,24", "--channels", "1"])) == (1, (16, 24))


def test_a_small_network_learns_the_digits_and_its_weights_can_be_loaded(tmp_path: Path) -> None:
    train = program(tmp_path)
    accuracy = train.main([*DIGITS, "--epochs", "4", "--out", str(tmp_path / "out")])
    rows = curve(tmp_path / "out")
    assert accuracy == rows[-1]["ema_accuracy"] > 0.85
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    trained = network()()
    trained.load_state_dict(torch.load(tmp_path / "out/weights.pt", weights_only=True))
    _, test, classes = read("digits", size=16)
    images, labels = (torch.stack(column) for column in zip(*test, strict=True))
    assert classes == 10
    with torch.no_grad():
        first = trained.eval()(images).argsort(dim=1, descending=True)[:, :5]
    right = first == labels[:, None]
    assert float(right[:, 0].double().mean()) == pytest.approx(accuracy)
    assert float(right.any(dim=1).double().mean()) == pytest.approx(rows[-1]["ema_top5"])


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


@pytest.mark.parametrize(("load", "threads", "device", "hints"), [
    (1.9, 2, "cpu", True), (0.1, 2, "cpu", False), (1.9, 1, "cpu", False), (1.9, 2, "cuda", False),
])  # fmt: skip
def test_on_a_busy_machine_one_thread_is_hinted_at(
    load: float, threads: int, device: str, hints: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = program(tmp_path)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert ("--threads 1 may be faster" in train.busy(torch.device(device))) == hints


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
    trainer = train.Trainer(options, network(), images, images, 10)
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
    trainer = train.Trainer(train.parse(["--data", "x"]), network(), images, images, 10)
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
    data_module: Any = sys.modules["train_data"]
    for part in ("train", "val"):
        for name, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(8):
                image.new("RGB", (40, 30), colour).save(tmp_path / part / name / f"{number}.png")
    images, test, classes = read(str(tmp_path), size=16)
    assert (len(images), len(test), classes) == (16, 16, 2)
    for data in (images, test):
        (blue, zero), (red, one) = data[0], data[15]
        assert blue.shape == (3, 16, 16) and (zero, one) == (0, 1)
        for channel, (mean, deviation) in enumerate(zip(data_module.MEAN, data_module.DEVIATION, strict=True)):
            assert float(red[channel].mean()) == pytest.approx(((channel == 0) - mean) / deviation, abs=1e-5)
            assert float(blue[channel].mean()) == pytest.approx(((channel == 2) - mean) / deviation, abs=1e-5)
    with pytest.raises(SystemExit, match="must hold a folder of images for each class"):
        train.main(["--data", str(tmp_path / "train")])
    (tmp_path / "train/red/0.png").write_bytes(b"no image")
    for words in ([], ["--workers", "2"]):
        with pytest.raises(SystemExit, match=r"red/0\.png: must be an image, but cannot be read"):
            train.main(["--data", str(tmp_path), "--size", "16", "--epochs", "1", "--batch", "2", *words])
    (tmp_path / "train/green").mkdir()
    (tmp_path / "train/red/1.png").rename(tmp_path / "train/green/1.png")
    with pytest.raises(SystemExit, match="the same classes, but 'green' is in train and not in val"):
        train.main(["--data", str(tmp_path), "--size", "16"])
    for part, name in (("train", "green"), ("train", "red"), ("val", "red")):
        (tmp_path / part / name).rename(tmp_path / f"{part}-{name}")
    with pytest.raises(SystemExit, match="must have two classes or more, but has only 'blue'"):
        train.main(["--data", str(tmp_path), "--size", "16"])


def idx(array: Any) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype("u1").tobytes()


def squares(count: int, seed: int) -> tuple[Any, Any]:
    """Images (N, 8, 8) of a bright left or right half, and which."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    images = rng.integers(0, 60, (count, 8, 8))
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] += 150
    return images.astype("u1"), labels


def test_idx_files_and_arrays_of_numpy_hold_the_same_images(tmp_path: Path) -> None:
    train = program(tmp_path)
    parts = {"train": squares(64, 0), "t10k": squares(32, 1)}
    for part, (images, labels) in parts.items():
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    arrays = {"x_train": parts["train"][0], "y_train": parts["train"][1][:, None]}
    arrays |= {"x_test": parts["t10k"][0], "y_test": parts["t10k"][1]}
    np.savez(tmp_path / "squares.npz", **arrays)
    for place in (tmp_path, tmp_path / "squares.npz"):
        images, test, classes = read(str(place), size=8)
        assert (len(images), len(test), classes) == (64, 32, 2)
        x, y = images[5]
        grey = torch.tensor(parts["train"][0]) / 255
        torch.testing.assert_close(x, ((grey[5] - grey.mean()) / grey.std()).expand(3, 8, 8))
        assert y == parts["train"][1][5]
        assert read(str(place), size=12)[1][0][0].shape == (3, 12, 12)
    words = ["--data", str(tmp_path), "--size", "16", "--batch", "16", "--bn-momentum", "0.1"]
    assert train.main([*words, "--epochs", "5", "--out", str(tmp_path / "out")]) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[1, 28, 36]", (1, (28, 36))), ("[4, 100]", (4, (4, 100))), ("[7]", (7, (7, 7)))],  # the others are no images
)
def test_images_are_by_default_those_that_the_network_was_searched_for(
    tmp_path: Path, text: str, expected: Any
) -> None:
    train = program(tmp_path)
    assert train._images(train.parse(["--data", "x"])) == (3, (224, 224))
    (tmp_path / "architecture.json").write_text(f'{{"input_shape": {text}}}')
    assert train._images(train.parse(["--data", "x"])) == expected
    assert train._images(train.parse(["--data", "digits"])) == (expected[0], (32, 32))


@pytest.mark.parametrize(
    ("searched", "words", "expected"),
    [
        ("[1, 48, 96]", [], "images 1×32×32; the network was searched for 1×48×96 (--size 48,96)"),
        ("[3, 224, 224]", [], "images 3×32×32; the network was searched for 3×224×224 (--size 224)"),
        ("[3, 32, 32]", ["--channels", "1"], "images 1×32×32; the network was searched for 3×32×32"),
        ("[3, 32, 32]", [], "images 3×32×32"),
        ("[3, 224, 224]", ["--size", "16"], "images 3×16×16"),  # the user knows
        (None, [], "images 3×32×32"),
    ],
)
def test_images_that_the_network_was_not_searched_for_are_told(
    tmp_path: Path, searched: str | None, words: list[str], expected: str
) -> None:
    train = program(tmp_path)
    if searched is not None:
        (tmp_path / "architecture.json").write_text(f'{{"input_shape": {searched}}}')
    options = train.parse(["--data", "digits", *words])
    channels, sides = train._images(options)
    assert train._seen(read("digits", size=sides, channels=channels)[0][0][0], options) == expected


def test_images_that_a_function_gives_are_told_without_an_option_that_changes_nothing(tmp_path: Path) -> None:
    train = program(tmp_path)
    (tmp_path / "architecture.json").write_text('{"input_shape": [4, 100]}')
    told = train._seen(torch.zeros(4, 90), train.parse(["--data", "my_module:datasets"]))
    assert told == "images 4×90; the network was searched for 4×100"


def test_the_first_lines_say_what_the_network_is_given_and_what_it_learns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(tmp_path).main([*DIGITS, "--epochs", "1", "--out", str(tmp_path / "out")])
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == "images 3×16×16" and second.startswith("learning a class of each image: ")
    assert third.startswith("epoch 1/1 ")


def arrays(file: Path, shape: tuple[int, ...], seed: int = 0) -> Any:
    """A file of numpy's arrays with eight random images in each part; returns the training ones."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 256, (8, *shape), dtype="u1"), np.arange(8) % 2
    np.savez(file, x_train=x, y_train=y, x_test=x, y_test=y)
    return x


def test_images_need_not_be_square(tmp_path: Path) -> None:
    program(tmp_path)
    x = torch.tensor(arrays(tmp_path / "a.npz", (12, 20))) / 255
    images, _, _ = read(str(tmp_path / "a.npz"), size=(12, 20))
    torch.testing.assert_close(images[3][0], ((x[3] - x.mean()) / x.std()).expand(3, 12, 20))
    assert read(str(tmp_path / "a.npz"), size=(8, 16))[0][0][0].shape == (3, 8, 16)
    data_module: Any = sys.modules["train_data"]
    spot = torch.zeros(1, 16, 32)
    spot[:, 8, 16] = 1
    places = {tuple(data_module.Varied("standard")(spot)[0].nonzero()[0].tolist()) for _ in range(600)}
    assert places == {(r, c) for r in range(6, 11) for c in range(11, 21)}  # by an eighth of each side, or mirrored


def test_grey_images_have_as_many_channels_as_the_network_takes_and_colour_ones_become_grey(tmp_path: Path) -> None:
    program(tmp_path)
    x = arrays(tmp_path / "colour.npz", (8, 8, 3))
    grey = x.astype(float) @ (0.299, 0.587, 0.114)
    image, _ = read(str(tmp_path / "colour.npz"), size=8, channels=1)[0][2]
    wanted = torch.tensor(np.round(grey)) / 255
    torch.testing.assert_close(image[0].double(), (wanted[2] - wanted.mean()) / wanted.std(), rtol=1e-4, atol=1e-4)
    arrays(tmp_path / "grey.npz", (8, 8))
    for channels in (1, 3, 4):
        image, _ = read(str(tmp_path / "grey.npz"), size=8, channels=channels)[0][2]
        assert image.shape == (channels, 8, 8) and all(torch.equal(image[0], other) for other in image)


def test_images_of_other_channels_are_read_for_a_network_that_takes_them(tmp_path: Path) -> None:
    program(tmp_path)
    for number, shape in enumerate(((7, 10, 12), (10, 12, 7))):
        file = tmp_path / f"{number}.npz"
        x = arrays(file, shape)
        image, _ = read(str(file), size=(10, 12), channels=7)[0][5]
        wanted = torch.tensor(x if number == 0 else x.transpose(0, 3, 1, 2)) / 255
        mean, deviation = (f(wanted, dim=(0, 2, 3)).view(-1, 1, 1) for f in (torch.mean, torch.std))
        torch.testing.assert_close(image, (wanted[5] - mean) / deviation, rtol=1e-4, atol=1e-4)
    arrays(tmp_path / "colour.npz", (8, 8, 3))
    with pytest.raises(Exception, match="images must have 4 channels, as the network takes, but have 3"):
        read(str(tmp_path / "colour.npz"), size=8, channels=4)
    with pytest.raises(Exception, match="images must be uint8 of one, three or 4 channels, but are uint8 of shape"):
        read(str(tmp_path / "1.npz"), size=8, channels=4)


def test_a_folder_of_images_gives_grey_ones_that_are_not_square(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    program(tmp_path)
    ramp = np.tile(np.arange(64, dtype="u1")[None, :, None] * 4, (32, 1, 3))
    for part in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            image.fromarray(ramp).save(tmp_path / part / name / "0.png")
    train, test, _ = read(str(tmp_path), size=(14, 28), channels=1)
    assert train[0][0].shape == (1, 14, 28)
    x, _ = test[0]  # 7/8 of the image as it is: 28 rows and 56 columns, of which 2 make one
    wanted = (torch.arange(28) * 8 + 4 * 4.5) / 255
    got = x[0] * (0.229 + 0.224 + 0.225) / 3 + (0.485 + 0.456 + 0.406) / 3
    torch.testing.assert_close(got[:, 1:-1], wanted[1:-1].expand(14, 26), atol=0.01, rtol=0)
    with pytest.raises(Exception, match="a folder has images of 1 or 3 channels, but the network takes 4"):
        read(str(tmp_path), size=8, channels=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": None}, "must hold x_train, but holds y_train, x_test, y_test"),
        ({"x_train": np.zeros((4, 8, 8))}, "images must be uint8 of one or three channels, but are float64 of shape"),
        ({"x_test": np.zeros((4, 8, 8, 5), "u1")}, r"but are uint8 of shape \(4, 5, 8, 8\)"),
        ({"y_train": np.zeros(3, int)}, "must have a whole number for each of 4 images, but has 3"),
        ({"y_test": np.array([0, 1, -2, 0])}, r"\(test\): labels must be 0 or more, but that of image 2 is -2"),
    ],
)
def test_arrays_that_are_no_images_with_labels_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    train = program(tmp_path)
    arrays: dict[str, Any] = {"x_train": np.zeros((4, 8, 8), "u1"), "y_train": np.zeros(4, int)}
    arrays |= {"x_test": np.zeros((4, 8, 8, 3), "u1"), "y_test": np.zeros(4, int)}
    arrays = {name: value for name, value in (arrays | change).items() if value is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(SystemExit, match=message):
        train.main(["--data", str(tmp_path / "a.npz")])


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x08\x03", b"PK", gzip.compress(b"x", mtime=0)[:9]])
def test_a_broken_file_of_images_is_named(tmp_path: Path, content: bytes) -> None:
    train = program(tmp_path)
    suffix = ".gz" if content.startswith(b"\x1f") else ""
    (tmp_path / f"train-images-idx3-ubyte{suffix}").write_bytes(content)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(content)
    with pytest.raises(SystemExit, match=r"train-images-idx3-ubyte.* must be an IDX file"):
        train.main(["--data", str(tmp_path)])
    (tmp_path / "broken.npz").write_bytes(content)
    with pytest.raises(SystemExit, match=r"broken\.npz: must be a file of numpy's arrays"):
        train.main(["--data", str(tmp_path / "broken.npz")])


def test_images_are_varied_as_asked_for(tmp_path: Path) -> None:
    program(tmp_path)
    data_module: Any = sys.modules["train_data"]
    x = torch.rand(3, 16, 16)
    assert torch.equal(data_module.Varied("none")(x), x)
    torch.manual_seed(0)
    mirrored = [not torch.equal(data_module.Varied("flip")(x), x) for _ in range(100)]
    assert 30 < sum(mirrored) < 70
    places = set()
    spot = torch.zeros(3, 16, 16)
    spot[:, 8, 4] = 1
    for _ in range(300):
        y = data_module.Varied("standard")(spot)
        assert y.shape == x.shape and y.sum() == 3
        places.add(tuple(y[0].nonzero()[0].tolist()))
    assert places == {(r, c) for r in range(6, 11) for c in (*range(2, 7), *range(9, 14))}


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="RandAugment is torchvision's")
def test_rand_augment_keeps_shape_and_range(tmp_path: Path) -> None:
    program(tmp_path)
    y = sys.modules["train_data"].Varied("randaugment")(torch.rand(3, 16, 16))  # type: ignore[attr-defined]
    assert y.shape == (3, 16, 16) and 0 <= float(y.min()) <= float(y.max()) <= 1


def test_without_torchvision_rand_augment_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = program(tmp_path)
    monkeypatch.setitem(sys.modules, "torchvision.transforms", None)
    with pytest.raises(SystemExit, match="randaugment: needs torchvision: pip install torchvision"):
        train.main([*DIGITS, "--augment", "randaugment", "--out", str(tmp_path / "out")])


def test_channels_lie_last_in_memory_unless_the_network_views_them_as_one_axis_with_positions(tmp_path: Path) -> None:
    image, trainer = torch.zeros(3, 16, 16), program(tmp_path)
    plain = network()()

    class Viewing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen: torch.Tensor = plain(x.view(len(x), -1).view(x.shape))
            return seen

    assert trainer.layout_of(plain, image) == torch.channels_last
    assert trainer.layout_of(Viewing(), image) == torch.contiguous_format
    assert trainer.layout_of(plain, torch.zeros(7, 3)) == torch.contiguous_format, "no images"


def test_a_label_beyond_the_classes_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"--data: labels must be 0 … 4, but go from \d to \d"):
        program(tmp_path).main([*DIGITS, "--classes", "5", "--out", str(tmp_path / "out")])


def test_weights_are_tested_and_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = program(tmp_path)
    accuracy = train.main([*DIGITS, "--epochs", "2", "--out", str(tmp_path / "out")])
    assert train.main([*DIGITS, "--test-only", "--out", str(tmp_path / "out")]) == pytest.approx(accuracy)
    assert f"accuracy {accuracy:.2%}, one of the first five " in capsys.readouterr().out
    weights = tmp_path / "out/weights.pt"
    files = [weights]
    if importlib.util.find_spec("safetensors"):
        from safetensors.torch import save_file

        files.append(tmp_path / "w.safetensors")
        save_file(torch.load(weights, weights_only=True), files[-1])
    for number, file in enumerate(files):
        words = ["--epochs", "1", "--lr", "0.001", "--out", str(tmp_path / f"on{number}")]
        assert train.main([*DIGITS, *words, "--init", str(file)]) > accuracy - 0.02
    weights.write_bytes(b"broken")
    with pytest.raises(SystemExit, match=r"weights\.pt: must be weights of this network with 10 classes, but: "):
        train.main([*DIGITS, "--init", str(weights), "--out", str(tmp_path / "new")])
    other = tmp_path / "other.pt"
    torch.save({f"layer{number}.weight": torch.zeros(1) for number in range(200)}, other)
    with pytest.raises(SystemExit, match=r"must be weights of this network with 10 classes, but: .{1,200}$"):
        train.main([*DIGITS, "--init", str(other), "--out", str(tmp_path / "new")])
    with pytest.raises(SystemExit, match=r"nowhere\.pt: must be a file of weights, .* beside it are .*other"):
        train.main([*DIGITS, "--init", str(tmp_path / "nowhere.pt"), "--out", str(tmp_path / "new")])
    with pytest.raises(SystemExit, match=r"weights\.pt: must be a file of weights, .* Train first"):
        train.main([*DIGITS, "--test-only", "--out", str(tmp_path / "new")])


def test_trained_weights_are_tested_in_int8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the written file computes is what is told of it."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    train = program(tmp_path)
    accuracy = train.main([*DIGITS, "--epochs", "2", "--out", str(tmp_path / "out")])
    told = train.main([*DIGITS, "--test-only", "--int8", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out.splitlines()[-2:]
    assert said[0].startswith(f"accuracy {accuracy:.2%}, ") and said[1].startswith(f"int8 accuracy {told:.2%}, ")
    assert told > accuracy - 0.05
    session = onnxruntime.InferenceSession(tmp_path / "out/int8.onnx")
    _, test, _ = read("digits", size=16)
    right = [session.run(None, {"images": image[None].numpy()})[0].argmax() == label for image, label in test]
    assert np.mean(right) == pytest.approx(told)


def test_what_int8_needs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = program(tmp_path)
    with pytest.raises(SystemExit):
        train.main([*DIGITS, "--int8", "--out", str(tmp_path / "out")])
    assert "--int8 is for trained weights: add --test-only" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SystemExit, match=r"^--int8: needs onnx and onnxruntime: pip install onnx onnxruntime$"):
        train.quantized(nn.Identity(), [torch.zeros(1, 3, 4, 4)])
    monkeypatch.undo()
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    with pytest.raises(SystemExit, match=r"^--int8: this network cannot be quantized: "):
        train.quantized(nn.LPPool2d(2.0, 2), [torch.zeros(1, 3)])


def test_a_training_in_parts_is_the_training_in_one(tmp_path: Path) -> None:
    train = program(tmp_path)
    train.main([*DIGITS, "--epochs", "3", "--out", str(tmp_path / "whole")])
    parts = [*DIGITS, "--epochs", "3", "--out", str(tmp_path / "parts")]
    train.main([*parts, "--until", "1"])
    assert len(curve(tmp_path / "parts")) == 1
    train.main([*parts, "--until", "2", "--resume"])
    with pytest.raises(SystemExit, match=r"--epochs 2: last\.pt has 2 already"):
        train.main([*parts, "--until", "2", "--resume"])
    train.main([*parts, "--resume"])
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")


def test_weight_decay_may_be_for_weights_alone(tmp_path: Path) -> None:
    train = program(tmp_path)
    images = torch.utils.data.TensorDataset(torch.zeros(64, 1))
    for decay, expected in (("all", [(8, 4e-5)]), ("weights", [(3, 4e-5), (5, 0.0)])):
        trainer = train.Trainer(train.parse(["--data", "x", "--decay", decay]), network(), images, images, 10)
        groups = trainer.optimizer.param_groups
        assert [(len(group["params"]), group["weight_decay"]) for group in groups] == expected


def test_the_curve_is_written_for_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    program(tmp_path).main([*DIGITS, "--epochs", "1", "--log", "tensorboard", "--out", str(tmp_path / "out")])
    assert list((tmp_path / "out/tensorboard").glob("events.*"))


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
