"""Trainings of our own: the networks drawn, the images, one training, the shared work, the tables."""

from __future__ import annotations

import copy
import csv
import gzip
import itertools
import math
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from search_spaces.mobilenet_network import ConvBN
from search_spaces.mobilenet_structure import parse
from tests.benchmarks import trained_networks
from tests.benchmarks.trained import networks
from tests.benchmarks.trained.fast_layers import Depthwise, sped_up
from tests.benchmarks.trained.images import SHIFT, augmented, read_idx, read_images
from tests.benchmarks.trained.networks import (
    COUNTS,
    LAYERS,
    PARTS,
    SETTINGS,
    SPACE,
    Candidate,
    draw_networks,
    published,
)
from tests.benchmarks.trained.store import Plan, Training, WorkFolder
from tests.benchmarks.trained.tables import TOLD_APART, noise, partial_rho, summary, write_tables
from tests.benchmarks.trained.training import Outcome, Settings, train
from vkdnw_search.commands.main import main
from vkdnw_search.cost.counter import count, free_operators
from vkdnw_search.ranking.tables import read_csv

QUICK = Settings(batch=8, steps=3, warm_up=1)
ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "trained_mobilenet"


@pytest.fixture(scope="module")
def drawn() -> list[Candidate]:
    return draw_networks()


def idx(array: np.ndarray) -> bytes:
    head = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny Fashion-MNIST: the brighter an image, the higher its label."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for part, number in (("train", 40), ("t10k", 20)):
        labels = rng.integers(10, size=number)
        images = labels[:, None, None] * 20 + rng.integers(20, size=(number, 8, 8))
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            (tmp_path / "images" / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    return tmp_path / "images"


# --- the networks


def test_networks_are_many_different_canonical_and_within_their_limits(drawn: list[Candidate]) -> None:
    assert len(drawn) == sum(COUNTS.values()) + len(published()) >= 130
    assert len({n.key for n in drawn}) == len(drawn)
    assert [n.number for n in drawn] == list(range(len(drawn)))
    for n in drawn:
        assert parse(n.key).key == n.key
        assert SPACE.decode(SPACE.encode(parse(n.key))).key == n.key  # a search of the space can find it
        if n.group != "published":
            assert PARTS[n.part][0] <= n.flops < PARTS[n.part][1]
            assert n.layers <= LAYERS


def test_costs_are_those_of_the_whole_network(drawn: list[Candidate]) -> None:
    for n in drawn[:3]:
        cost = count(SPACE.build(parse(n.key)), SPACE.input_shape, free_operators=free_operators(SPACE))
        assert (n.flops, n.parameters) == (cost.flops, cost.parameters)


def test_the_same_seed_draws_the_same_networks_and_another_seed_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "COUNTS", {(group, "class"): 2 for group, _ in COUNTS})
    first, again, other = (draw_networks(seed) for seed in (0, 0, 1))
    assert first == again
    shared = {n.key for n in first} & {n.key for n in other}
    assert shared == {structure.key for structure in published().values()}


def test_a_third_of_every_group_is_held_out_and_a_quarter_is_trained_twice(drawn: list[Candidate]) -> None:
    assert sum(len(n.seeds) == 2 for n in drawn) >= 30
    for stratum in {(n.group, n.part) for n in drawn}:
        own = [n for n in drawn if (n.group, n.part) == stratum]
        assert sum(n.held_out for n in own) == pytest.approx(len(own) / 3, abs=1)
        assert sum(len(n.seeds) == 2 for n in own) == pytest.approx(len(own) / 4, abs=1)


def test_any_beginning_of_the_queue_is_a_balanced_sample(drawn: list[Candidate]) -> None:
    total = Counter((n.group, n.part) for n in drawn)
    for length in (30, 60, 100):
        begun = Counter((n.group, n.part) for n in drawn[:length])
        for stratum, number in total.items():
            assert begun[stratum] == pytest.approx(number * length / len(drawn), abs=1.5)


