"""Each process says that its code is that of the search before its first call."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.edited_plugins import fresh_start, write_plugin
from vkdnw_search.errors import ExecutionError
from vkdnw_search.execution import same_code
from vkdnw_search.execution.executors import inline
from vkdnw_search.execution.same_code import SameCode
from vkdnw_search.execution.worker_processes import Workers
from vkdnw_search.provenance import record
from vkdnw_search.provenance.record import CodeRecord, code_record, origins_of
from vkdnw_search.recipe.registry import find, load_plugin


@pytest.fixture(autouse=True)
def start_anew() -> Iterator[None]:
    with fresh_start():
        yield


def own_number() -> int:
    return os.getpid()


def code_of_plugin(file: Path) -> CodeRecord:
    load_plugin(file)
    return code_record(origins_of(find("proxies", "edited")()))


def test_a_call_reaches_every_kind_of_executor_and_its_result_or_exception_comes_back() -> None:
    with inline() as here, ThreadPoolExecutor(1) as threads, Workers(1) as workers:
        for executor in (here, threads, workers):
            same = SameCode(executor, code_record())
            assert same.submit(divmod, 7, 2).result() == (3, 1)
            with pytest.raises(ZeroDivisionError):
                same.submit(divmod, 7, 0).result()
            assert getattr(same, "capacity", None) == getattr(executor, "capacity", None)


def test_a_process_looks_at_its_code_once(monkeypatch: pytest.MonkeyPatch) -> None:
    code, looks = code_record(), list[object]()
    monkeypatch.setattr(same_code, "code_record", lambda origins: looks.append(origins) or code)
    for _ in range(3):
        assert SameCode(inline(), code).submit(own_number).result() == os.getpid()
    assert len(looks) == 1


def test_a_worker_process_of_another_version_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = record._own_parts()
    monkeypatch.setattr(record, "_own_parts", lambda: {**parts, "torch": "1.0.0"})
    with Workers(1) as workers:
        number = workers.submit(own_number).result()
        with pytest.raises(ExecutionError) as refused:
            SameCode(workers, code_record()).submit(own_number).result()
    said = str(refused.value)
    assert f"the worker (process {number} on " in said
    assert f"(search → worker):\n  torch: 1.0.0 → {parts['torch']}\n" in said
    assert "sources of" not in said, "which are the same"


def test_a_plugin_that_is_edited_while_the_search_goes_on_is_noticed_where_a_worker_is_replaced(tmp_path: Path) -> None:
    file = write_plugin(tmp_path / "mine.py", factor=1)
    code = code_of_plugin(file)
    with Workers(1) as workers:
        same = SameCode(workers, code)
        number = same.submit(own_number).result()
        write_plugin(file, factor=2)
        assert same.submit(own_number).result() == number, "which has loaded what the search has loaded"
        os.kill(number, signal.SIGKILL)
        with pytest.raises(ExecutionError, match=r"plug-in mine\.py: sha256 [0-9a-f]{12}… → sha256 [0-9a-f]{12}…"):
            same.submit(own_number).result()
        write_plugin(file, factor=1)
        os.kill(workers.submit(own_number).result(), signal.SIGKILL)
        assert same.submit(own_number).result()


def raise_an_attribute_error() -> None:
    raise AttributeError("a bug in a proxy")


def test_an_error_of_the_call_is_not_taken_for_one_of_the_code() -> None:
    with Workers(1) as workers:
        for executor in (inline(), workers):
            with pytest.raises(AttributeError, match="a bug in a proxy"):
                SameCode(executor, code_record()).submit(raise_an_attribute_error).result()


class Elsewhere(Executor):
    """A worker whose vkdnw-search has no such module: pickle finds what is missing there."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        order = pickle.dumps((fn, args)).replace(b"execution.same_code", b"execution.some_code")
        return inline().submit(pickle.loads, order)


def test_a_worker_that_is_too_old_to_compare_is_refused() -> None:
    with pytest.raises(ExecutionError, match=r"a worker: must run the code of the search, but .*some_code.*Install"):
        SameCode(Elsewhere(), code_record()).submit(own_number).result()
