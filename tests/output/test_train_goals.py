"""What train.py learns: that follows from the targets, and its loss and measure are those of the textbook."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from vkdnw_search.errors import RaceError
from vkdnw_search.output.templates import train, train_data
from vkdnw_search.racing.training import TrainingTask, train_network

N, C, H, W = 6, 4, 5, 3


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def measured(goal: train.Goal, outputs: Tensor, targets: Tensor) -> list[float]:
    """As over a test set of two batches."""
    sums = sum(goal.sums(outputs[part], targets[part]).double() for part in (slice(0, 4), slice(4, None)))
    return goal.measures(torch.as_tensor(sums)).tolist()


def test_a_whole_number_is_a_class_of_an_image() -> None:
    goal, logits, labels = train.goal_of(3, None, 0.0), drawn(N, 8), torch.arange(N)
    assert goal.curve == train.CURVE and "class of each image" in goal.words
    own = logits.softmax(dim=1)[torch.arange(N), labels]
    assert float(goal.loss(logits, labels)) == pytest.approx(float(-own.log().mean()))
    places = (logits > logits[torch.arange(N), labels][:, None]).sum(dim=1)
    expected = [float((places < k).double().mean()) for k in (1, 5)]
    assert measured(goal, logits, labels) == pytest.approx(expected)


def test_a_mask_is_a_class_of_each_pixel() -> None:
    logits, masks = drawn(N, C, H, W), torch.arange(N * H * W).view(N, H, W) % C
    goal = train.goal_of(masks[0], None, 0.0)
    losses = [
        -logits[n, :, y, x].log_softmax(dim=0)[masks[n, y, x]] for n in range(N) for y in range(H) for x in range(W)
    ]
    right = [int(logits[n, :, y, x].argmax()) == masks[n, y, x] for n in range(N) for y in range(H) for x in range(W)]
    assert "class of each pixel" in goal.words
    assert float(goal.loss(logits, masks)) == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)
    assert measured(goal, logits, masks)[0] == pytest.approx(sum(map(float, right)) / len(right))


def logits_of(classes: Tensor) -> Tensor:
    """(N, …) → (N, C, …): outputs that say these classes."""
    return nn.functional.one_hot(classes, C).movedim(-1, 1).float()


def test_the_mean_of_intersection_over_union_is_of_the_whole_test_set_and_of_classes_that_occur() -> None:
    masks = torch.tensor([[[0, 0, 0, 1]]] * 4 + [[[0, 0, 0, 0]], [[1, 1, 0, 0]]])
    outputs = torch.tensor([[[0, 0, 0, 0]]] * 4 + [[[0, 0, 0, 3]], [[1, 1, 1, 0]]])
    goal = train.goal_of(masks[0], None, 0.0)
    # class 0: of 18 pixels 12 + 3 + 1 are found, 4 others too; class 1: of 6 pixels 2, 1 other; 2: none; 3: 1 other
    miou = (16 / (18 + 4) + 2 / (6 + 1) + 0 / 1) / 3
    assert measured(goal, logits_of(outputs), masks) == pytest.approx([18 / 24, miou])
    assert measured(goal, logits_of(masks), masks) == [1, 1]
    background = measured(goal, logits_of(torch.zeros_like(masks)), masks)
    assert background == pytest.approx([18 / 24, 18 / 24 / 2]), "what learned the background alone is not half as good"


def test_classes_of_pixels_are_told_with_their_mean_intersection_over_union(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = torch.arange(8 * H * W).view(8, H, W) % C
    last = trainer(tmp_path, masks).run()
    told, *epochs = capsys.readouterr().out.splitlines()
    assert told.endswith("accuracy is the share of pixels, mIoU the mean of intersection over union over classes")
    (_, row) = csv.DictReader((tmp_path / "curve.csv").read_text().splitlines())
    assert list(row) == ["epoch", "lr", "loss", "accuracy", "ema_accuracy", "ema_miou", "seconds"]
    said = f"{float(row['ema_accuracy']):.2%}, mIoU {float(row['ema_miou']):.2%}"
    assert f"  EMA {said}  " in epochs[1]
    assert trainer(tmp_path, masks, "--test-only").tested() == pytest.approx(last)
    assert capsys.readouterr().out == f"accuracy {said}, of 8 images\n"


def test_numbers_have_a_mean_squared_error_and_the_share_of_their_variance_that_is_explained() -> None:
    outputs, numbers = drawn(N, C, H, W), 3 + 2 * drawn(N, C, W, H).transpose(2, 3)
    goal = train.goal_of(numbers[0], None, 0.1)
    errors = ((outputs - numbers) ** 2).mean()
    assert "mean squared error" in goal.words and goal.curve[3:5] == ("r2", "ema_r2")
    assert float(goal.loss(outputs, numbers)) == pytest.approx(float(errors))
    assert measured(goal, outputs, numbers) == pytest.approx([float(1 - errors / numbers.var(correction=0))], rel=1e-4)
    assert measured(goal, numbers, numbers) == pytest.approx([1.0])


def test_numbers_are_answers_only_if_that_is_asked_for() -> None:
    logits, answers = drawn(N, C), (drawn(N, C + 1)[:, :C] > 0).float()
    goal = train.goal_of(answers[0], "bce", 0.1)
    p = logits.sigmoid()
    expected = -(answers * p.log() + (1 - answers) * (1 - p).log()).mean()
    assert "answers" in goal.words and float(goal.loss(logits, answers)) == pytest.approx(float(expected), rel=1e-5)
    assert measured(goal, logits, answers) == pytest.approx([float(((p > 0.5).float() == answers).double().mean())])
    with pytest.raises(SystemExit, match="--loss bce: is for float targets"):
        train.goal_of(torch.tensor(1), "bce", 0.1)


def trainer(folder: Path, targets: Tensor, *words: str) -> Any:
    """Of a convolution, for images of noise with these targets."""
    options = train.parse(["--data", "x", "--epochs", "2", "--batch", "4", "--out", str(folder), *words])
    data: Any = TensorDataset(drawn(len(targets), 3, H, W), targets)
    return train.Trainer(options, lambda num_classes: nn.Conv2d(3, num_classes, 1), data, data, C)


def test_numbers_are_trained_for_told_and_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    targets = drawn(8, C, H, W)
    trainer(tmp_path, targets, "--until", "1").run()
    last = trainer(tmp_path, targets, "--resume").run()
    told = capsys.readouterr().out.splitlines()
    assert told[0] == told[2] == "learning numbers: mean squared error, r2 is 1 less its share of the targets' variance"
    assert told[1].startswith("epoch 1/2  loss ") and "  r2 " in told[1]
    rows = list(csv.DictReader((tmp_path / "curve.csv").read_text().splitlines()))
    assert list(rows[0]) == ["epoch", "lr", "loss", "r2", "ema_r2", "seconds"]
    assert [row["epoch"] for row in rows] == ["1", "2"] and float(rows[1]["ema_r2"]) == last
    assert trainer(tmp_path, targets, "--test-only").tested() == pytest.approx(last)
    assert capsys.readouterr().out == f"r2 {last:.4f}, of 8 images\n"


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.zeros(8, C, H, W - 1), r"must have the shape \(4, 4, 5, 3\) for .*, but have \(4, 4, 5, 2\)"),
        (torch.zeros(8, H, dtype=torch.long), r"must have the shape \(4, 5, 3\) for .*, but have \(4, 5\)"),
        (torch.full((8, H, W), C), "labels must be 0 … 3, but go from 4 to 4"),
    ],
)  # fmt: skip
def test_targets_that_do_not_fit_the_outputs_are_told(tmp_path: Path, targets: Tensor, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        trainer(tmp_path, targets).run()


def test_the_outputs_of_a_network_for_numbers_are_as_many_as_the_targets_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "import torch\ndef pairs():\n    data = torch.utils.data.TensorDataset(torch.zeros(2, 3), torch.zeros(2, 7))\n"
    )
    (tmp_path / "of_numbers.py").write_text(text + "    return data, data\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert train_data.read("of_numbers:pairs", size=8)[2] == 7


def test_a_race_is_of_classes_of_images_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = "torch.utils.data.TensorDataset(torch.zeros(4, 3, 4, 4), torch.zeros(4, 4, 4, dtype=torch.long))"
    (tmp_path / "of_masks.py").write_text(f"import torch\ndef pairs():\n    return {pairs}, {pairs}\n")
    (tmp_path / "model.py").write_text(
        "from torch import nn\ndef Network(num_classes):\n    return nn.Conv2d(3, 2, 1)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ("--data", "of_masks:pairs", "--classes", "2", "--size", "4", "--epochs", "1")
    task = TrainingTask(module=tmp_path / "model.py", folder=tmp_path / "out", words=words, until=1, seed=0)
    with pytest.raises(RaceError, match=r"must have a class for each image, .* but has a class of each pixel\. Train"):
        train_network(task)
