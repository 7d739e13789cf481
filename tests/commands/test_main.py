from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.quick import leave_out_the_end
from vkdnw_search.commands.main import _Signals, main

INSTANT = ["nb201", "score=flops", "executor=inline", "finalists=2"]


@pytest.fixture(autouse=True)
def leave_out_the_end_of_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    leave_out_the_end(monkeypatch)
    monkeypatch.chdir(tmp_path)


def test_a_search_ends_with_a_table_on_stdout_and_its_steps_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*INSTANT, "stop.evaluations=30", "--out", "found"]) == 0
    out, err = capsys.readouterr()
    assert "p below is about the score, not about accuracy" in out
    for word in ("ended", "candidates", "best", "score", "FLOPs", "parameters", "rescored", "found/best/model.py"):
        assert word in out
    assert err.splitlines() == [
        "begins in found",
        "ended after 30 candidates: the 30 evaluations asked for are done",
        "scoring the best and the baselines anew on 8 initializations",
        "measuring the winner and other networks in other ways",
        "scoring the networks one step from the winner",
        "writing the report",
    ]
    assert {p.name for p in (tmp_path / "found").iterdir()} >= {
        "recipe.yaml", "environment.json", "results.csv", "finalists.csv", "run.log", "run.sqlite", "best",
    }  # fmt: skip
    assert "ended after 30 candidates" in (tmp_path / "found/run.log").read_text()


def test_the_run_folder_is_named_after_the_recipe_by_default(tmp_path: Path) -> None:
    assert main([*INSTANT, "stop.evaluations=3"]) == 0
    assert (tmp_path / "runs/nb201/results.csv").is_file()


def test_the_written_recipe_gives_the_same_run_again(tmp_path: Path) -> None:
    assert main([*INSTANT, "stop.evaluations=20", "--out", "a"]) == 0
    assert main(["a/recipe.yaml", "--out", "b"]) == 0
    assert (tmp_path / "a/results.csv").read_bytes() == (tmp_path / "b/results.csv").read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nb201", "stop.evalutions=3"], 2, "Did you mean 'evaluations'?"),
        (["nb201", "limits.flops=600MB"], 2, "must be a positive number such as 600M or 6e8, but is '600MB'"),
        (["nosuch.yaml"], 2, "there is no such file"),
        (["nb202"], 2, "Did you mean 'nb201'?"),
        ([], 2, "usage: vkdnw-search"),
        (["serch"], 2, "must be a recipe file, a shipped recipe"),
        (["nb201", "--plugin", "gone.py"], 2, "gone.py: there is no such file"),
        ([*INSTANT, "limits.flops=1K", "stop.evaluations=10"], 3, ""),
    ],
)
def test_what_a_user_gets_wrong_is_told_in_words_with_its_exit_code(
    words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    err = capsys.readouterr().err
    assert says in err and "Traceback" not in err


def test_nothing_feasible_names_the_nearest_and_by_how_much_it_misses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*INSTANT, "limits.flops=1K", "stop.evaluations=10"]) == 3
    out = capsys.readouterr().out
    assert "no candidate is within the limits" in out and "is above the limit" in out


def test_a_folder_with_other_files_is_refused_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/data").write_text("x")
    assert main([*INSTANT, "--out", "precious"]) == 2
    assert "must be empty, or hold a run to continue" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "precious").iterdir()] == ["data"]


def test_list_shows_what_is_installed_and_what_ships(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for word in ("nasbench201", "mobilenet", "vkdnw_single", "evolution", "aging", "nsga2", "processes", "mbv2_600M"):
        assert word in out


def test_a_reader_that_leaves_ends_the_command_silently() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "vkdnw_search", "list"]
    try:
        ended = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write_end)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_what_cannot_be_written_in_the_encoding_is_replaced(tmp_path: Path) -> None:
    """Both where a search has ended and where a fault is told of."""

    def ended(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "vkdnw_search", *words],
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            encoding="ascii",
        )
        return done.returncode, done.stdout, done.stderr

    code, out, err = ended(*INSTANT, "stop.evaluations=3", "finalists=0", "-q", "--out", str(tmp_path / "größer…"))
    assert (code, err) == (0, "") and "gr??er?/best/model.py" in out
    code, out, err = ended("export", str(tmp_path / "größer…"), "--rank", "9")
    assert code == 2 and "Traceback" not in err and "--rank: must be in 1 ? 3" in err


def test_an_unknown_option_is_refused_by_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["nb201", "--outt", "x"])
    assert stop.value.code == 2


def test_overrides_may_stand_before_and_after_options(tmp_path: Path) -> None:
    assert main(["nb201", "--out", "mixed", *INSTANT[1:], "-q", "stop.evaluations=5"]) == 0
    assert (tmp_path / "mixed/results.csv").read_text().count("\n") == 6


def test_after_ctrl_c_the_command_that_goes_on_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(signals: _Signals) -> bool:
        if not signals.number:
            signal.raise_signal(signal.SIGINT)
        return True

    words = [*INSTANT, "stop.evaluations=30", "--out", "with space"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Signals, "received", interrupted)
        assert main(words) == 130
    shown = "this goes on from here: "
    (command,) = (line.removeprefix(shown) for line in capsys.readouterr().err.splitlines() if line.startswith(shown))
    assert command.startswith("vkdnw-search nb201 ")
    assert main(shlex.split(command)[1:]) == 0
    assert shown not in capsys.readouterr().err


def test_the_steps_of_a_search_are_told_and_whether_it_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shorter = [*INSTANT, "--out", str(tmp_path / "run"), "stop.evaluations=20"]
    assert main(shorter) == 0
    told = capsys.readouterr().err
    steps = (
        "begins in",
        "ended after 20",
        "scoring the best and the baselines anew",
        "one step from",
        "writing the report",
    )
    places = [told.index(step) for step in steps]
    assert places == sorted(places)
    assert main([*shorter, "stop.evaluations=25"]) == 0
    assert f"continues in {tmp_path / 'run'}, where 20 candidates are known" in capsys.readouterr().err
    assert main([*shorter, "stop.evaluations=25", "-q"]) == 0
    assert not capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*INSTANT, "--out", "/dev/null/run"]) == 2
    error = capsys.readouterr().err
    assert "/dev/null/run: must be a folder" in error and "--out" in error and "continues" not in error


def test_a_range_in_dots_is_told_how_a_range_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nb201", "limits.flops=30M..60M"]) == 2
    assert "{min: 300M, max: 600M}" in capsys.readouterr().err


def test_a_plugin_that_is_not_there_is_told_of_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nb201", "--plugin", "nope.py"]) == 2
    assert "--plugin" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once_with_its_own_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def signal_twice(*_: object) -> None:
        for _signal in range(2):
            os.kill(os.getpid(), number)

    monkeypatch.setattr("vkdnw_search.output.progress.Progress.update", signal_twice)
    assert main([*INSTANT, "-q", "--out", str(tmp_path / "run")]) == 128 + number
    said = capsys.readouterr().err
    assert said.count("finishing what is under way") == 1 and said.endswith("stopped at once\n")
