from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.processes import INLINE, ROOT, SHORT, SMALL, assert_equal, finish, start, visited, wait_for
from tests.support.reliability import Injected
from vkdnw_search.errors import RecipeError
from vkdnw_search.execution.dask_cluster import dask
from vkdnw_search.recipe.recipe import load_recipe


@pytest.mark.parametrize("address", ["tcp://192.0.2.1:8786", "tcp://example.org:8786"])
def test_another_machine_is_reached_over_tls_or_by_an_explicit_word(address: str) -> None:
    with pytest.raises(ValueError, match=re.escape("must be tls://")):
        dask(address=address)


@pytest.mark.parametrize("address", ["8786", "http://127.0.0.1:8786", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:x"])
def test_what_is_no_address_is_refused_naming_the_form(address: str) -> None:
    with pytest.raises(RecipeError, match=r"executor \(dask\): address: must be tcp://HOST:PORT"):
        load_recipe("nb201", [f"executor={{use: dask, address: '{address}'}}"]).build_executor()


def test_certificates_that_are_not_there_are_named() -> None:
    with pytest.raises(ValueError, match=r"needs certificates; set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, .*__KEY in"):
        dask(address="tls://127.0.0.1:9")


class Cluster:
    """A scheduler and workers, every socket on 127.0.0.1."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        port = self.address.rpartition(":")[2]
        self.scheduler = self._run("scheduler", "--host", "127.0.0.1", "--port", port)

    def worker(self) -> subprocess.Popen[bytes]:
        return self._run("worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny")

    def _run(self, *words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *words, "--no-dashboard", "--dashboard-address", "127.0.0.1:0"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(stack)


@pytest.mark.fault
def test_one_dask_worker_is_killed_and_one_joins_and_no_byte_changes(
    tmp_path: Path, short: Path, cluster: Cluster, injected: Injected
) -> None:
    out, workers = tmp_path / "run", [cluster.worker(), cluster.worker()]
    process = start(out, *SMALL, SHORT, f"executor={{use: dask, address: '{cluster.address}'}}")
    wait_for(out, process, beyond=40)
    workers[0].kill()
    joining = cluster.worker()
    count = wait_for(out, process, beyond=visited(out) + 40)
    workers[1].kill()
    wait_for(out, process, beyond=count + 2)  # by the one that joined, as no other is left
    assert joining.poll() is None
    assert process.wait(timeout=300) == 0, out.with_suffix(".stderr").read_text()
    assert_equal(out, short)
    same = "candidates, table, winner and module are those of an undisturbed run, to the byte"
    injected("SIGKILL of a Dask worker, and another that joins", 2, f"its candidates scored elsewhere; {same}")


@pytest.mark.fault
def test_a_lost_scheduler_ends_the_run_in_words_and_it_goes_on_elsewhere(
    tmp_path: Path, short: Path, cluster: Cluster, injected: Injected
) -> None:
    out = tmp_path / "run"
    cluster.worker()
    process = start(out, *SMALL, SHORT, f"executor={{use: dask, address: '{cluster.address}'}}")
    wait_for(out, process, beyond=40)
    cluster.scheduler.send_signal(signal.SIGKILL)
    began = time.monotonic()
    assert process.wait(timeout=120) == 1, f"after {time.monotonic() - began:.0f} s"
    said = out.with_suffix(".stderr").read_text()
    assert "the same command continues the run" in said
    finish(out, *SMALL, SHORT, INLINE)
    assert_equal(out, short)
    injected(
        "SIGKILL of the Dask scheduler", 1, "an error in words, exit code 1; continued elsewhere to the same bytes"
    )


@pytest.mark.fault
def test_a_local_cluster_finds_the_same(tmp_path: Path, short: Path) -> None:
    out = tmp_path / "run"
    finish(out, *SMALL, SHORT, "executor={use: dask, workers: 2}")
    assert_equal(out, short)
