"""The page of a comparison, and where it may be written."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.output.test_report import Page
from tests.support.raced_runs import make_two_runs, put_race
from vkdnw_search import compare
from vkdnw_search.commands.main import main

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs a and b."""
    return make_two_runs(tmp_path_factory.mktemp("runs"))


def test_the_page_is_well_formed_fetches_nothing_and_no_text_becomes_markup(runs: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(runs / name, tmp_path / HOSTILE.replace("/", "") / name)
        put_race(tmp_path / HOSTILE.replace("/", "") / name, name=HOSTILE, roles="\x1b[31m")
    found = compare(*(tmp_path / HOSTILE.replace("/", "")).iterdir(), workers=1)
    text = found.to_html()
    page = Page(text)
    assert page.open == [] and page.addresses == []
    assert "<script" not in text and not re.search(r"@import|url\((?!#)", text)
    assert text.count("&lt;script&gt;") >= 2 and "<b>" not in text
    assert "\x1b" not in found.in_words()
    for c in found.runs:
        assert c.winner.key in text and f"{c.winner.cost.flops:,}" in text


def test_a_folder_whose_name_is_no_text_has_a_page(runs: Path, tmp_path: Path) -> None:
    strange = tmp_path / os.fsdecode(b"half \xff")
    shutil.copytree(runs / "a", strange)
    assert "half ?" in compare(runs / "b", strange, workers=1).to_html()


def test_a_page_is_written_where_it_is_asked_for_and_over_nothing(
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["compare", str(runs / "a"), str(runs / "b"), "--workers", "1", "--out"]
    page = tmp_path / "new" / "page.html"
    assert main([*words, str(page)]) == 0
    assert capsys.readouterr().out.endswith(f"\n\npage  {page}\n") and page.read_text().startswith("<!DOCTYPE html>")
    for place, says in ((page, "is there already"), (runs / "a" / "page.html", "must be outside the run folders")):
        assert main([*words, str(place)]) == 2
        told = capsys.readouterr()
        assert says in told.err and "--out" in told.err and told.out == ""
    assert not (runs / "a" / "page.html").exists()
    (tmp_path / "file").write_text("")
    assert main([*words, str(tmp_path / "file" / "page.html")]) == 1
    assert "cannot be written there" in capsys.readouterr().err
