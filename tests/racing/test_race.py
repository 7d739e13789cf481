"""Whole races, of tiny networks on the digits of scikit-learn."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import vkdnw_search
from search_spaces.stages import Stages
from tests.support.quick import leave_out_the_end
from tests.support.races import RECIPE, WORDS, raced, unchecked
from vkdnw_search import Race, search
from vkdnw_search.commands.main import main
from vkdnw_search.errors import RaceError, RunFolderError
from vkdnw_search.output.templates import train
from vkdnw_search.racing import training
from vkdnw_search.racing.entrants import Entrant, shortlist
from vkdnw_search.racing.race import Plan, _own_size, _words
from vkdnw_search.runs.reader import RunReader
from vkdnw_search.runs.result import unvisited

pytest.importorskip("sklearn")

FILES = ("race.csv", "curves.csv", "race.json", "best/model.py", "best/architecture.json")
OWN = """
from torch import nn


class Network(nn.Sequential):
    def __init__(self, num_classes=10):
        super().__init__(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.LazyLinear(num_classes))
        import torch
        self(torch.zeros(2, 3, 8, 8))
"""


@pytest.fixture(scope="module")
def whole(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Race:
    with unchecked():
        found = raced(run, tmp_path_factory.mktemp("races") / "race")
    assert found is not None
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_the_shortlist_is_winner_finalists_and_trivial_choices(run: Path) -> None:
    with RunReader(run) as visited:
        judged = visited.judgement
        assert judged is not None
        baselines = {b.role: b.number for b in judged.baselines}
        entrants = shortlist(visited, networks=5)
        assert entrants[0].roles[0] == "winner" and entrants[0].name == f"network {judged.winner}"
        assert len(entrants) <= 5 and len({e.key for e in entrants}) == len(entrants)
        for role in ("most FLOPs", "first random"):
            assert [e.name for e in entrants if role in e.roles] == [f"network {baselines[role]}"]
        assert len(shortlist(visited, networks=99)) == len(visited.ranked), "the next by score fill up"
        with pytest.raises(RaceError, match="a race needs two networks, but there is one"):
            shortlist(visited, networks=1)


def test_the_winner_of_each_band_races_before_the_other_finalists(tmp_path: Path) -> None:
    search({**RECIPE, "bands_of": "layers", "bands": [11, 14, 23]}, out=tmp_path / "run").close()
    with RunReader(tmp_path / "run") as visited:
        found = {edge: e.number for edge, e in visited.bands if e is not None}
        roles = {entrant.name: entrant.roles[0] for entrant in shortlist(visited, networks=len(found) + 2)}
        assert visited.judgement is not None
        expected = {f"network {number}": f"best up to {edge} layers" for edge, number in found.items()}
        assert roles == {**roles, **expected, f"network {visited.judgement.winner}": "winner"}
        assert len(found) > 1


def test_the_best_learns_longest_and_its_module_and_weights_are_left(whole: Race) -> None:
    assert [rung.epochs for rung in whole.rungs] == [1, 3]
    assert [len(r.accuracies) for r in whole.racers[:3]] == [2, 2, 1]
    assert whole.winner.accuracy == max(r.accuracy for r in whole.racers if len(r.accuracies) == 2) > 0.5
    folder = whole.folder
    network = training.network_class(folder / "best" / "model.py")(num_classes=10)
    assert whole.weights == folder / "best" / "weights.safetensors"
    network.load_state_dict(load_file(whole.weights))
    _, test, classes = training.read_data("digits", (8, 8), 3, None, None)
    images, labels = (torch.stack(column) for column in zip(*test, strict=True))
    with torch.no_grad():
        right = network.eval()(images).argmax(dim=1) == labels
    assert classes == 10 and float(right.double().mean()) == pytest.approx(whole.winner.accuracy)
    assert (right.numpy() == whole.winner.right[0]).all()
    lines = (folder / "curves.csv").read_text().splitlines()
    assert len(lines) == 1 + sum(whole.epochs(r) for r in whole.racers)
    assert whole.plot().axes


def test_networks_see_the_same_images_and_one_alone_trains_the_same(whole: Race, tmp_path: Path) -> None:
    """By the exported train.py, as its user would: the curve is that of the race."""
    place = whole.winner.folder
    for name in ("model.py", "train.py", "train_data.py", "architecture.json"):
        shutil.copy(place / name, tmp_path / name)
    network = training.network_class(tmp_path / "model.py")
    options = train.parse(["--data", "digits", "--epochs", "3", *WORDS, "--out", str(tmp_path / "out")])
    train.Trainer(options, network, *training.read_data("digits", (8, 8), 3, None, None)).run()
    curves = [
        [{n: v for n, v in row.items() if n != "seconds"} for row in training.curve(folder)]
        for folder in (tmp_path / "out", place / "seed-0")
    ]
    assert curves[0] == curves[1]


def test_a_race_that_was_cut_off_goes_on_to_the_same(
    run: Path, whole: Race, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = train.Trainer.save, []

    def cut_off(self: Any) -> None:
        save(self)
        saved.append(self)
        raise KeyboardInterrupt

    epochs = sum(whole.epochs(r) for r in whole.racers)
    for _ in range(epochs):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(train.Trainer, "save", cut_off)
            raced(run, tmp_path / "race")
    assert len(saved) == epochs >= 8
    assert raced(run, tmp_path / "race") is not None
    assert content(tmp_path / "race") == content(whole.folder)
    monkeypatch.setattr(train.Trainer, "epoch", None)
    assert raced(run, tmp_path / "race") is not None, "nothing is trained twice"
    assert content(tmp_path / "race") == content(whole.folder)


def test_a_race_that_is_asked_to_stop_says_so_and_keeps_what_it_has(run: Path, whole: Race, tmp_path: Path) -> None:
    looks = iter([False, False, True])
    assert raced(run, tmp_path / "race", stopped=lambda: next(looks, True)) is None
    assert not (tmp_path / "race" / "race.csv").exists()
    assert raced(run, tmp_path / "race") is not None
    assert content(tmp_path / "race") == content(whole.folder)


def test_networks_of_ones_own_race_too_and_what_cannot_be_trained_is_told(run: Path, tmp_path: Path) -> None:
    own, broken = tmp_path / "own.py", tmp_path / "broken.py"
    own.write_text(OWN)
    broken.write_text(
        OWN.replace("nn.LazyLinear(num_classes)", "nn.Linear(7, num_classes)").replace("self(torch", "(torch")
    )
    cell = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|none~2|"
    plan = Plan(data="digits", epochs=1, words=WORDS, seeds=2)
    found = raced(run, tmp_path / "race", plan, networks=2, others=[str(own), str(broken), cell])
    assert found is not None
    by_name = {r.name: r for r in found.racers}
    assert by_name[str(own)].roles == ("yours",) and by_name[str(own)].score is None
    with RunReader(run) as visited:
        written = visited.space.parse(cell).key
    assert len(by_name[written].accuracies[0]) == 2 and by_name[written].flops
    assert found.racers[-1].name == str(broken) and "shapes cannot be multiplied" in found.racers[-1].reason


def test_who_is_out_does_not_come_back_for_one_that_fails_later(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three in the second rung two fail: one goes to the end, and who was left out before stays out."""
    trained = training.train_network
    failed: set[Path] = set()

    def sometimes(task: training.TrainingTask) -> training.TrainingOutcome:
        if task.until == 2 and len(failed) < 2:
            failed.add(task.folder)
        return training.TrainingOutcome(None, "lost") if task.folder in failed else trained(task)

    monkeypatch.setattr("vkdnw_search.racing.race.train_network", sometimes)
    plan = Plan(data="digits", epochs=4, keep=0.5, words=WORDS)
    found = raced(run, tmp_path / "race", plan, networks=6)
    assert found is not None and len(failed) == 2
    assert [rung.epochs for rung in found.rungs] == [1, 2, 4]
    begun, second, _ = (rung.networks for rung in found.rungs)
    assert second == 3 < begun
    assert [len(r.accuracies) for r in found.racers if not r.reason] == [3, *[1] * (begun - second)]
    assert [r.reason for r in found.racers[-2:]] == ["lost", "lost"]


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        ({"data": "nowhere"}, {}, "--data nowhere: must be `digits`, a folder .*, but is not there"),
        ({"data": "nosuch:module"}, {}, "must be a function of a module here or installed"),
        ({"words": (*WORDS, "--epochs=9")}, {}, "must not have --epochs, which the race sets"),
        ({"words": (*WORDS, "--seed", "3")}, {}, "must not have --seed, which the race sets"),
        ({}, {"others": ["nowhere.py"]}, "--with nowhere.py: must be a Python file, but there is none"),
        ({}, {"others": ["|what~0|"]}, "--with: must be resnet, a Python file or an architecture of nasbench201"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    run: Path, tmp_path: Path, change: Any, more: Any, message: str
) -> None:
    plan = Plan(**{"data": "digits", "epochs": 1, "words": WORDS, **change})
    with pytest.raises(RaceError, match=message):
        raced(run, tmp_path / "race", plan, **more)
    assert not (tmp_path / "race").exists()