def test_rising_networks_rise_and_others_have_waists(drawn: list[Candidate]) -> None:
    def falls(n: Candidate) -> bool:
        structure = parse(n.key)
        widths = [structure.stem, *(b.out for b in structure.blocks)]
        return any(b < a for a, b in itertools.pairwise(widths))

    assert not any(falls(n) for n in drawn if n.group == "rising")
    assert all(any(falls(n) for n in drawn if n.group == group) for group in ("random", "any_width"))


# --- the images


def test_images_and_labels_are_read_as_they_are(folder: Path) -> None:
    images = read_images(folder)
    assert images.train.shape == (40, 8, 8)
    assert images.test.dtype == torch.uint8
    assert torch.equal(images.train_labels, (images.train.amin((1, 2)) // 20).long())


def test_absent_images_say_how_to_install_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="apt install dataset-fashion-mnist"):
        read_images(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0\0\x0d\x01\0\0\0\x01\0", idx(np.zeros(4))[:-1]])
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match="must be an IDX file"):
        read_idx(tmp_path / "x.gz")


def test_images_and_labels_must_be_equally_many(folder: Path) -> None:
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(39))))
    with pytest.raises(ValueError, match="n labels"):
        read_images(folder)


def test_augmentation_moves_and_mirrors_and_does_nothing_else() -> None:
    image = torch.arange(1, 26, dtype=torch.uint8).view(1, 5, 5)
    padded = functional.pad(image, (SHIFT,) * 4)[0]
    shifts = range(2 * SHIFT + 1)
    moved = [padded[i : i + 5, j : j + 5] for i in shifts for j in shifts]
    allowed = {tuple(m.flatten().tolist()) for view in moved for m in (view, view.flip(1))}
    made = augmented(image.expand(600, 5, 5), torch.Generator().manual_seed(0))
    assert {tuple(m.flatten().tolist()) for m in made} == allowed


def test_batches_are_standardised_and_every_pass_has_every_image(folder: Path) -> None:
    images = read_images(folder)
    generator = torch.Generator().manual_seed(0)
    batches = list(images.training_batches(batch=8, steps=10, resolution=16, generator=generator))
    labels = torch.cat([y for _, y in batches])
    for one_pass in labels.split(40):
        assert torch.equal(one_pass.sort().values, images.train_labels.sort().values)
    plain = replace(images, test=images.train, test_labels=images.train_labels)
    x = torch.cat([x for x, _ in plain.test_batches(batch=16, resolution=8)])
    assert x.shape == (40, 3, 8, 8)
    assert float(x.mean()) == pytest.approx(0, abs=1e-4)
    assert float(x.std()) == pytest.approx(1, abs=1e-3)


# --- one training


@pytest.mark.parametrize("side", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_fast_depthwise_convolution_is_pytorchs(side: int, kernel: int, stride: int) -> None:
    generator = torch.Generator().manual_seed(0)
    plain = torch.nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6, bias=False, dtype=torch.float64)
    fast = copy.deepcopy(plain)
    fast.__class__ = Depthwise
    x = torch.randn(4, 6, side, side, generator=generator, dtype=torch.float64)
    results = []
    for layer in (plain, fast):
        own = x.clone().requires_grad_()
        y = layer(own)
        results.append((y, *torch.autograd.grad((y**2).sum(), (own, layer.weight))))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_a_network_sped_up_has_the_same_gradients(drawn: list[Candidate]) -> None:
    torch.manual_seed(0)
    plain = SPACE.build(parse(drawn[0].key)).double().train()
    fast = sped_up(copy.deepcopy(plain))
    assert any(isinstance(module, Depthwise) for module in fast.modules())
    assert sum(isinstance(module, ConvBN) for module in fast.modules()) > 20
    x, labels = torch.randn(8, *SPACE.input_shape, dtype=torch.float64), torch.arange(8)
    for model in (plain, fast):
        functional.cross_entropy(model(x), labels).backward()
    for (name, expected), (_, found) in zip(plain.named_parameters(), fast.named_parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, atol=1e-7, rtol=1e-5, msg=name)


def test_the_learning_rate_rises_and_then_falls_to_nothing() -> None:
    settings = Settings(steps=100, warm_up=10, peak=0.5)
    rates = [settings.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == rates[9] == 0.5
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0)


