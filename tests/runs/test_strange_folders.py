"""Run folders as a stranger may have made them: nothing outside is touched, nothing good is lost, all is told in words.

Every file and folder of a finished run is damaged, or replaced by a link, a pipe and the like, before each command.
"""

from __future__ import annotations

import contextlib
import csv
import json
import random
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import strange_files as strange
from tests.support.reliability import Injected
from tests.support.strange_files import COMMANDS, Damage, Tree, finished_run, tree, words
from vkdnw_search.commands.main import main
from vkdnw_search.runs.contents import PROGRAMS

FILES = (
    *("recipe.yaml", "environment.json", "run.sqlite", "run.log", "run.lock"),
    *("results.csv", "finalists.csv", "report.html"),
    *("figures/progress.png", "figures/progress.svg", "figures/score_flops.png", "figures/score_flops.svg"),
    *(
        f"{folder}/{name}"
        for folder in ("best", "bands/1M", "exports/1")
        for name in ("model.py", "architecture.json", *PROGRAMS)
    ),
)
"""All files of the run but those of the other band, which is like the first."""
READ = ("recipe.yaml", "environment.json", "run.sqlite")
"""The files of which the content is read."""
DATABASE_FILES = ("run.sqlite-wal", "run.sqlite-shm", "run.sqlite-journal")
DRAFTS = ("report.html.part", "results.csv.part", "recipe.yaml.part")
NOT_THERE = (*DATABASE_FILES, *DRAFTS)
"""Files that are there only while a run lasts, or after it was killed."""
FOLDERS = ("best", "bands", "bands/1M", "figures", "exports", "exports/1")

