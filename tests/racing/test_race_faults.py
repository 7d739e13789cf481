"""Races are killed on purpose, and have to find the same to the byte all the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT, kill, signal_group, workers_of
from tests.support.quick import leave_out_the_end
from tests.support.reliability import Injected
from vkdnw_search import search

pytest.importorskip("sklearn")
pytestmark = pytest.mark.fault

KILLS = 10
RECIPE: dict[str, Any] = {
    "space": {"use": "nasbench201", "cells": 1, "channels": 4, "resolution": 16},
    "score": "trainable_layers",
    "optimizer": {"use": "random", "children": 10},
    "stop": {"evaluations": 12},
    "executor": "inline",
    "finalists": 4,
}
RACE = ("--data", "digits", "--epochs", "4", "--networks", "5")
TRAINER = ("--", "--size", "8", "--batch", "64")
FILES = ("race.csv", "curves.csv", "race.json", "best/model.py", "best/architecture.json")
SAME = "trained on from the last epoch; table and curves are those of an undisturbed race, to the byte"
KILLER = """
import os, signal
from torch import nn


class Network(nn.Module):
    def __init__(self, num_classes=10):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        leave_out_the_end(patch)
        search(RECIPE, out=folder).close()
    return folder


@pytest.fixture(scope="module")
def undisturbed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("races") / "undisturbed"
    assert start(run, out, workers=1).wait(timeout=300) == 0, out.with_suffix(".stderr").read_text()
    return out


def start(run: Path, out: Path, *, workers: int, race: Sequence[str] = RACE) -> subprocess.Popen[str]:
    """A race in a process group of its own. What it says on stderr is kept beside its folder."""
    words = [str(run), *race, "--workers", str(workers), "--out", str(out), *TRAINER]
    with out.with_suffix(".stderr").open("a") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "vkdnw_search", "race", *words],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )


def epochs(out: Path) -> int:
    """The epochs that are over, of all networks."""
    return sum(max(file.read_text().count("\n") - 1, 0) for file in out.glob("networks/*/seed-*/curve.csv"))


def wait_for(out: Path, process: subprocess.Popen[str], *, beyond: int) -> None:
    while epochs(out) <= beyond:
        assert process.poll() is None, f"ended with {process.returncode}: {out.with_suffix('.stderr').read_text()}"
        time.sleep(0.01)


def assert_equal(disturbed: Path, undisturbed: Path) -> None:
    for name in FILES:
        assert (disturbed / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_ten_kills_of_a_race_with_two_workers_change_no_byte(
    tmp_path: Path, run: Path, undisturbed: Path, injected: Injected
) -> None:
    """Every third kill comes after a further epoch, so that they spread over the race; the others while it starts."""
    out, chance, kills = tmp_path / "race", random.Random(0), 0
    for number in range(KILLS):
        process = start(run, out, workers=2)
        if number % 3 == 2:
            wait_for(out, process, beyond=epochs(out))
            time.sleep(chance.uniform(0.0, 0.1))
        else:
            time.sleep(chance.uniform(0.0, 3.0))
        signal_group(process, signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == KILLS and not (out / "race.csv").exists(), "the race was over before the last of the kills"
    assert start(run, out, workers=2).wait(timeout=300) == 0
    assert_equal(out, undisturbed)
    injected("SIGKILL of all processes of a race, at random moments", kills, SAME)


def test_a_killed_workers_network_is_trained_on_and_one_that_kills_its_workers_is_given_up(
    tmp_path: Path, run: Path, undisturbed: Path, injected: Injected
) -> None:
    out, kills = tmp_path / "race", 0
    process = start(run, out, workers=2)
    while kills < 2:
        wait_for(out, process, beyond=epochs(out) + kills)
        kills += kill(workers_of(process)[0])
    assert process.wait(timeout=300) == 0
    assert_equal(out, undisturbed)
    injected("SIGKILL of one of two worker processes of a race", kills, f"replaced, its network {SAME}")

    killer = tmp_path / "killer.py"
    killer.write_text(KILLER)
    short = ("--data", "digits", "--epochs", "1", "--networks", "2", "--with", str(killer))
    assert start(run, tmp_path / "other", workers=1, race=short).wait(timeout=300) == 0
    last = (tmp_path / "other" / "race.csv").read_text().splitlines()[-1]
    assert "training it ended 3 worker processes, the last by signal 9" in last
    injected("a network that kills what trains it, three times", 1, "told with the reason; the race goes on")