def test_a_training_can_be_repeated_and_another_seed_gives_another(folder: Path, drawn: list[Candidate]) -> None:
    images, key = read_images(folder), drawn[2].key
    first, again, other = (train(key, seed, images, space=SPACE, settings=QUICK) for seed in (0, 0, 1))
    assert (first.accuracy, first.test_loss, first.train_loss) == (again.accuracy, again.test_loss, again.train_loss)
    assert first.test_loss != other.test_loss
    assert first.cpu_seconds > 0
    assert first.seconds > 0


def test_a_training_learns(folder: Path) -> None:
    images = read_images(folder)
    key = published()["MobileNetV2-like x0.35"].key
    settings = Settings(batch=20, steps=40, warm_up=4)
    outcome = train(
        key, 0, replace(images, test=images.train, test_labels=images.train_labels), space=SPACE, settings=settings
    )
    assert outcome.accuracy > 30  # chance: 10


def test_a_training_that_diverges_is_recorded_as_it_is(folder: Path, drawn: list[Candidate]) -> None:
    settings = replace(QUICK, peak=1e20, steps=8)
    outcome = train(drawn[2].key, 0, read_images(folder), space=SPACE, settings=settings)
    assert math.isnan(outcome.train_loss)
    assert 0 <= outcome.accuracy <= 100


# --- shared work


def some_plan(drawn: list[Candidate], number: int = 12) -> Plan:
    return Plan(tuple(drawn[:number]), SPACE, QUICK)


def done(network: Candidate, seed: int, accuracy: float = 50.0) -> Training:
    return Training(network.number, network.key, seed, Outcome(accuracy, 1.0, 1.0, 2.0, 1.5), "commit", "torch")


