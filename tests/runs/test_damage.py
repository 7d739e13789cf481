"""Damaged run folders: what is wrong is said in words before a search goes on, and nothing good is written over."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.quick import leave_out_the_end
from vkdnw_search.commands.main import main
from vkdnw_search.engine.evaluator import Evaluator
from vkdnw_search.runs.reader import RunReader

WORDS = [
    "nb201", "space={use: nasbench201, cells: 1, channels: 4, resolution: 16}", "score=trainable_layers",
    "executor=inline", "finalists=2", "limits={latency: 9000s}", "optimizer={use: random, children: 10}",
]  # fmt: skip
DEEP = "[" * 100_000


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vkdnw_search.output.module._must_equal", lambda *_: None)
        assert main([*WORDS, "stop.evaluations=30", "-q", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def run(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, to be damaged."""
    monkeypatch.setattr("vkdnw_search.output.module._must_equal", lambda *_: None)
    return Path(shutil.copytree(sound, tmp_path / "run"))


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and stderr of a command."""
    capsys.readouterr()
    code = main(list(words))
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return code, error


def changed(run: Path, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(run / "run.sqlite", isolation_level=None)) as database:
        assert database.execute(statement, values).rowcount == 1


# ------------------------------------------------------------------------------------------------- environment.json


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "5",
        "{",
        '{"python": "3.11", "packa',
        DEEP,
        "[" * 900 + "]" * 900,
        '{"a": "\\ud800"}',
        b"\xff\xfe\x00",
        None,
    ],
    ids=["empty", "list", "number", "brace", "cut", "deep", "half deep", "half a character", "binary", "missing"],
)
def test_an_environment_that_is_not_sound_is_not_known(run: Path, text: str | bytes | None) -> None:
    file = run / "environment.json"
    file.unlink()
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with RunReader(run) as visited:
        assert visited.environment is None


def test_without_an_environment_there_is_a_report_and_the_run_goes_on(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "environment.json").write_text("[]")
    assert said(capsys, "report", str(run)) == (0, "")
    assert "The environment is not known: environment.json is missing or damaged" in (run / "report.html").read_text()
    leave_out_the_end(monkeypatch)
    assert said(capsys, *WORDS, "stop.evaluations=40", "-q", "--out", str(run)) == (0, "")


def test_an_environment_without_keys_is_shown_as_it_is(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "environment.json").write_text('{"python": {"<b>": [1, null]}}')
    assert said(capsys, "report", str(run)) == (0, "")
    assert "<td>&lt;b&gt; 1, none</td>" in (run / "report.html").read_text()


# ------------------------------------------------------------------------------------------------------- candidates

CANDIDATES = {
    "genome that is no JSON": ("genome = 'x'", "candidate 7: its genome is no JSON"),
    "genome nested deep": (f"genome = '{DEEP}'", "candidate 7: its genome is no JSON"),
    "genome of another kind": ("genome = '5'", "candidate 7: its genome is no list of indices"),
    "genome of text": ("""genome = '["0"]'""", "its genome is no list of indices"),
    "negative genome": ("genome = '[-1,0,0,0,0,0]'", "its genome is no list of indices"),
    "infinite value": ("value = 9e999", "candidate 7: a number of it is not finite"),
    "no value": ("value = NULL", "candidate needs a finite score"),
    "infinite violation": ("violation = 9e999", "candidate 7: a number of it is not finite"),
    "violation of a scored one": ("violation = 0.5", "violation 0.5 with scored"),
    "unknown status": ("status = 'splendid'", "splendid"),
    "negative cost": ("flops = -1", "candidate 7: a cost is negative"),
    "terms that are no JSON": ("terms = '{'", "what its score is made of is no JSON"),
    "terms that are text": ("""terms = '{"a": "1"}'""", "what its score is made of are no named numbers"),
    "terms nested deep": (f"terms = '{DEEP}'", "what its score is made of is no JSON"),
    "no terms": ("terms = NULL", "what its score is made of is no JSON"),
    "half a character": ("""terms = '{"\\ud800": 1}'""", "surrogates not allowed"),
    "text that is none": ("key = CAST(x'fffe' AS TEXT)", "Could not decode to UTF-8"),
}
"""Damage → what is set to which value, and words that tell of it."""


@pytest.mark.parametrize("damage", CANDIDATES)
def test_a_damaged_candidate_is_told_of_by_every_command_before_anything_is_done(
    run: Path, damage: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    value, words = CANDIDATES[damage]
    changed(run, f"UPDATE evaluation SET {value} WHERE number = 7")
    before = contents(run)
    monkeypatch.setattr(Evaluator, "task", not_to_be_called)
    for command in (
        ["report", str(run)],
        ["export", str(run), "--rank", "2", "--to", str(run.parent / "second.py")],
        [*WORDS, "stop.evaluations=60", "-q", "--out", str(run)],
    ):
        code, error = said(capsys, *command)
        assert code == 2 and words in error and str(run / "run.sqlite") in error, command
        assert "must be as they were written, but are not" in error
        assert contents(run) == before, command
    assert not (run.parent / "second.py").exists()


def test_a_time_without_an_end_is_told_of(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(run, "UPDATE timing SET finished = 9e999 WHERE number = 7")
    for command in (["report", str(run)], [*WORDS, "stop.evaluations=60", "-q", "--out", str(run)]):
        code, error = said(capsys, *command)
        assert code == 2 and "the time of running is inf seconds" in error


def not_to_be_called(*_: object) -> Any:
    raise AssertionError("a candidate was about to be scored")


def contents(run: Path) -> dict[str, bytes]:
    """What is in the files of a run that must not be lost, and in its database."""
    names = ("results.csv", "finalists.csv", "report.html", "best/model.py", "environment.json")
    with contextlib.closing(sqlite3.connect(run / "run.sqlite")) as database:
        database.text_factory = bytes
        rows = [*database.execute("SELECT * FROM evaluation"), *database.execute("SELECT * FROM note")]
    return {name: (run / name).read_bytes() for name in names} | {"rows": repr(rows).encode()}


def test_genomes_of_another_space_are_told_of(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(run, "UPDATE evaluation SET genome = '[9,0,0,0,0,0]' WHERE number = 7")
    for command in ("report", "export"):
        code, error = said(capsys, command, str(run))
        assert (
            code == 2 and "an index for each of the 6 genes of nasbench201, but that of candidate 7 is (9, 0" in error
        )


def test_a_genome_of_another_network_is_not_exported_under_its_name(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.closing(sqlite3.connect(run / "run.sqlite")) as database:
        ((number,),) = database.execute("SELECT json_extract(value, '$.winner') FROM note WHERE name = 'judgement'")
    changed(run, "UPDATE evaluation SET genome = '[0,0,0,0,0,0]' WHERE number = ?", number)
    for command in ("report", "export"):
        code, error = said(capsys, command, str(run))
        assert code == 2 and f"candidate {number} must be |" in error and "its genome is that of |none~0|" in error


# ------------------------------------------------------------------------------------------------------------ notes


@pytest.mark.parametrize("name", ["judgement", "neighbours", "latencies"])
@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": "x"}', '{"winner": "x"}', DEEP])
def test_a_damaged_note_is_told_of_by_name(run: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    changed(run, "UPDATE note SET value = ? WHERE name = ?", text, name)
    good = (run / "report.html").read_bytes()
    code, error = said(capsys, "report", str(run))
    assert code == 2 and f"run.sqlite, {name}: must be as it was written, but is not" in error
    assert len(error) < 500 and (run / "report.html").read_bytes() == good


@pytest.mark.parametrize("name", ["judgement", "neighbours"])
def test_a_damaged_verdict_is_made_anew_by_the_command_that_made_the_run(
    run: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(run, "UPDATE note SET value = 'x' WHERE name = ?", name)
    leave_out_the_end(monkeypatch)
    assert said(capsys, *WORDS, "stop.evaluations=30", "-q", "--out", str(run)) == (0, "")
    with RunReader(run) as visited:
        assert visited.judgement is not None and visited.neighbours


def test_latencies_that_are_damaged_end_a_continued_run_before_its_search(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(run, "UPDATE note SET value = 'x' WHERE name = 'latencies'")
    monkeypatch.setattr(Evaluator, "task", not_to_be_called)
    code, error = said(capsys, *WORDS, "stop.evaluations=60", "-q", "--out", str(run))
    assert code == 1 and "latency table of the run: must be as it was written" in error


def test_a_winner_without_a_score_is_told_of(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.closing(sqlite3.connect(run / "run.sqlite", isolation_level=None)) as database:
        database.execute("UPDATE note SET value = json_set(value, '$.winner', 10000) WHERE name = 'judgement'")
    code, error = said(capsys, "report", str(run))
    assert code == 2 and "its winner, network 10000, has no score" in error


# --------------------------------------------------------------------------------------------------------- any file


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def flipped(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(20):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def emptied(content: bytes, chance: random.Random) -> bytes:
    return b""


def replaced(content: bytes, chance: random.Random) -> bytes:
    return json.dumps(chance.choice([[], 5, "x", None, {"seed": []}])).encode()


def noise(content: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(5000)


@pytest.mark.fault
@pytest.mark.parametrize(
    "name", ["recipe.yaml", "environment.json", "run.sqlite", "run.lock", "run.log", "results.csv"]
)
@pytest.mark.parametrize("damage", [cut, flipped, emptied, replaced, noise])
def test_no_command_ends_in_a_traceback_whatever_happened_to_a_file(
    run: Path,
    name: str,
    damage: Callable[[bytes, random.Random], bytes],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = {file: (run / file).read_bytes() for file in ("report.html", "results.csv") if file != name}
    leave_out_the_end(monkeypatch)
    content = (run / name).read_bytes()
    for seed in range(2):
        (run / name).write_bytes(damage(content, random.Random(seed)))
        for command in (["export", str(run), "--to", str(run.parent / f"{seed}.py")], ["report", str(run)]):
            code, error = said(capsys, *command)
            assert code in (0, 1, 2) and len(error.splitlines()) < 10 and len(error) < 4000
        code, error = said(capsys, *WORDS, "stop.evaluations=30", "-q", "--out", str(run))
        assert code in (0, 1, 2) and len(error) < 4000
        assert not code or {file: (run / file).read_bytes() for file in good} == good, error


# ------------------------------------------------------------------------------------------------ an empty database


def test_an_empty_database_is_refused_and_a_good_report_stays(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = (run / "report.html").read_bytes()
    (run / "run.sqlite").write_bytes(b"")
    before = sorted(file.name for file in run.iterdir())
    for command in ("report", "export"):
        code, error = said(capsys, command, str(run))
        assert code == 2 and "run.sqlite: must be the database of a run, but is empty" in error
    code, error = said(capsys, *WORDS, "stop.evaluations=30", "-q", "--out", str(run))
    assert code == 2 and "its run.sqlite is empty, though other files of a run are there" in error
    assert (run / "report.html").read_bytes() == good and (run / "run.sqlite").read_bytes() == b""
    assert sorted(file.name for file in run.iterdir()) == before
