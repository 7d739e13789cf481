"""``vkdnw-search compare`` as a command: it changes nothing, stops when asked, and tells what it cannot compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.quick import leave_out_the_end
from tests.support.raced_runs import RECIPE, make_two_runs
from tests.support.strange_files import tree
from tests.support.tiny_space import Tiny
from vkdnw_search import search
from vkdnw_search.commands.main import main
from vkdnw_search.records import Cost, Score


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs a and b."""
    return make_two_runs(tmp_path_factory.mktemp("runs"))


def test_nothing_in_the_folders_is_changed_and_no_page_is_written_unasked(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = tree(runs, times=True)
    assert main(["compare", str(runs / "a"), str(runs / "b"), "--workers", "1"]) == 0
    assert tree(runs, times=True) == before and not list(tmp_path.iterdir())
    told = capsys.readouterr()
    assert told.out.startswith("run  folder") and told.err.count("\n") == 1


def test_a_stop_ends_with_its_code_and_writes_nothing(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopping(self: Any) -> bool:
        self.number = 2
        return True

    monkeypatch.setattr("vkdnw_search.commands.main._Signals.received", stopping)
    words = ["compare", str(runs / "a"), str(runs / "b"), "--workers", "1", "--out", str(tmp_path / "x.html")]
    assert main(words) == 130
    assert capsys.readouterr().out == "" and not list(tmp_path.iterdir())


def unfinished(folder: Path) -> None:
    with search({**RECIPE, "score": "flops"}, out=folder, stopped=lambda: True):
        pass


def without_winner(folder: Path) -> None:
    search({**RECIPE, "limits": {"flops": 1}}, out=folder).close()


def of_a_space_from_python(folder: Path) -> None:
    search({**RECIPE, "space": None, "score": "flops"}, space=Tiny(), out=folder).close()


class Own:
    """A score of the user's."""

    def score_cost(self, cost: Cost) -> Score:
        return Score(float(cost.flops))

    def __call__(self, model: object, probe: object) -> Score:
        raise AssertionError


def of_a_score_from_python(folder: Path) -> None:
    search({**RECIPE, "score": None}, proxy=Own(), out=folder).close()


def empty(folder: Path) -> None:
    folder.mkdir()


def missing(folder: Path) -> None:
    """There is nothing."""


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (unfinished, "must be a run that has ended"),
        (without_winner, "must be a run that found a network"),
        (of_a_space_from_python, "its search space was given from Python"),
        (of_a_score_from_python, "its score was given from Python"),
        (empty, "must be the folder of a run"),
        (missing, "must be the folder of a run"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_compared_is_told_in_one_paragraph(
    make: Any, says: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        leave_out_the_end(patch)
        make(tmp_path / "bad")
    assert main(["compare", str(runs / "a"), str(tmp_path / "bad"), "--workers", "1"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and says in told.err and str(tmp_path / "bad") in told.err
    assert len(told.err.splitlines()) == 1 and "Traceback" not in told.err


def test_one_run_or_the_same_twice_or_too_many_are_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = str(runs / "a")
    (tmp_path / "link").symlink_to(one)
    for words, says in (
        ([one], "but there is only"),
        ([one, f"{runs}/./a"], "are the same"),
        ([one, str(tmp_path / "link")], "are the same"),
        ([one] * 27, "but there are 27"),
    ):
        assert main(["compare", *words]) == 2
        told = capsys.readouterr()
        assert says in told.err and len(told.err.splitlines()) == 1 and told.out == ""
