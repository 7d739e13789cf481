"""What a race shows, where it may run, and what it says of what is wrong."""

from __future__ import annotations

import builtins
import errno
import io
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import vkdnw_search
from tests.support.quick import leave_out_the_end
from tests.support.races import PLAN, RECIPE, WORDS, raced
from vkdnw_search import search
from vkdnw_search.commands.main import main
from vkdnw_search.commands.progress import RaceProgress
from vkdnw_search.errors import RaceError
from vkdnw_search.execution.worker_loop import INDEX
from vkdnw_search.output.templates import train
from vkdnw_search.racing import training
from vkdnw_search.racing.entrants import shortlist
from vkdnw_search.racing.race import Plan
from vkdnw_search.racing.schedule import Rung, epochs_left
from vkdnw_search.runs.folder import locked
from vkdnw_search.runs.reader import RunReader

pytest.importorskip("sklearn")

SHORT = Plan(data="digits", epochs=1, words=WORDS)
INLINE = ("--data", "digits", "--epochs", "1", "--networks", "2", "--executor", "inline")


def command(run: Path, *words: str) -> int:
    return main(["race", str(run), *INLINE, *words, "--", *WORDS])


def test_a_race_in_the_run_is_in_its_report_and_one_elsewhere_is_not(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run, own := tmp_path / "run")
    assert command(own, "--out", str(tmp_path / "race"), "-q") == 0
    shown = capsys.readouterr()
    assert not shown.err and "report" not in shown.out and not (own / "report.html").exists()
    assert command(own) == 0
    shown = capsys.readouterr()
    assert "rung 1 of 1: 2 networks until epoch 1 of 1" in shown.err and "report.html" in shown.out
    assert "The race" in (own / "report.html").read_text()
    assert "weights.safetensors beside it" in shown.out
    monkeypatch.setattr("vkdnw_search.output.report.write_report", fails_to_write)
    assert command(own) == 0
    said = capsys.readouterr().out
    assert "report       cannot be written: " in said and "The winner of the search" in said


