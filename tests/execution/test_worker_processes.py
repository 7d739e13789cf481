from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vkdnw_search.determinism import cores
from vkdnw_search.errors import CandidateLost, ExecutionError, RunFolderError, VkdnwSearchError
from vkdnw_search.execution.executors import inline
from vkdnw_search.execution.script_guard import UNGUARDED, UnguardedScript
from vkdnw_search.execution.worker_processes import DEATHS, Workers, resident
from vkdnw_search.racing.race import race
from vkdnw_search.recipe.recipe import load_recipe


def own_number(_: int) -> int:
    return os.getpid()


def die_so_often(file: str, times: int) -> int:
    """The number of the attempt that came to an end."""
    with Path(file).open("a") as attempts:
        attempts.write("x")
    if (attempt := len(Path(file).read_text())) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt


def raise_what_cannot_be_pickled() -> None:
    class Local(Exception):
        pass

    raise Local("only here")


def test_where_the_platform_does_not_tell_all_cores_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert cores() == os.cpu_count()


@pytest.mark.fault
def test_a_call_survives_two_deaths_and_not_three_and_no_other_is_blamed(tmp_path: Path) -> None:
    with Workers(2) as workers:
        twice = workers.submit(die_so_often, str(tmp_path / "twice"), DEATHS - 1)
        always = workers.submit(die_so_often, str(tmp_path / "always"), 99)
        others = [workers.submit(own_number, number) for number in range(20)]
        assert twice.result() == DEATHS
        with pytest.raises(CandidateLost, match="ended 3 worker processes, the last by signal 9"):
            always.result()
        assert all(future.exception() is None for future in others)
    assert (tmp_path / "always").read_text() == "x" * DEATHS


@pytest.mark.fault
def test_what_a_call_raises_arrives_with_its_traceback_even_if_it_cannot_be_pickled() -> None:
    with Workers(1) as workers:
        with pytest.raises(ZeroDivisionError) as caught:
            workers.submit(divmod, 1, 0).result()
        assert "Traceback" in caught.value.__notes__[0]
        with pytest.raises(ExecutionError, match="Local: only here"):
            workers.submit(raise_what_cannot_be_pickled).result()
        with pytest.raises(ExecutionError, match=r"must be picklable, but: .*lambda.*executor=inline"):  # nor the call
            workers.submit(lambda: 1).result()
        assert workers.submit(abs, -3).result() == 3


@pytest.mark.fault
def test_leaving_by_an_exception_ends_workers_at_once_whatever_they_are_at() -> None:
    with pytest.raises(KeyboardInterrupt), Workers(1) as workers:
        number = workers.submit(own_number, 0).result()
        endless = workers.submit(time.sleep, 3600)
        raise KeyboardInterrupt
    assert isinstance(endless.exception(), ExecutionError)
    assert not Path(f"/proc/{number}").exists()


def test_this_process_holds_memory_and_one_that_is_none_holds_nothing() -> None:
    assert resident(os.getpid()) > 2**20
    assert resident(-1) == 0


@pytest.mark.parametrize("options", ["seconds: 0", "memory: 1k", "workers: 0"])
def test_limits_that_nothing_could_keep_are_refused(options: str) -> None:
    with pytest.raises(ValueError, match=f"executor.{options.partition(':')[0]}: must be"):
        load_recipe("nb201", [f"executor={{use: processes, {options}}}"])


SEARCHING = """
from vkdnw_search import search
search({'space': {'use': 'nasbench201', 'cells': 1}, 'score': 'flops', 'stop': {'evaluations': 8},
        'executor': {'use': 'processes', 'workers': 2}}, out=OUT)
"""
RANKING = """
import numpy as np
from vkdnw_search.execution.executors import processes
from vkdnw_search.proxies.size import Flops
from vkdnw_search.ranking.study import rank
from vkdnw_search.ranking.tables import AccuracyTable
from search_spaces.nasbench201 import NasBench201
key = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|"
table = AccuracyTable((key,), {"good": np.ones(1)})
with processes(workers=2) as executor:
    rank(NasBench201(cells=1), table, {"flops": Flops()}, out=OUT, executor=executor)
"""


@pytest.mark.parametrize(
    ("body", "kept"),
    [(SEARCHING, False), (SEARCHING, True), (RANKING, True)],
    ids=["search", "search in a folder", "rank"],
)
def test_a_script_without_the_guard_ends_with_the_sentence_alone(body: str, kept: bool, tmp_path: Path) -> None:
    """Workers import the script anew: without the guard they would search themselves, and wait for ever."""
    script, out = tmp_path / "unguarded.py", tmp_path / "out"
    script.write_text(f"OUT = {str(out) if kept else None!r}\n{body}")
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, script], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 1
    assert run.stderr == UNGUARDED + "\n"
    assert "must call search() under `if __name__ == '__main__':`" in UNGUARDED


def test_the_missing_guard_can_be_caught_as_an_error_of_this_project() -> None:
    with pytest.raises(VkdnwSearchError, match="must call search") as caught:
        raise UnguardedScript
    assert isinstance(caught.value, Exception)


def test_a_worker_freezes_what_its_first_call_imported() -> None:
    with Workers(1) as workers:
        before, after = (workers.submit(gc.get_freeze_count).result() for _ in range(2))
    assert before == 0 < after


def test_an_executor_that_was_shut_down_says_so() -> None:
    with Workers(1) as workers, inline() as here:
        assert workers.submit(abs, -3).result() == here.submit(abs, -3).result() == 3
    for executor in (workers, here):
        with pytest.raises(RuntimeError, match=r"cannot take calls after shutdown\(\)"):
            executor.submit(abs, -3)


LEFT = """
import weakref
weakref.finalize(weakref, len, "")  # whose hook at the end of the interpreter comes after that of multiprocessing
from vkdnw_search.execution.worker_processes import Workers

if __name__ == "__main__":
    workers = Workers(1)
    print(workers.submit(abs, -7).result())
"""


def test_workers_that_nobody_shuts_down_end_with_the_interpreter(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(LEFT)
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100)
    assert (ended.returncode, ended.stdout) == (0, "7\n"), ended.stderr


def test_a_race_of_what_is_no_run_starts_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr("vkdnw_search.racing.race.processes", None)
    with pytest.raises(RunFolderError):
        race(tmp_path / "nowhere", "digits")
