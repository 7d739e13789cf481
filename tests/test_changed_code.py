"""Code that changes between two starts of a search: refused with what differs, or accepted and told."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest

from tests.support.edited_plugins import fresh_start, write_plugin
from tests.support.quick import leave_out_the_end
from tests.test_run import NB201, quick
from vkdnw_search import search
from vkdnw_search.commands.main import DONE, USAGE, main
from vkdnw_search.commands.progress import closing_table
from vkdnw_search.errors import RunFolderError
from vkdnw_search.output.report import write_report
from vkdnw_search.provenance import record
from vkdnw_search.runs.reader import RunReader

ACCEPT = "--accept-changed-code"


@pytest.fixture(autouse=True)
def leave_out_the_end_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_the_end(monkeypatch)


def start(folder: Path, plugin: Path, *words: str) -> int:
    """One start of the program."""
    recipe = ("nb201", "score=edited", "executor=inline", "finalists=0")
    with fresh_start():
        return main([*recipe, "-q", "--out", str(folder), "--plugin", str(plugin), *words])


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a run, but for those that SQLite keeps while a database is open."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and "lite-" not in p.name}


def install(patch: pytest.MonkeyPatch, **versions: str) -> None:
    """As if other versions were installed."""
    parts = record._own_parts()
    patch.setattr(record, "_own_parts", lambda: {**parts, **versions})


def recorded(folder: Path) -> dict[str, str]:
    found = json.loads((folder / "environment.json").read_text())["code"]
    assert isinstance(found, dict)
    return found


def forget(folder: Path) -> None:
    """Make a folder what earlier versions left, which kept no record."""
    with contextlib.closing(sqlite3.connect(folder / "run.sqlite")) as database:
        database.execute("DELETE FROM note")
        database.commit()


def test_a_plugin_that_was_edited_is_refused_with_its_hashes_and_nothing_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, plugin = tmp_path / "run", write_plugin(tmp_path / "mine.py", factor=1)
    assert start(folder, plugin, "stop.evaluations=20") == DONE
    first, before = recorded(folder)["plug-in mine.py"], contents(folder)
    write_plugin(plugin, factor=2)
    capsys.readouterr()
    assert start(folder, plugin, "stop.evaluations=40") == USAGE
    said = capsys.readouterr().err
    assert f"plug-in mine.py: {first[:19]}… → sha256 " in said
    assert all(way in said for way in ("install what is recorded", "another folder with --out", ACCEPT))
    assert contents(folder) == before
    write_plugin(plugin, factor=1)
    assert start(folder, plugin, "stop.evaluations=40") == DONE


def test_a_plugin_that_lies_elsewhere_or_another_that_is_not_used_changes_nothing(tmp_path: Path) -> None:
    folder, plugin = tmp_path / "run", write_plugin(tmp_path / "mine.py", factor=1)
    assert start(folder, plugin, "stop.evaluations=20") == DONE
    (tmp_path / "moved").mkdir()
    (other := tmp_path / "other.py").write_text(f"{plugin.read_text()}PROXIES = {{'other': Edited}}\n")
    moved = plugin.rename(tmp_path / "moved/mine.py")
    assert start(folder, moved, "--plugin", str(other), "stop.evaluations=40") == DONE
    assert not warnings_of(folder, moved)


def warnings_of(folder: Path, plugin: Path) -> list[str]:
    from vkdnw_search.recipe.registry import load_plugin

    with fresh_start():
        load_plugin(plugin)
        with RunReader(folder) as reader:
            return reader.changes_of_code


def test_an_accepted_change_is_kept_and_told_at_the_end_in_the_report_and_in_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, plugin = tmp_path / "run", write_plugin(tmp_path / "mine.py", factor=1)
    assert start(folder, plugin, "stop.evaluations=20") == DONE
    before = recorded(folder)
    write_plugin(plugin, factor=2)
    capsys.readouterr()
    assert start(folder, plugin, "stop.evaluations=40", ACCEPT) == DONE
    told = "the code changed after 20 evaluations, which was accepted, so scores may not compare: plug-in mine.py"
    assert f"warning     {told}" in capsys.readouterr().out
    assert told in (folder / "run.log").read_text()
    assert start(folder, plugin, "stop.evaluations=60") == DONE, "what was accepted once is the code of the run"
    assert told in capsys.readouterr().out
    (warning,) = warnings_of(folder, plugin)
    assert warning.startswith(told)
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["code"] == before
    (change,) = environment["accepted_changes_of_code"]
    assert change["after"] == 20 and change["changes"][0]["recorded"] == before["plug-in mine.py"]
    write_plugin(plugin, factor=1)
    assert start(folder, plugin, "stop.evaluations=80") == USAGE, "nor does the code from before go on unasked"


def test_the_report_shows_an_accepted_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    recipe = {**NB201, "score": "trainable_layers", "space": {"use": "nasbench201", "cells": 1, "channels": 4}}
    search(recipe, ["stop.evaluations=10"], out=folder).close()
    assert "which was accepted" not in write_report(folder).read_text()
    install(monkeypatch, torch="1.0.0 <b>")
    search(recipe, ["stop.evaluations=20"], out=folder, accept_changed_code=True).close()
    page = write_report(folder).read_text()
    assert '<p class="warn">the code changed after 10 evaluations, which was accepted' in page
    assert "→ 1.0.0 &lt;b&gt;" in page and "1.0.0 <b>" not in page


@pytest.mark.parametrize("name", ["vkdnw-search", "torch", "numpy", "scipy", "fvcore", "sources of search_spaces"])
def test_another_version_is_refused_by_name_and_may_be_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    quick(["stop.evaluations=20"], out=tmp_path / "run")
    was = recorded(tmp_path / "run")[name]
    install(monkeypatch, **{name: "0.0.1"})
    with pytest.raises(RunFolderError, match=rf"\n  {name}: .* → 0\.0\.1\n") as refused:
        quick(["stop.evaluations=40"], out=tmp_path / "run")
    assert was[:19] in str(refused.value)
    result = quick(["stop.evaluations=40"], out=tmp_path / "run", accept_changed_code=True)
    (warning,) = result.changes_of_code()
    assert warning.endswith("→ 0.0.1") and warning in closing_table(result)


def test_a_run_that_keeps_no_record_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quick(["stop.evaluations=20"], out=tmp_path / "run").close()
    forget(tmp_path / "run")
    result = quick(["stop.evaluations=40"], out=tmp_path / "run")
    told = "of which code the first 20 evaluations are is not recorded"
    assert [r.levelname for r in caplog.records if told in r.getMessage()] == ["WARNING"]
    assert told in closing_table(result)
    install(monkeypatch, numpy="0.0.1")
    with pytest.raises(RunFolderError, match="numpy"):  # from now on it is recorded
        quick(["stop.evaluations=60"], out=tmp_path / "run")


def test_code_may_change_before_the_first_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(out=tmp_path / "run", stopped=lambda: True).close()
    install(monkeypatch, numpy="0.0.1")
    result = quick(out=tmp_path / "run")
    assert not result.changes_of_code() and result.visited == 60
    install(monkeypatch, numpy="0.0.2")
    with pytest.raises(RunFolderError, match=r"numpy: 0\.0\.1 → 0\.0\.2"):
        quick(["stop.evaluations=70"], out=tmp_path / "run")


def test_what_is_kept_of_the_code_and_damaged_is_told(tmp_path: Path) -> None:
    quick(out=tmp_path / "run").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "run/run.sqlite")) as database:
        database.execute("UPDATE note SET value = '[' WHERE name = 'code'")
        database.commit()
    with pytest.raises(RunFolderError, match="run, code: must be as it was written, but is not"):
        quick(out=tmp_path / "run")


def test_results_are_the_same_bytes_whether_a_change_was_accepted_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(out=tmp_path / "whole").close()
    quick(["stop.evaluations=30"], out=tmp_path / "run").close()
    install(monkeypatch, numpy="0.0.1")
    quick(out=tmp_path / "run", accept_changed_code=True).close()
    assert (tmp_path / "run/results.csv").read_bytes() == (tmp_path / "whole/results.csv").read_bytes()


def test_a_class_of_the_script_itself_is_said_not_to_be_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.support.quick import Quick

    proxy = type("OfANotebook", (Quick,), {"__module__": "__main__"})()
    quick(["stop.evaluations=3"], out=tmp_path / "run", proxy=proxy)
    assert "cannot be hashed" in recorded(tmp_path / "run")["module __main__"]
    assert any("module __main__ cannot be hashed" in record.getMessage() for record in caplog.records)