def test_without_safetensors_the_weights_are_those_of_the_trainer(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_ = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("safetensors"):
            raise ImportError(name)
        return import_(name, *rest)

    found = raced(run, tmp_path / "race", SHORT, networks=2)
    assert found is not None and found.weights.name == "weights.safetensors"
    monkeypatch.setattr(builtins, "__import__", missing)
    found = raced(run, tmp_path / "race", SHORT, networks=2)
    assert found is not None and found.weights.read_bytes() == (found.winner.training(0) / "weights.pt").read_bytes()
    assert sorted(p.suffix for p in (tmp_path / "race" / "best").glob("weights.*")) == [".pt"]


def test_the_epochs_that_are_left_by_hand() -> None:
    """Of 4 networks until 1, 2 until 3: 4 + 2 × 2 are left, and 2 × 2 once the first rung is over."""
    rungs = (Rung(4, 1), Rung(2, 3))
    assert epochs_left([0, 0, 0, 0], rungs, seeds=1) == 8
    assert epochs_left([1, 1, 0, 1], rungs, seeds=1) == 5
    assert epochs_left([1, 3, 1, 0], rungs, seeds=1) == 1 + 2, "a race that goes on has some behind it"
    assert epochs_left([2, 1], rungs[1:], seeds=1) == 3
    assert epochs_left([0] * 8, rungs, seeds=2) == 16


def test_epochs_are_counted_while_a_race_runs_and_when_it_goes_on(run: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = raced(run, tmp_path / "race", networks=4, counted=lambda over, left: seen.append((over, left)))
    assert found is not None
    whole = sum(found.epochs(r) for r in found.racers)
    assert seen[0][0] + seen[0][1] == whole and seen[-1] == (whole, 0)
    assert all(a[0] <= b[0] for a, b in pairwise(seen))
    again: list[tuple[int, int]] = []
    raced(run, tmp_path / "race", networks=4, counted=lambda over, left: again.append((over, left)))
    assert set(again) == {(whole, 0)}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_has_the_time_left_at_the_pace_of_this_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five epochs in ten seconds, five to come: ten seconds are left, whatever was over before."""
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with RaceProgress(shown=True) as progress:
        progress.count(5, 10)
        assert progress._bar is not None
        progress.tell("a line")
        progress._bar.start_t -= 10
        progress.count(10, 5)
    said = terminal.getvalue()
    assert "a line\n" in said and "10/15 [00:10<00:10," in said


def test_any_executor_gives_the_same_and_is_left_open(run: Path, tmp_path: Path) -> None:
    one = raced(run, tmp_path / "one", SHORT, networks=3)
    with ThreadPoolExecutor(1) as pool:
        two = vkdnw_search.race(run, "digits", epochs=1, networks=3, words=WORDS, executor=pool, out=tmp_path / "two")
        assert pool.submit(len, "still").result() == 5
    assert one is not None and one.to_csv() == two.to_csv()


def test_a_network_of_known_name_races_and_others_are_told_the_names(run: Path, tmp_path: Path) -> None:
    with RunReader(run) as visited:
        ours = shortlist(visited, networks=2)
        *_, named = shortlist(visited, networks=2, others=["resnet", "resnet"])
        assert (named.name, named.roles) == ("resnet", ("yours",)) and named.key == visited.space.references["resnet"]
        same = shortlist(visited, networks=2, others=[ours[1].key])
        assert [e.roles for e in same] == [ours[0].roles, (*ours[1].roles, "yours")], "a network races once"
        with pytest.raises(
            RaceError, match=r"must be resnet, a Python file or an architecture .* Did you mean 'resnet'"
        ):
            shortlist(visited, networks=2, others=["resne"])


@pytest.mark.slow
def test_a_race_on_a_local_dask_cluster_is_the_same(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    one = raced(run, tmp_path / "one", SHORT, networks=2)
    words = [*INLINE[:-1], "{use: dask, workers: 1}", "--out", str(tmp_path / "two"), "--", *WORDS]
    assert one is not None and main(["race", str(run), *words]) == 0
    assert (tmp_path / "two" / "race.csv").read_text() == one.to_csv()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nosuch", "must be an installed executor"),
        ("[1]", "--executor: must be a name or a mapping with use"),
        ("{workers: 2}", "--executor: must be a name or a mapping with use"),
        ("{use: processes, workers: 0}", "processes.workers"),
        ("{use: dask, address: nowhere}", "address: must be tcp://HOST:PORT"),
    ],
)
def test_executors_that_are_none_are_told(
    run: Path, tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(run, "--out", str(tmp_path / "race"), "--executor", text) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "race").exists()


def test_workers_of_this_machine_have_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    assert training.worker_count() == "auto" and training.device_of_worker() is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert training.worker_count() == 2 and training.device_of_worker() is None
    devices = []
    for index in range(3):
        monkeypatch.setenv(INDEX, str(index))
        devices.append(training.device_of_worker())
    assert devices == ["cuda:0", "cuda:1", "cuda:0"]


def stop_early(run: Path, out: Path) -> Path:
    """A race of SHORT after its first network; the folder of its training."""
    looks = iter([False, True])
    assert raced(run, out, SHORT, networks=2, stopped=lambda: next(looks, True)) is None
    return out / "networks" / "00" / "seed-0"


@pytest.mark.parametrize(
    ("name", "content"),
    [("right-1.pt", b"broken"), ("curve.csv", b"\xff"), ("curve.csv", b"epoch,lr\n1,2\n"), ("last.pt", b"broken")],
)
def test_a_broken_file_of_a_training_is_named_and_nothing_else_is_lost(
    run: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    place = stop_early(run, tmp_path / "race")
    (place / name).write_bytes(content)
    if name == "last.pt":
        (place / "right-1.pt").unlink()
    with pytest.raises(
        RaceError, match=f"{name}: must be as it was written, but cannot be read: .*Take the folder seed-0"
    ):
        raced(run, tmp_path / "race", SHORT, networks=2)
    shutil.rmtree(place)
    assert raced(run, tmp_path / "race", SHORT, networks=2) is not None


def fails_to_write(self: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def lacks_finalists(run: Path, tmp_path: Path) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        leave_out_the_end(patch)
        search({**RECIPE, "finalists": 0, "limits": {"flops": 1}}, out=tmp_path / "other").close()
    return [str(tmp_path / "other")]


def test_a_race_that_is_under_way_elsewhere_is_left_alone(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(tmp_path / "race" / "race.lock"):
        assert command(run, "--out", str(tmp_path / "race")) == 2
    assert "is in use by process" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "race").iterdir()] == ["race.lock"]


def no_data(run: Path, tmp_path: Path) -> list[str]:
    return [str(run), "--data", str(tmp_path / "nowhere")]


def no_run(run: Path, tmp_path: Path) -> list[str]:
    return [str(tmp_path / "nowhere")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            no_data,
            "nowhere: must be `digits`, a folder of images or IDX files, a .npz or MODULE:FUNCTION",
        ),
        (no_run, "nowhere"),
        (lacks_finalists, "must be a run that has ended with a winner"),
    ],
)
def test_what_is_missing_is_told_in_one_paragraph(
    run: Path,
    tmp_path: Path,
    words: Callable[[Path, Path], list[str]],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, *more = words(run, tmp_path)
    assert main(["race", folder, *INLINE, *more, "--out", str(tmp_path / "race"), "--", *WORDS]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "race").exists()


def test_a_full_disk_is_no_fault_of_a_network_and_the_race_goes_on_later(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(train.Trainer, "save", fails_to_write)
        assert command(run, "--out", str(tmp_path / "race")) == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said and "the same command continues" in said
    assert command(run, "--out", str(tmp_path / "race")) == 0


def test_the_run_of_a_race_that_was_searched_without_finalists_has_the_next_by_score(run: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        leave_out_the_end(patch)
        search({**RECIPE, "finalists": 0}, out=tmp_path / "other").close()
    found = raced(tmp_path / "other", tmp_path / "race", PLAN, networks=3)
    assert found is not None and len(found.racers) == 3
    assert json.loads((tmp_path / "race" / "race.json").read_text())["schedule"][0] == {"networks": 3, "epochs": 1}
