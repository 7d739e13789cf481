from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.edited_plugins import fresh_start, write_plugin
from tests.support.processes import INLINE, ROOT, SHORT, SMALL, assert_equal, finish, start, visited, wait_for
from tests.support.reliability import Injected
from vkdnw_search.errors import ExecutionError, RecipeError
from vkdnw_search.execution.dask_cluster import dask
from vkdnw_search.execution.same_code import SameCode
from vkdnw_search.provenance.record import code_record, origins_of
from vkdnw_search.recipe.recipe import load_recipe
from vkdnw_search.recipe.registry import find, load_plugin
from vkdnw_search.records import Cost


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

    def worker(self, *, checkout: Path = ROOT) -> subprocess.Popen[bytes]:
        """A worker that runs the code in ``checkout``."""
        return self._run(
            "worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", checkout=checkout
        )

    def _run(self, *words: str, checkout: Path = ROOT) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *words, "--no-dashboard", "--dashboard-address", "127.0.0.1:0"],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
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


def copied(folder: Path) -> Path:
    """A checkout of its own."""
    for name in ("vkdnw_search", "search_spaces", "recipes", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "data", "golden"))
    return folder


@pytest.mark.fault
def test_a_worker_of_another_version_is_refused_even_if_it_joins_later(
    tmp_path: Path, short: Path, cluster: Cluster, injected: Injected
) -> None:
    """It differs by one line of one proxy, its version does not."""
    out, other = tmp_path / "run", copied(tmp_path / "other")
    with (other / "vkdnw_search/proxies/vkdnw.py").open("a") as source:
        source.write("# another commit\n")
    ours = cluster.worker()
    process = start(out, *SMALL, SHORT, f"executor={{use: dask, address: '{cluster.address}'}}")
    wait_for(out, process, beyond=40)
    ours.kill()  # what is left to do is up to the one that joins
    cluster.worker(checkout=other)
    assert process.wait(timeout=120) == 1
    said = out.with_suffix(".stderr").read_text()
    assert re.search(
        r"the worker \(process \d+ on .*\) at tcp://127\.0\.0\.1:\d+: must run the code of the search", said
    )
    assert re.search(r"\n  sources of vkdnw_search: sha256 \w{12}… → sha256 \w{12}…\n", said)
    assert "sources of search_spaces" not in said
    finish(out, *SMALL, SHORT, INLINE)
    assert_equal(out, short)
    same = "the run ends with exit code 1 and names worker and difference; continued to the same bytes"
    injected("a Dask worker of another version that joins", 1, same)


@pytest.mark.fault
def test_a_worker_of_a_version_that_cannot_compare_is_refused(tmp_path: Path, cluster: Cluster) -> None:
    old = copied(tmp_path / "old")
    (old / "vkdnw_search/execution/same_code.py").unlink()
    cluster.worker(checkout=old)
    with dask(address=cluster.address) as executor, pytest.raises(ExecutionError, match="a worker: must run the code"):
        SameCode(executor, code_record()).submit(abs, -3).result(timeout=120)


@pytest.mark.fault
def test_a_worker_that_has_loaded_a_plugin_before_it_was_edited_is_refused(tmp_path: Path, cluster: Cluster) -> None:
    """A worker may serve one search after another; it goes on running what it loaded for the first."""
    file = tmp_path / "mine.py"
    first = cluster.worker()
    for factor in (1, 2):
        write_plugin(file, factor=factor)
        with fresh_start(), dask(address=cluster.address) as executor:
            load_plugin(file)
            proxy = find("proxies", "edited")()
            same = SameCode(executor, code_record(origins_of(proxy)))
            call = same.submit(proxy.score_cost, Cost(1, 1, 1, 1, tensors=3, modules=1))
            if factor == 1:
                assert call.result(timeout=120).value == 3
                continue
            with pytest.raises(ExecutionError, match=r"at tcp://127.*\n  plug-in mine\.py: sha256 \w+… → sha256 \w+…"):
                call.result(timeout=120)
            first.kill()
            cluster.worker()
            call = same.submit(proxy.score_cost, Cost(1, 1, 1, 1, tensors=3, modules=1))
            assert call.result(timeout=120).value == 6


@pytest.mark.fault
def test_a_local_cluster_finds_the_same(tmp_path: Path, short: Path) -> None:
    out = tmp_path / "run"
    finish(out, *SMALL, SHORT, "executor={use: dask, workers: 2}")
    assert_equal(out, short)


@pytest.mark.slow
def test_a_local_cluster_does_not_mind_another_program_at_dasks_usual_port() -> None:
    with socket.socket() as taken, ExitStack() as stack:
        with suppress(OSError):  # some other program may be there already, which serves as well
            taken.bind(("0.0.0.0", 8787))
            taken.listen()
        executor = dask(workers=1)  # warnings are errors here, and one is all that Dask would give
        stack.callback(executor.shutdown)
        assert executor.submit(len, (1, 2)).result(timeout=120) == 2
