from __future__ import annotations

import contextlib
import math
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vkdnw_search.errors import RunFolderError
from vkdnw_search.records import Cost, Evaluation, Score, Status
from vkdnw_search.runs.store import Snapshot, Store

COST = Cost(flops=2**40, macs=2**39, parameters=7, layers=3, tensors=9, modules=4)


def scored(number: int, value: float = 1.0) -> Evaluation:
    return Evaluation(
        number, 0, (0, number), f"key {number}", COST, 0.0, Status.SCORED, "", Score(value, 0.5, {"a": value})
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The database of a run with 500 evaluations, closed."""
    path = tmp_path / "run.sqlite"
    with Store(path) as store:
        store.add_generation(0, first=0, genomes=[(0, number) for number in range(500)])
        store.add([scored(number) for number in range(500)], seconds={}, now=1.0)
    return path


def refused(path: Path, match: str) -> None:
    """It is refused with these words, and neither changed nor joined by other files."""
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(RunFolderError, match=match):
        Store(path)
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before


def left_by_a_killed_process(run: Path, folder: Path) -> Path:
    """A copy of the database with its write-ahead log, which alone has the candidate 500."""
    folder.mkdir()
    with Store(run) as store:
        store.add([scored(500)], seconds={}, now=2.0)
        for file in run.parent.glob("run.sqlite*"):
            (folder / file.name).write_bytes(file.read_bytes())
    (folder / "run.sqlite-shm").unlink()
    return folder / "run.sqlite"


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith("-shm")}


def test_reading_changes_nothing_and_leaves_nothing_beside(run: Path) -> None:
    before = files(run.parent)
    with Store.to_read(run) as store:
        assert len(list(store.evaluations())) == 500
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            store.set_note("judgement", "{}")
    assert files(run.parent) == before == {"run.sqlite": run.read_bytes()}
    assert [file.name for file in run.parent.iterdir()] == ["run.sqlite"]


def test_what_is_read_is_of_one_moment_while_a_run_goes_on(run: Path) -> None:
    with Store(run) as writer:
        writer.add([scored(500)], seconds={}, now=2.0)
        with Store.to_read(run) as store:
            writer.add([scored(501)], seconds={}, now=3.0)
            assert store.counts() == {"scored": 501} and len(list(store.evaluations())) == 501
        with Store.to_read(run) as store:
            assert store.counts() == {"scored": 502}


def test_what_a_killed_process_left_in_the_log_is_read_and_stays_there(run: Path, tmp_path: Path) -> None:
    killed = left_by_a_killed_process(run, tmp_path / "killed")
    before = files(killed.parent)
    with Store.to_read(killed) as store:
        assert store.counts() == {"scored": 501}
    assert files(killed.parent) == before


@pytest.mark.parametrize("content", [b"", b"[]", b"x" * 50, None])
def test_nothing_is_made_to_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "run.sqlite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        RunFolderError, match=r"must be the database of a run, but (is empty|cannot be read as one)|is some other"
    ):
        Store.to_read(path)
    assert files(tmp_path) == ({} if content is None else {"run.sqlite": content})


@pytest.mark.parametrize("content", [b"[]", b"x" * 50])
def test_a_file_too_short_for_a_database_is_not_made_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.sqlite").write_bytes(content)
    refused(tmp_path / "run.sqlite", "is some other database|cannot be read as one")


@given(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20))
def test_what_is_stored_comes_back_to_the_bit(value: float, reason: str) -> None:
    cost = Cost(flops=2**62, macs=0, parameters=1, layers=0, tensors=0, modules=0)
    evaluations = [
        Evaluation(0, 3, (1, 2), "k", cost, 0.0, Status.SCORED, reason, Score(value, abs(value), {"x": value})),
        Evaluation(1, 3, (2, 2), "l", cost, 5e-324, Status.INFEASIBLE, reason),
    ]
    with Store() as store:
        store.add(evaluations, seconds={0: 0.25}, now=2.0)
        assert list(store.evaluations()) == evaluations
        assert store.timings() == [(0, 2.0, 0.25), (1, 2.0, 0.0)]


def test_a_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE thesis (years)")
    database.close()
    refused(path, "is some other database")


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    path.write_bytes(b"years of work\n" * 500)
    refused(path, "cannot be read as one")


def test_a_truncated_database_is_refused_and_left_as_it_is(run: Path) -> None:
    content = run.read_bytes()
    run.write_bytes(content[: len(content) // 2])
    refused(run, "damaged|cannot be read as one")


def test_a_database_overwritten_in_the_middle_is_refused_and_left_as_it_is(run: Path) -> None:
    content = bytearray(run.read_bytes())
    content[8192:20_000] = bytes(range(256)) * 46 + bytes(32)
    run.write_bytes(content)
    refused(run, "damaged|cannot be read as one")


@pytest.mark.parametrize("version", [0, 1, 2, 99])
def test_a_schema_of_another_version_is_refused_naming_both(run: Path, version: int) -> None:
    database = sqlite3.connect(run)
    database.execute(f"PRAGMA user_version = {version}")
    database.commit()
    database.close()
    refused(run, f"must have schema version 4, but has {version}")


def test_a_database_with_a_trigger_of_a_stranger_is_refused_and_left_as_it_is(run: Path) -> None:
    database = sqlite3.connect(run)
    database.execute("CREATE TRIGGER trap AFTER INSERT ON evaluation BEGIN DELETE FROM note; END")
    database.close()
    refused(run, "must have the tables of the database of a run, but has others")


def test_a_file_whose_maker_was_killed_before_it_had_written_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "run.sqlite").touch()
    with Store(tmp_path / "run.sqlite") as store:
        store.add([scored(0)], seconds={}, now=1.0)
        assert list(store.evaluations()) == [scored(0)]


def test_only_the_last_snapshot_is_kept_and_comes_back_as_it_was(tmp_path: Path) -> None:
    states = [{"random": {"state": 2**127 + i, "name": "ℵ"}, "row": [0.1, -math.inf, None, [i]]} for i in range(3)]
    with Store(tmp_path / "run.sqlite") as store:
        assert store.snapshot() is None
        for i, state in enumerate(states):
            store.set_snapshot(Snapshot(i, 10 * i, "a test", state))
    with Store(tmp_path / "run.sqlite") as store:
        assert store.snapshot() == Snapshot(2, 20, "a test", states[2])


@pytest.mark.parametrize("state", ["", "[" * 100_000, "[1]", '{"a": ' + "1" * 5000 + "}"])
def test_a_snapshot_that_is_no_state_is_an_error_in_words(tmp_path: Path, state: str) -> None:
    path = tmp_path / "run.sqlite"
    Store(path).close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("INSERT INTO snapshot VALUES (0, 1, 1, '', ?)", (state,))
    with Store(path) as store, pytest.raises(RunFolderError, match="the optimizer's state kept there"):
        store.snapshot()


def test_terms_are_named_in_the_order_in_which_they_came() -> None:
    def of(number: int, *names: str) -> Evaluation:
        return replace(scored(number), score=Score(1.0, 0.5, dict.fromkeys(names, 0.0)))

    with Store() as store:
        store.add([of(0, "b", "a"), of(1, "c", "a"), replace(of(2), status=Status.BOUNDED)], seconds={}, now=1.0)
        assert store.terms() == ["b", "a", "c"]


def test_a_generation_that_would_be_asked_otherwise_is_refused(run: Path) -> None:
    with Store(run) as store, pytest.raises(RunFolderError, match="generation 0 must be as it was"):
        store.add_generation(0, first=0, genomes=[(1, 1)])


def test_a_transaction_that_fails_leaves_nothing(run: Path) -> None:
    with Store(run) as store:
        with pytest.raises(RunFolderError, match="UNIQUE constraint failed"):
            store.add([scored(500), scored(499)], seconds={}, now=2.0)
        assert store.counts() == {"scored": 500}


def test_a_new_result_makes_the_verdicts_on_all_go(run: Path) -> None:
    with Store(run) as store:
        for name in ("judgement", "neighbours", "latencies"):
            store.set_note(name, "{}")
        store.add([scored(500)], seconds={}, now=2.0)
        assert [store.note(name) for name in ("judgement", "neighbours", "latencies")] == [None, None, "{}"]


def test_a_process_killed_while_it_made_the_database_leaves_one_that_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("vkdnw_search.runs.sqlite_files._create", killed)
        Store(tmp_path / "run.sqlite")
    with Store(tmp_path / "run.sqlite") as store:
        assert store.counts() == {}