def test_another_folder_or_another_race_is_refused(run: Path, whole: Race, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(RaceError, match="must be empty, or hold a race to continue"):
        raced(run, tmp_path)
    shutil.copytree(whole.folder, tmp_path / "race")
    with pytest.raises(RaceError, match="holds another race: its seeds are not the same, 1 there and 2 here"):
        raced(run, tmp_path / "race", Plan(data="digits", epochs=3, words=WORDS, seeds=2))
    with pytest.raises(
        RaceError, match=r"its training is `--data digits --epochs 3 .*`, not `--data digits --epochs 4 "
    ):
        raced(run, tmp_path / "race", Plan(data="digits", epochs=4, words=WORDS))
    (tmp_path / "race" / "race.json").write_text("[")
    with pytest.raises(RaceError, match=r"race\.json is not as it was written"):
        raced(run, tmp_path / "race")


def test_a_broken_checkpoint_is_named(run: Path, tmp_path: Path) -> None:
    looks = iter([False, True])
    assert raced(run, tmp_path / "race", stopped=lambda: next(looks, True)) is None
    place = tmp_path / "race" / "networks" / "00" / "seed-0"
    (place / "last.pt").write_bytes(b"broken")
    (place / "right-1.pt").unlink()
    with pytest.raises(
        RaceError, match=r"last\.pt: must be as it was written, but cannot be read: .*Take the folder seed-0"
    ):
        raced(run, tmp_path / "race")
    shutil.rmtree(place)
    assert raced(run, tmp_path / "race") is not None


def test_a_run_that_has_not_ended_is_refused(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        leave_out_the_end(patch)
        looks = iter([False] * 5)
        search(RECIPE, out=tmp_path / "run", stopped=lambda: next(looks, True)).close()
    with pytest.raises(RaceError, match="must be a run that has ended with a winner"):
        raced(tmp_path / "run", tmp_path / "race")


@pytest.mark.parametrize("option", [{"epochs": 0}, {"rungs": 0}, {"seeds": 0}, {"keep": 0.0}, {"keep": 2.0}])
def test_options_out_of_bounds_are_refused(option: Any) -> None:
    with pytest.raises(RaceError, match=f"{next(iter(option))}: must be"):
        Plan(**{"data": "digits", **option})


def test_the_command_and_the_function_run_the_same_race_on_two_workers(
    run: Path, whole: Race, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["race", str(run), "--data", "digits", "--epochs", "3", "--networks", "5", "--workers", "2"]
    assert main([*words, "--out", str(tmp_path / "race"), "--", *WORDS]) == 0
    shown = capsys.readouterr()
    assert "rung 1 of 2" in shown.err and "race.csv" in shown.out and " 1  " in shown.out
    assert content(tmp_path / "race") == content(whole.folder)
    assert (tmp_path / "race" / "race.png").stat().st_size > 5000
    found = vkdnw_search.race(run, "digits", epochs=3, networks=5, workers=1, words=WORDS, out=tmp_path / "race")
    assert found.to_csv() == whole.to_csv()
    with pytest.raises(RunFolderError):
        vkdnw_search.race(tmp_path / "nowhere", "digits")


@pytest.mark.parametrize(
    "words", [["--keep", "0"], ["--keep", "x"], ["--epochs", "0"], ["--", "--nosuch"], ["--", "--batch"]]
)
def test_words_that_are_no_options_end_with_usage(run: Path, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["race", str(run), "--data", "digits", "--out", str(tmp_path / "race"), *words])
    assert stop.value.code == 2 and not (tmp_path / "race").exists()


def test_the_plan_is_told_in_the_folder(whole: Race) -> None:
    plan = json.loads((whole.folder / "race.json").read_text())
    assert plan["training"] == ["--data", "digits", "--epochs", "3", *WORDS]
    assert plan["test_images"] == 360 and plan["classes"] == 10


@pytest.mark.parametrize(
    ("data", "shape", "expected"),
    [
        ("x", (3, 224, 224), ["--size", "224"]),  # as in the folders of earlier races
        ("x", (1, 32, 48), ["--size", "32,48", "--channels", "1"]),
        ("digits", (4, 16, 16), ["--size", "32", "--channels", "4"]),
    ],
)
def test_images_of_a_race_are_those_of_the_run(data: str, shape: Any, expected: list[str], tmp_path: Path) -> None:
    visited: Any = SimpleNamespace(space=SimpleNamespace(input_shape=shape))
    assert _words(Plan(data=data, epochs=2), visited, tmp_path) == ("--data", data, "--epochs", "2", *expected)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Plan(data="x", epochs=2), [("--size", "16"), ("--size", "24"), ()]),
        (Plan(data="x", epochs=2, words=("--size", "8")), [(), (), ()]),
        (Plan(data="digits", epochs=2), [(), (), ()]),
    ],
)
def test_a_network_with_images_of_a_size_of_its_own_is_trained_on_them(
    plan: Plan, expected: Any, tmp_path: Path
) -> None:
    space = Stages(resolutions=(16, 24), stages=("ds_r1_k3_s1_c8/16",))
    sources = [*(unvisited(space, space.decode((index, 0))) for index in (0, 1)), Path("mine.py")]
    assert [_own_size(Entrant("n", (), source, None), plan, tmp_path) for source in sources] == expected
