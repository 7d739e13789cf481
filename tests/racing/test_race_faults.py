"""Races are killed on purpose, and have to find the same to the byte all the same."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.processes import kill, signal_group, workers_of
from tests.support.reliability import Injected

pytest.importorskip("sklearn")
pytestmark = pytest.mark.fault

KILLS = 10
RACE = ("--data", "digits", "--epochs", "9", "--networks", "5")
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
def undisturbed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("races") / "undisturbed"
    assert start(run, out, workers=1).wait(timeout=300) == 0, out.with_suffix(".stderr").read_text()
    return out


def start(
    run: Path, out: Path, *, workers: int, race: Sequence[str] = RACE, before: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    """A race in a process group of its own. What it says on stderr is kept beside its folder."""
    words = ("race", str(run), *race, "--workers", str(workers))
    return processes.start(out, *words, after=TRAINER, before=before)


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


def test_a_full_disk_is_an_error_in_words_that_blames_no_network_and_the_race_goes_on_later(
    tmp_path: Path, run: Path, undisturbed: Path, injected: Injected
) -> None:
    """Checkpoints have some 180 kB, and what is written before them less than 100 kB."""
    out, limit = tmp_path / "race", (100_000, 100_000)
    full = start(run, out, workers=1, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert full.wait(timeout=300) == 1
    said = out.with_suffix(".stderr").read_text()
    assert "the same command continues" in said and "File too large" in said and "Traceback" not in said
    assert not (out / "race.csv").exists() and (out / "networks" / "00" / "model.py").exists()
    assert start(run, out, workers=2).wait(timeout=300) == 0
    assert_equal(out, undisturbed)
    injected("a disk that is full, in a race", 1, f"an error in words, exit code 1; {SAME}")
