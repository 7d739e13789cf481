"""Code that changes between two starts of a ranking study: refused with what differs, or accepted and told."""

from __future__ import annotations

import contextlib
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from tests.support.edited_plugins import fresh_start, write_plugin
from tests.support.quick import Quick
from tests.support.studies import SPACE, Chance, table
from vkdnw_search.commands.main import DONE, USAGE, main
from vkdnw_search.errors import ExecutionError, RunFolderError
from vkdnw_search.execution.executors import processes
from vkdnw_search.provenance import record
from vkdnw_search.ranking import study as ranking

rank = partial(ranking.rank, figures=False)


def install(patch: pytest.MonkeyPatch, **versions: str) -> None:
    """As if other versions were installed."""
    parts = record._own_parts()
    patch.setattr(record, "_own_parts", lambda: {**parts, **versions})


def start(folder: Path, plugin: Path, *words: str) -> int:
    """One start of the program."""
    accuracies = folder.with_suffix(".csv")
    rows = [f'"{key}",{value}' for key, value in zip(table(6).architectures, range(6), strict=True)]
    accuracies.write_text("\n".join(["arch,good", *rows]) + "\n")
    space = ("nasbench201", "space.cells=1", "space.channels=2", "space.resolution=8", "--accuracies", str(accuracies))
    with fresh_start():
        files = ("--plugin", str(plugin), "--out", str(folder))
        return main(["rank", *space, *files, "--proxies", "edited", "--no-figures", "-q", *words])


def test_a_plugin_that_was_edited_is_refused_and_may_be_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is stored would be shown as what the edited proxy says, and new seeds would be scored by it."""
    folder, plugin = tmp_path / "study", write_plugin(tmp_path / "mine.py", factor=1)
    assert start(folder, plugin) == DONE
    before = {p.name: p.read_bytes() for p in folder.iterdir() if "sqlite" not in p.name}
    write_plugin(plugin, factor=2)
    capsys.readouterr()
    assert start(folder, plugin, "--seeds", "2") == USAGE
    assert "plug-in mine.py: sha256 " in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in folder.iterdir() if "sqlite" not in p.name} == before
    assert start(folder, plugin, "--seeds", "2", "--accept-changed-code") == DONE
    told = (
        "**Warning**: the code changed after 6 scores, which was accepted, so scores may not compare: plug-in mine.py"
    )
    assert told in capsys.readouterr().out and told in (folder / "table.md").read_text()


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rank(SPACE, table(6), {"quick": Quick()}, out=tmp_path / "study")
    install(monkeypatch, torch="1.0.0")
    with pytest.raises(RunFolderError, match=r"study: holds scores of other code(.|\n)*torch: .* → 1\.0\.0\n"):
        rank(SPACE, table(6), {"quick": Quick()}, out=tmp_path / "study", seeds=2)
    rank(SPACE, table(6), {"quick": Quick()}, out=tmp_path / "study", seeds=2, accept_changed_code=True)


def test_proxies_of_other_files_may_be_asked_for_later_and_count_from_then_on(tmp_path: Path) -> None:
    rank(SPACE, table(6), {"quick": Quick()}, out=tmp_path / "study")
    rank(SPACE, table(6), {"chance": Chance()}, out=tmp_path / "study")
    with contextlib.closing(sqlite3.connect(tmp_path / "study/scores.sqlite")) as database:
        (kept,) = database.execute("SELECT value FROM about WHERE name = 'code'").fetchone()
        assert "module tests.support.quick" in kept and "module tests.support.studies" in kept
        database.execute("UPDATE about SET value = replace(value, 'sha256 ', 'sha256 0') WHERE name = 'code'")
        database.commit()
    with pytest.raises(RunFolderError, match=r"module tests\.support\.quick"):
        rank(SPACE, table(6), {"quick": Quick()}, out=tmp_path / "study")


def test_a_study_that_keeps_no_record_goes_on_with_a_warning(tmp_path: Path) -> None:
    rank(SPACE, table(6), {"quick": Quick()}, out=tmp_path / "study")
    with contextlib.closing(sqlite3.connect(tmp_path / "study/scores.sqlite")) as database:
        database.execute("DELETE FROM about WHERE name != 'space'")
        database.commit()
    study = rank(SPACE, table(6), {"quick": Quick()}, out=tmp_path / "study", seeds=2)
    assert study is not None and "of which code the first 6 scores are is not recorded" in study.markdown


def test_a_worker_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, torch="1.0.0")
    with processes(workers=1) as workers, pytest.raises(ExecutionError, match=r"\n  torch: 1\.0\.0 → "):
        rank(SPACE, table(6), {"quick": Quick()}, out=tmp_path / "study", executor=workers)