OF_FILES = ("flipped", "cut", "other_json")
LINKS = ("link", "link_to_nothing", "link_to_a_folder")
OF_ANY = (*LINKS, "hard_link", "pipe", "listening", "folder")
CASES = [
    *((damage, file) for damage in (*OF_FILES, *OF_ANY) for file in FILES),
    *((damage, file) for damage in OF_ANY for file in NOT_THERE if damage != "hard_link"),
    *((damage, folder) for damage in (*LINKS, "pipe", "listening", "file") for folder in FOLDERS),
]
FROM_THE_RUN = ("results.csv", "finalists.csv", "recipe.yaml", "best/model.py", "best/architecture.json")
FROM_THE_RUN += ("bands/1M/model.py", "bands/1M/architecture.json", "report.html", "figures/score_flops.svg")
WRITTEN = {
    "report": ("report.html", "figures/progress.png", "figures/progress.svg", "figures/score_flops.png"),
    "export": ("exports/1/model.py", "exports/1/architecture.json"),
    "search": FROM_THE_RUN,
}
"""Command → what it leaves, which is the same however often it is given."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a finished run, with a report and an export."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with finished_run(folder):
        there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert there >= set(FILES) and {file for file in there if "bands/200k" not in file} == set(FILES)
        yield folder


@dataclass(frozen=True)
class Told:
    code: int
    error: str


def given(
    command: str, damage: Damage, place: str, sound: Path, work: Path, capsys: pytest.CaptureFixture[str], seed: int = 0
) -> Told:
    """Give a command on a damaged copy of a run, and see to all that holds whatever it made of it."""
    shutil.rmtree(work, ignore_errors=True)
    outside, run = work / "outside" / "run", work / "run"
    for copy in (outside, run):
        shutil.copytree(sound, copy)
        (copy / place).touch() if place in NOT_THERE else None
    (work / "outside" / "precious.txt").write_text("precious")
    damage(run / place, outside / place, random.Random(seed))
    before, before_outside = tree(run), tree(work / "outside", times=True)
    capsys.readouterr()
    code = main(words(command, run))
    error = capsys.readouterr().err
    what = f"{damage.__name__} {place}, {command}: {code}, {error}"
    assert code in (0, 1, 2) and bool(code) == bool(error), what
    assert "Traceback" not in error and "\n\n" not in error and len(error) < 2000, what
    assert tree(work / "outside", times=True) == before_outside, what
    if code:
        assert untouched(tree(run)) == untouched(before), what
        assert_log_and_store_stay(before, run, place, what)
    else:
        assert_right(command, damage, place, run, sound, what)
    return Told(code, error)


def untouched(whole: Tree) -> Tree:
    """Without what a command that fails may write to: it notes who holds the run, and that it went on."""
    return {place: entry for place, entry in whole.items() if place not in ("run.lock", "run.log", "run.sqlite")}


def assert_log_and_store_stay(before: Tree, run: Path, place: str, what: str) -> None:
    after = tree(run)
    kind, content, *_ = before["run.log"]
    if kind == stat.S_IFREG:
        assert str(after["run.log"][1]).startswith(str(content)[:-1]), what
    if place.startswith("run.sqlite"):
        assert after.get("run.sqlite") == before.get("run.sqlite"), what
    else:
        assert rows(run) == rows_of(before["run.sqlite"][1], run.with_name("before.sqlite")), what


def rows(run: Path) -> list[object]:
    with contextlib.closing(sqlite3.connect(run / "run.sqlite")) as database:
        return [*database.execute("SELECT * FROM evaluation"), *database.execute("SELECT * FROM note ORDER BY name")]


def rows_of(content: object, file: Path) -> list[object]:
    assert isinstance(content, bytes)
    folder = file.with_suffix("")
    folder.mkdir(exist_ok=True)
    (folder / "run.sqlite").write_bytes(content)
    return rows(folder)


def assert_right(command: str, damage: Damage, place: str, run: Path, sound: Path, what: str) -> None:
    """What a command that succeeds leaves is what it leaves on the sound folder.

    A changed digit of a number in the database, or of the recipe where it is only read, cannot be known to be wrong.
    """
    for file in WRITTEN[command]:
        assert (run / file).is_file() and not (run / file).is_symlink(), what
    if damage.__name__ not in OF_FILES or place not in READ:
        skipped = "report.html" if place == "environment.json" else ""
        for file in WRITTEN[command]:
            assert file == skipped or (run / file).read_bytes() == (sound / file).read_bytes(), f"{what}: {file}"
    elif place == "recipe.yaml" and command == "search":
        assert (run / place).read_bytes() == (sound / place).read_bytes(), what
    if command == "search":
        known = {row[0]: row[1] for row in query(run, "SELECT number, key FROM evaluation")}
        with (run / "results.csv").open(newline="") as table:
            assert {int(row["number"]): row["architecture"] for row in csv.DictReader(table)} == known, what
        assert json.loads((run / "best/architecture.json").read_bytes())["architecture"] in known.values(), what


def query(run: Path, statement: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(run / "run.sqlite")) as database:
        return list(database.execute(statement))


@pytest.mark.parametrize(
    ("command", "damage", "place"),
    [
        *(("report", "link", place) for place in ("environment.json", "recipe.yaml", "run.sqlite", "figures")),
        *(("report", "pipe", place) for place in ("environment.json", "recipe.yaml", "run.sqlite", "report.html")),
        *(("search", "link", place) for place in ("run.lock", "run.log", "results.csv", "best", "best/model.py")),
        *(("search", "link_to_nothing", place) for place in ("run.sqlite-wal", "run.log", "bands/1M")),
        *(("search", "pipe", place) for place in ("run.lock", "run.log", "run.sqlite-journal", "finalists.csv")),
        *(("search", "hard_link", place) for place in ("run.lock", "run.log", "run.sqlite")),
        *(("export", "link", place) for place in ("exports", "exports/1", "exports/1/model.py")),
    ],
)
@pytest.mark.timeout(600)  # on a pipe that is opened a command waits for ever
def test_links_and_special_files_in_a_run_folder_are_refused(
    command: str, damage: str, place: str, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = given(command, getattr(strange, damage), place, sound, tmp_path / "work", capsys)
    assert told.code == 2 and told.error.count("\n") == 1
    kind = "folder" if place in FOLDERS else "file"
    assert f"{tmp_path / 'work' / 'run' / place}: must be a {kind} of its own, but is a" in told.error
    assert "remove it, or put a plain copy in its place" in told.error


@pytest.mark.parametrize(
    ("command", "place"),
    [
        *(("search", f"best/{name}") for name in PROGRAMS),
        *(("search", place) for place in ("results.csv.part", "recipe.yaml.part")),
        *(("export", "exports/1/train.py"), ("report", "report.html.part")),
    ],
)
def test_a_link_that_is_not_opened_is_no_fault(
    command: str, place: str, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert given(command, strange.link, place, sound, tmp_path / "work", capsys).code == 0


def test_the_run_folder_itself_may_be_a_link(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound, tmp_path / "elsewhere" / "run")
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere" / "run")
    for command in COMMANDS:
        assert main(words(command, tmp_path / "run")) == 0
    assert (tmp_path / "run").is_symlink()


def test_a_run_begins_in_a_folder_that_is_not_there_or_a_link_to_an_empty_one(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for folder in (tmp_path / "link", tmp_path / "deep" / "inside"):
        assert main(words("search", folder)) == 0
        assert (folder / "best/model.py").read_bytes() == (sound / "best/model.py").read_bytes()


def super_journal(database: Path, named: Path) -> bytes:
    """A rollback journal of ``database`` that undoes nothing and names a super-journal.

    As https://www.sqlite.org/fileformat.html has it: a header of one sector, then page number, name, its length, the
    sum of its bytes, and the mark that a journal begins with.
    """
    mark, page, name = bytes.fromhex("d9d505f920a163d7"), 4096, str(named).encode()
    pages = database.stat().st_size // page
    head = mark + b"".join(number.to_bytes(4, "big") for number in (0, 0, pages, 512, page))
    end = name + len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big") + mark
    return head.ljust(512, b"\0") + (2**30 // page + 1).to_bytes(4, "big") + end


def test_a_journal_deletes_no_other_file(sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, precious = Path(shutil.copytree(sound, tmp_path / "run")), tmp_path / "precious.txt"
    precious.write_text("precious")
    journal = super_journal(run / "run.sqlite", precious)
    for command in COMMANDS:
        (run / "run.sqlite-journal").write_bytes(journal)
        before = untouched(tree(run))
        code = main(words(command, run))
        error = capsys.readouterr().err
        assert precious.read_text() == "precious"
        assert code == 2 and "run.sqlite-journal: must be about the database beside it alone" in error
        assert untouched(tree(run)) == before
    shutil.copy(sound / "run.sqlite", run)  # that the journal is one: SQLite itself follows it
    with contextlib.closing(sqlite3.connect(run / "run.sqlite")) as database:
        database.execute("PRAGMA page_count").fetchone()
    assert not precious.exists()


def test_report_to_a_link_without_target_is_refused(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.html").symlink_to(tmp_path / "not-there.html")
    assert main(["report", str(sound), "--to", str(tmp_path / "page.html")]) == 2
    assert "is there already, and was left as it is" in capsys.readouterr().err
    assert not (tmp_path / "not-there.html").exists()


@pytest.mark.fault
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("damage", sorted({damage for damage, _ in CASES}))
def test_every_file_and_folder_of_a_run_may_be_damaged_or_replaced(
    damage: str, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], injected: Injected
) -> None:
    places = [place for name, place in CASES if name == damage]
    told = [
        given(command, getattr(strange, damage), place, sound, tmp_path / "work", capsys, seed)
        for place in places
        for command in COMMANDS
        for seed in range(8 if damage in OF_FILES and place in READ else 1)
    ]
    outcome = (
        "refused in a sentence with all files left, or the files of an undisturbed run; nothing outside is touched"
    )
    injected(f"a file or folder of a run folder: {damage.replace('_', ' ')}", len(told), outcome)
