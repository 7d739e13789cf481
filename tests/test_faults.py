"""Runs are killed, stopped, starved and misled on purpose, and have to find the same to the byte all the same."""

from __future__ import annotations

import random
import resource
import signal
import time
from pathlib import Path

import pytest

from tests.support.faulty_plugin import EVERY, FAULTS, fault_of
from tests.support.processes import (
    CHILDREN,
    FILES,
    INLINE,
    LONG,
    SHORT,
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
from tests.support.reliability import Injected

pytestmark = pytest.mark.fault

KILLS = 30
TWO = "executor={use: processes, workers: 2}"
PLUGIN = ("--plugin", str(Path(__file__).parent / "support" / "faulty_plugin.py"))
SAME = "continued; candidates, table, winner and module are those of an undisturbed run, to the byte"


def test_thirty_kills_of_the_whole_process_group_change_no_byte(tmp_path: Path, long: Path, injected: Injected) -> None:
    """Two of three kills come after progress, so that they spread over the run; the others while a session starts."""
    out, chance, kills, starting = tmp_path / "run", random.Random(0), 0, 0.0
    for number in range(KILLS):
        began = time.monotonic()
        process = start(out, *SMALL, LONG, INLINE)
        if number % 3 < 2:
            wait_for(out, process, beyond=visited(out))
            starting = time.monotonic() - began
            time.sleep(chance.uniform(0.0, 0.1))
        else:
            time.sleep(chance.uniform(0.0, starting))
        signal_group(process, signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == KILLS and visited(out) < 600, "the run was over before the last of the kills"
    finish(out, *SMALL, LONG, INLINE)
    assert_equal(out, long)
    injected("SIGKILL of all processes of a search, at random moments", kills, SAME)


def test_of_two_workers_one_is_killed_thirty_times_and_no_byte_changes(
    tmp_path: Path, long: Path, injected: Injected
) -> None:
    """Every other kill waits until a generation has ended, so that no candidate meets three and is given up."""
    out, chance, kills = tmp_path / "run", random.Random(1), 0
    process = start(out, *SMALL, LONG, TWO)
    while kills < KILLS:
        wait_for(out, process, beyond=visited(out) + (CHILDREN if kills % 2 else 2))
        time.sleep(chance.uniform(0.0, 0.03))
        kills += kill(chance.choice(workers_of(process)))
    assert process.wait(timeout=300) == 0
    assert_equal(out, long)
    injected("SIGKILL of one of two worker processes", kills, f"replaced, its candidate scored again; {SAME}")


@pytest.mark.parametrize("executor", [INLINE, TWO])
@pytest.mark.parametrize(("name", "number"), [("SIGTERM", signal.SIGTERM), ("SIGINT (Ctrl-C)", signal.SIGINT)])
def test_a_signal_to_the_group_ends_the_run_cleanly_and_it_goes_on(
    tmp_path: Path, short: Path, name: str, number: int, executor: str, injected: Injected
) -> None:
    out = tmp_path / "run"
    process = start(out, *SMALL, SHORT, executor)
    wait_for(out, process, beyond=40)
    signal_group(process, number)
    assert process.wait(timeout=120) == 128 + number
    said = out.with_suffix(".stderr").read_text()
    assert "finishing what is under way" in said and "Traceback" not in said
    assert 40 < visited(out) < 200
    assert (out / "results.csv").read_text().count("\n") == visited(out) + 1
    finish(out, *SMALL, SHORT, INLINE)
    assert_equal(out, short)
    injected(name, 1, f"clean stop, exit code {128 + number}; {SAME}")


@pytest.mark.parametrize(
    "step",
    ["scoring the best and the baselines anew", "scoring the networks one step from the winner", "writing the report"],
)
def test_a_signal_after_the_last_candidate_ends_the_run_cleanly_too(
    tmp_path: Path, short: Path, step: str, injected: Injected
) -> None:
    out = tmp_path / "run"
    process = start(out, *SMALL, SHORT, INLINE)
    while not (out / "run.log").exists() or step not in (out / "run.log").read_text():
        assert process.poll() is None
        time.sleep(0.01)
    signal_group(process, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert "Traceback" not in out.with_suffix(".stderr").read_text()
    assert visited(out) == 200
    finish(out, *SMALL, SHORT, INLINE)
    assert_equal(out, short, [*FILES, "finalists.csv"])
    assert (out / "report.html").exists()
    injected("SIGINT (Ctrl-C) after the last candidate", 1, f"clean stop, exit code 130; {SAME}")


def test_a_full_disk_is_an_error_in_words_and_the_run_goes_on_later(
    tmp_path: Path, short: Path, injected: Injected
) -> None:
    out = tmp_path / "run"
    said = finish(
        out, *SMALL, SHORT, INLINE, expected=1,
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )  # fmt: skip
    assert "the same command continues the run" in said and "Traceback" not in said
    assert 0 < visited(out) < 200
    finish(out, *SMALL, SHORT, INLINE)
    assert_equal(out, short)
    injected("a disk that is full", 1, f"an error in words, exit code 1; {SAME}")


REASONS = {
    "hangs": "took more than the 5 seconds allowed",
    "exhausts": "took more than the 1,144 MiB of memory allowed",
    "dies": "scoring it ended 3 worker processes, the last by signal 9; out of memory is a common cause",
    "nan": "the score is nan",
    "inf": "the score is inf",
    "": "",
}
RECORDED = "recorded as failed with the reason; the search goes on"


def test_candidates_that_hang_exhaust_memory_kill_or_are_no_number_are_recorded_and_the_run_goes_on(
    tmp_path: Path, injected: Injected
) -> None:
    out = tmp_path / "run"
    finish(
        out, *SMALL, *PLUGIN, "score=faulty", "finalists=0", "optimizer=random", "stop.evaluations=60",
        "executor={use: processes, workers: 2, seconds: 5, memory: 1200M}",
    )  # fmt: skip
    found = rows(out, "flops", "parameters", "status", "reason")
    met = [fault_of(flops, parameters) for flops, parameters, _, _ in found]  # type: ignore[arg-type]
    assert [reason for *_, reason in found] == [REASONS[fault] for fault in met]
    assert [status for _, _, status, _ in found] == ["failed" if fault else "scored" for fault in met]
    assert set(met) == {"", *FAULTS.values()}, f"of {EVERY} remainders some were not met: raise the evaluations"
    injected("a candidate that hangs, under a limit of time", met.count("hangs"), RECORDED)
    injected("a candidate that exhausts memory, under a limit", met.count("exhausts"), RECORDED)
    injected("a candidate that kills its workers, three times", met.count("dies"), RECORDED)
    injected("a score that is NaN or infinite", met.count("nan") + met.count("inf"), RECORDED)


@pytest.mark.parametrize("executor", [INLINE, TWO])
def test_a_network_without_any_operation_is_recorded_by_the_real_score_and_the_run_goes_on(
    tmp_path: Path, executor: str, injected: Injected
) -> None:
    out = tmp_path / "run"
    words = ("space.residual=false", "optimizer=nothing_first", "finalists=0", "stop.evaluations=12")
    finish(out, "nb201", *PLUGIN, *words, executor)
    first, *others = rows(out, "key", "status", "reason")
    assert first == (
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "failed",
        "the deciles of the Fisher spectrum are all zero, or not finite",
    )
    statuses = [status for _, status, _ in others]
    assert set(statuses) <= {"scored", "bounded"} and len(others) == 11
    assert statuses.count("scored") >= 5
    assert (out / "best/model.py").exists()
    injected("a degenerate network, all of its edges `none`", 1, RECORDED)


@pytest.mark.parametrize("executor", [INLINE, TWO])
def test_a_proxy_that_raises_ends_the_run_naming_the_architecture(
    tmp_path: Path, executor: str, injected: Injected
) -> None:
    said = finish(tmp_path / "run", "nb201", *PLUGIN, executor, "score={use: faulty, mode: raises}", expected=1)
    assert "scoring |" in said and "RuntimeError: a bug in a proxy" in said and "Traceback" not in said
    injected("an exception in a proxy", 1, "the run ends with exit code 1 and names the architecture")
