"""Runs are killed, stopped, starved and misled on purpose, and have to find the same to the byte all the same."""

from __future__ import annotations

import random
import resource
import signal
import time
from pathlib import Path

import pytest

from tests.faulty_plugin import EVERY, FAULTS, fault_of
from tests.sittings import (
    SMALL,
    assert_equal,
    finish,
    kill,
    rows,
    signal_group,
    start,
    visited,
    wait_for,
    workers_of,
)
from vkdnw_search.seeding import seed_from

pytestmark = pytest.mark.fault

KILLS = 30
INLINE = "executor=inline"
TWO = "executor={use: processes, workers: 2}"
LENGTH = "stop.evaluations=600"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that all others have to equal."""
    out = tmp_path_factory.mktemp("faults") / "undisturbed"
    finish(out, *SMALL, LENGTH, INLINE)
    return out


def test_thirty_kills_of_the_whole_process_group_change_no_byte(tmp_path: Path, undisturbed: Path) -> None:
    """Two of three kills come after progress, so that they spread over the run; the others at any moment."""
    out, chance = tmp_path / "run", random.Random(0)
    for number in range(KILLS):
        process = start(out, *SMALL, LENGTH, INLINE)
        if number % 3:
            wait_for(out, process, beyond=visited(out))
            time.sleep(chance.uniform(0.0, 0.1))
        else:
            time.sleep(chance.uniform(0.0, 5.0))
        signal_group(process, signal.SIGKILL)
        process.wait()
    finish(out, *SMALL, LENGTH, INLINE)
    assert_equal(out, undisturbed)


def test_of_two_workers_one_is_killed_thirty_times_and_no_byte_changes(tmp_path: Path, undisturbed: Path) -> None:
    out, chance = tmp_path / "run", random.Random(1)
    process = start(out, *SMALL, LENGTH, TWO)
    count = 0
    for _ in range(KILLS):
        count = wait_for(out, process, beyond=count + 2)
        time.sleep(chance.uniform(0.0, 0.1))
        kill(chance.choice(workers_of(process)))
    assert process.wait(timeout=300) == 0
    assert_equal(out, undisturbed)


@pytest.mark.parametrize(
    ("number", "executor"),
    [(signal.SIGTERM, INLINE), (signal.SIGTERM, TWO), (signal.SIGINT, INLINE), (signal.SIGINT, TWO)],
)
def test_a_signal_to_the_group_ends_the_run_cleanly_and_it_goes_on(
    tmp_path: Path, undisturbed: Path, number: int, executor: str
) -> None:
    out = tmp_path / "run"
    process = start(out, *SMALL, LENGTH, executor)
    wait_for(out, process, beyond=40)
    signal_group(process, number)
    assert process.wait(timeout=120) == 128 + number
    said = out.with_suffix(".stderr").read_text()
    assert "finishing the candidates under way" in said and "Traceback" not in said
    assert 40 < visited(out) < 600
    assert (out / "results.csv").read_text().count("\n") == visited(out) + 1
    finish(out, *SMALL, LENGTH, INLINE)
    assert_equal(out, undisturbed)


def test_a_full_disk_is_an_error_in_words_and_the_run_goes_on_later(tmp_path: Path, undisturbed: Path) -> None:
    out = tmp_path / "run"
    said = finish(
        out, *SMALL, LENGTH, INLINE, expected=1,
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )  # fmt: skip
    assert "the same command continues the run" in said and "Traceback" not in said
    assert 0 < visited(out) < 600
    finish(out, *SMALL, LENGTH, INLINE)
    assert_equal(out, undisturbed)


def test_candidates_that_hang_exhaust_memory_kill_or_are_no_number_are_recorded_and_the_run_goes_on(
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    finish(
        out, "nb201", "--plugin", str(Path(__file__).with_name("faulty_plugin.py")), "score=faulty", "finalists=0",
        "optimizer=random", "stop.evaluations=60", "executor={use: processes, workers: 2, seconds: 8, memory: 1200M}",
    )  # fmt: skip
    reasons = {
        "hangs": "took more than the 8 seconds allowed",
        "exhausts": "took more than the 1,144 MiB of memory allowed",
        "dies": "scoring it ended 3 worker processes, the last by signal 9; out of memory is a common cause",
        "nan": "the score is nan",
        "inf": "the score is inf",
        "": "",
    }
    met = [fault_of(seed_from(0, str(row[3]))) for row in rows(out)]
    assert [row[12] for row in rows(out)] == [reasons[fault] for fault in met]
    assert [row[11] for row in rows(out)] == ["failed" if fault else "scored" for fault in met]
    assert set(met) == {"", *FAULTS.values()}, f"of {EVERY} remainders some were not met: raise the evaluations"


@pytest.mark.parametrize("executor", [INLINE, TWO])
def test_a_proxy_that_raises_ends_the_run_naming_the_architecture(tmp_path: Path, executor: str) -> None:
    said = finish(
        tmp_path / "run", "nb201", "--plugin", str(Path(__file__).with_name("faulty_plugin.py")), executor,
        "score={use: faulty, mode: raises}", expected=1,
    )  # fmt: skip
    assert "scoring |" in said and "RuntimeError: a bug in a proxy" in said and "Traceback" not in said