def test_every_training_is_in_the_queue_and_second_seeds_come_soon(drawn: list[Candidate]) -> None:
    jobs = Plan(tuple(drawn), SPACE, QUICK).jobs()
    assert sorted((n.number, seed) for n, seed in jobs) == [(n.number, s) for n in drawn for s in n.seeds]
    half = jobs[: len(jobs) // 2]
    pairs = Counter(n.number for n, _ in half)
    assert sum(number == 2 for number in pairs.values()) >= 12
    for network in (n for n in drawn if len(n.seeds) == 2):
        first, second = (jobs.index((network, seed)) for seed in network.seeds)
        assert 0 < second - first < 15


def test_two_that_share_a_folder_never_train_the_same(tmp_path: Path, drawn: list[Candidate]) -> None:
    plan = some_plan(drawn)
    one, two = (WorkFolder(tmp_path).claim(plan.jobs()) for _ in range(2))
    claimed = []
    for claims in itertools.chain.from_iterable(itertools.repeat((one, two), len(plan.jobs()))):
        job = next(claims, None)
        if job is not None:
            claimed.append(job)
            WorkFolder(tmp_path).record(done(*job))
    assert sorted((n.number, s) for n, s in claimed) == sorted((n.number, s) for n, s in plan.jobs())


def test_what_is_done_is_not_done_again(tmp_path: Path, drawn: list[Candidate]) -> None:
    plan = some_plan(drawn)
    folder = WorkFolder(tmp_path)
    for network, seed in plan.jobs()[:3]:
        folder.record(done(network, seed))
    assert [(n.number, s) for n, s in folder.claim(plan.jobs())] != []
    assert next(folder.claim(plan.jobs())) == plan.jobs()[3]


@pytest.mark.fault
def test_a_killed_process_lets_go_of_what_it_was_at(tmp_path: Path, drawn: list[Candidate]) -> None:
    plan = WorkFolder(tmp_path).open_plan(some_plan(drawn))
    program = (
        "import sys, time; from pathlib import Path; from tests.benchmarks.trained.store import WorkFolder\n"
        f"folder = WorkFolder(Path({str(tmp_path)!r}))\n"
        "for job in folder.claim(folder.plan().jobs()): print('at work', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"at work\n"
    first = plan.jobs()[0]
    assert next(WorkFolder(tmp_path).claim(plan.jobs())) != first
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    process.stdout.close()
    assert next(WorkFolder(tmp_path).claim(plan.jobs())) == first


def test_a_plan_is_read_as_it_was_written_and_another_is_refused(tmp_path: Path, drawn: list[Candidate]) -> None:
    folder = WorkFolder(tmp_path)
    with pytest.raises(FileNotFoundError, match="Train first"):
        folder.plan()
    plan = some_plan(drawn)
    assert folder.open_plan(plan) == plan
    assert folder.open_plan(plan) == folder.plan() == plan
    with pytest.raises(ValueError, match="must be the plan that this version draws"):
        folder.open_plan(some_plan(drawn, 7))


# --- the tables


def test_tables_hold_means_over_seeds_and_rank_reads_them(tmp_path: Path, drawn: list[Candidate]) -> None:
    plan = some_plan(drawn)
    twice = next(n for n in plan.networks if len(n.seeds) == 2)
    held = next(n for n in plan.networks if n.held_out)
    once = next(n for n in plan.networks if not n.held_out and n != twice)
    trainings = [done(twice, 0, 80.0), done(twice, 1, 81.0), done(held, 0, 70.0), done(once, 0, 60.0)]
    write_tables(tmp_path, plan, trainings)

    def canonical(text: str) -> str:
        return SPACE.parse(text).key

    tables = {name: read_csv(tmp_path / f"{name}.csv", canonical=canonical) for name in ("two_thirds", "held_out")}
    whole = read_csv(tmp_path / "trained_mobilenet.csv", canonical=canonical)
    known = dict(zip(whole.architectures, whole.column("fashion_mnist"), strict=True))
    assert known == {twice.key: 80.5, held.key: 70.0, once.key: 60.0}
    assert set(tables["held_out"].architectures) == {held.key}
    assert set(tables["two_thirds"].architectures) == {twice.key, once.key}
    assert list(whole.column("flops")) == [n.flops for n in plan.networks if n.key in known]
    with (tmp_path / "networks.csv").open() as file:
        assert [row["arch"] for row in csv.DictReader(file)] == [n.key for n in plan.networks]
    with (tmp_path / "trainings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(int(r["network"]), int(r["seed"]), float(r["accuracy"])) for r in rows] == [
        (t.network, t.seed, t.outcome.accuracy) for t in trainings
    ]
    assert "steps=3" in rows[0]["settings"]


def test_a_training_of_another_plan_is_refused(tmp_path: Path, drawn: list[Candidate]) -> None:
    with pytest.raises(ValueError, match="is no network of the plan"):
        write_tables(tmp_path, some_plan(drawn, 3), [done(drawn[3], 0)])
    assert not (tmp_path / "trainings.csv").exists()


def test_noise_is_the_deviation_between_seeds() -> None:
    assert noise([(80.0, 82.0), (90.0, 90.0)]) == pytest.approx(1.0)  # variances 2 and 0
    pairs = np.random.default_rng(0).normal(scale=0.5, size=(4000, 2)).tolist()
    assert noise(pairs) == pytest.approx(0.5, rel=0.05)
    assert np.mean([abs(a - b) < TOLD_APART * 0.5 for a, b in pairs]) == pytest.approx(0.95, abs=0.02)


def test_the_summary_says_what_is_known(drawn: list[Candidate]) -> None:
    plan = Plan(tuple(drawn), SPACE, QUICK)
    assert summary(plan, []) == f"0 of {len(plan.jobs())} trainings, 0 of {len(drawn)} networks"
    trainings = [done(n, seed, 70 + n.flops / 1e6 + (seed - 0.5) * (len(n.seeds) - 1)) for n, seed in plan.jobs()]
    text = summary(plan, trainings)
    assert "flops 1.000" in text
    assert "standard deviation between seeds 0.71 points" in text
    assert "ZiCo-600M x0.5" in text


# --- what was collected


def rows_of(name: str) -> list[dict[str, str]]:
    with (DATA / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_collected_tables_are_of_one_set_of_networks() -> None:
    networks = {row["arch"]: row for row in rows_of("networks")}
    assert len(networks) == sum(COUNTS.values()) + len(published())
    split = [(row["arch"], held) for held, name in (("0", "two_thirds"), ("1", "held_out")) for row in rows_of(name)]
    assert all(networks[arch]["held_out"] == held for arch, held in split)
    assert sorted(arch for arch, _ in split) == sorted(row["arch"] for row in rows_of("trained_mobilenet"))


def test_collected_accuracies_are_the_means_of_all_collected_trainings() -> None:
    accuracies: dict[str, list[float]] = {}
    for row in rows_of("trainings"):
        accuracies.setdefault(row["arch"], []).append(float(row["accuracy"]))
        assert float(row["cpu_seconds"]) > 0
        assert len(row["commit"]) == 40
    collected = read_csv(DATA / "trained_mobilenet.csv", canonical=lambda text: SPACE.parse(text).key)
    assert set(collected.architectures) == set(accuracies)
    for arch, found, flops in zip(
        collected.architectures, collected.column("fashion_mnist"), collected.column("flops"), strict=True
    ):
        assert found == pytest.approx(np.mean(accuracies[arch]), abs=1e-3)
        assert flops == networks.cost_of(parse(arch)).flops


def test_the_collected_table_is_ranked_by_the_command_of_its_readme(tmp_path: Path) -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    assert SETTINGS in readme
    words = ["rank", "mobilenet", *SETTINGS.split(), "--accuracies", str(DATA / "two_thirds.csv")]
    assert main([*words, "--proxies", "flops", "--no-figures", "-q", "--out", str(tmp_path / "study")]) == 0
    assert "fashion_mnist" in (tmp_path / "study" / "table.csv").read_text(encoding="utf-8")


# --- the command


def test_the_command_trains_continues_and_collects(
    tmp_path: Path,
    folder: Path,
    drawn: list[Candidate],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Settings, "of", staticmethod(lambda steps: replace(QUICK, steps=steps)))
    monkeypatch.setattr(trained_networks, "draw_networks", lambda: drawn)
    words = ["--out", str(tmp_path / "work"), "--images", str(folder), "--steps", "3"]
    trained_networks.main([*words, "--most", "1"])
    trained_networks.main([*words, "--most", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("/")[0] for line in lines] == ["1", "2", "3"]
    trained_networks.main(["--out", str(tmp_path / "work"), "--collect", str(tmp_path / "data")])
    assert "3 of " in capsys.readouterr().out
    assert len(read_csv(tmp_path / "data" / "trained_mobilenet.csv")) == 3


def test_networks_of_ones_own_are_trained_from_two_seeds(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Settings, "of", staticmethod(lambda steps: replace(QUICK, steps=steps)))
    key = published()["initial x0.35"].key
    own = tmp_path / "own.txt"
    own.write_text(f"the winner {key}\n")
    words = ["--out", str(tmp_path / "work"), "--images", str(folder), "--networks", str(own), "--steps", "2"]
    trained_networks.main(words)
    assert [(t.key, t.seed) for t in WorkFolder(tmp_path / "work").trainings()] == [(key, 0), (key, 1)]
    assert "the winner" in capsys.readouterr().out
    assert WorkFolder(tmp_path / "work").plan().settings.steps == 2
    own.write_text("the winner SuperConv\n")
    with pytest.raises(SystemExit):
        trained_networks.main(words)
    assert "own.txt, line 1" in capsys.readouterr().err


def test_a_correlation_at_equal_depth_is_that_of_what_depth_leaves() -> None:
    """Of normal numbers: x = z + a and y = z + b have ρ 0 once z is held; x = z + a and y = a − z are one in a."""
    rng = np.random.default_rng(0)
    z, a, b = rng.normal(size=(3, 20_000))
    assert abs(partial_rho(z + a, z + b, z)) < 0.05
    assert partial_rho(z + a, a - z, z) > 0.9
    assert partial_rho(z + a, b, z) == pytest.approx(0, abs=0.05)
    assert math.isnan(partial_rho(z, a, z))


def test_without_images_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        trained_networks.main(["--out", str(tmp_path / "work"), "--images", str(tmp_path)])
    assert stop.value.code == 2
    assert "apt install dataset-fashion-mnist" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()
