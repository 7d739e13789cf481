from __future__ import annotations

import gc
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.support.quick import Failing, Quick, leave_out_the_end
from vkdnw_search import search
from vkdnw_search.errors import ExecutionError, RunFolderError
from vkdnw_search.runs.result import table_of

RECIPE: dict[str, Any] = {"space": "nasbench201", "executor": "inline", "finalists": 2, "stop": {"evaluations": 8}}
LOGGER = logging.getLogger("vkdnw_search")


@pytest.fixture(autouse=True)
def leave_out_the_end_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_the_end(monkeypatch)


@pytest.mark.parametrize("kept", [True, False])
def test_a_result_that_was_closed_keeps_its_fields_and_says_so_where_it_is_read(tmp_path: Path, kept: bool) -> None:
    with search(RECIPE, proxy=Quick(), out=tmp_path / "run" if kept else None) as result:
        assert result.visited == 8
    assert result.best is not None and result.best.cost.flops > 0 and result.judgement is not None
    assert repr(result).startswith("<nb201" if result.recipe.name == "nb201" else "<search: closed, ")
    there = "can be read" if kept else "It was kept in memory only"
    for read in (lambda: result.visited, lambda: list(result.evaluations()), result.to_frame, result.front):
        with pytest.raises(RunFolderError, match=f"this run was closed.*{there}"):
            read()
    result.close()


def test_neither_a_result_that_is_dropped_nor_a_search_that_fails_leaves_a_database_open(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(RECIPE, proxy=Quick(), out=tmp_path / "dropped")
        with pytest.raises(ExecutionError):
            search(RECIPE, proxy=Failing(how="raises"), out=tmp_path / "failed")
        gc.collect()
    assert not list(tmp_path.glob("*/run.sqlite-wal")), "SQLite takes it away when the last connection is closed"


@pytest.mark.parametrize("level", [logging.NOTSET, logging.ERROR])
def test_a_run_from_python_has_its_log_and_the_callers_logging_is_as_it_was(
    tmp_path: Path, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    before = LOGGER.level, LOGGER.propagate, list(LOGGER.handlers)
    LOGGER.setLevel(level)
    try:
        search(RECIPE, proxy=Quick(), out=tmp_path / "run")
        assert (LOGGER.level, LOGGER.propagate, LOGGER.handlers) == (level, before[1], before[2])
    finally:
        LOGGER.setLevel(before[0])
    written = (tmp_path / "run/run.log").read_text()
    assert "begins in" in written and "ended after 8 candidates" in written
    assert not caplog.records, "what was below the level of before reaches nobody else"


def test_who_listens_to_the_library_hears_it_still(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="vkdnw_search"):
        search(RECIPE, proxy=Quick(), out=tmp_path / "run")
    assert sum("ended after 8 candidates" in record.getMessage() for record in caplog.records) == 1


def test_a_notebook_shows_a_result_and_a_network_as_tables() -> None:
    recipe = {"space": "nasbench201", "executor": "inline", "score": "flops", "stop": {"evaluations": 3}}
    with search({**recipe, "finalists": 0, "name": "mine"}) as result:
        assert result.best is not None
        page, network = result._repr_html_(), result.best._repr_html_()
    for table in (page, network):
        assert table.startswith("<table>") and result.best.key in table and f"{result.best.cost.flops:,}" in table
    assert table_of({"a": "<b>", "none": ""}) == "<table><tr><th>a</th><td>&lt;b&gt;</td></tr></table>"
    assert "<td>mine</td>" in page and "3 scored" in page and "<td></td>" not in page
    assert "3 scored" not in result._repr_html_()  # closed, it no longer counts
    with search({**recipe, "limits": {"flops": 1}}) as result:
        assert "nothing has a score" in result._repr_html_()
