"""Searches in processes of their own, to be disturbed: what the fault tests share."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("results.csv", "best/architecture.json", "best/model.py")

CHILDREN = 8
"""Candidates in a generation of SMALL after the first; the first has twice as many."""

SMALL = (
    "nb201",
    "space={use: nasbench201, channels: 4, cells: 1}",
    "score={use: vkdnw_single, images: 4, directions: 8, resolution: 8, parameters: 16, draws: 2}",
    f"optimizer={{use: evolution, population: {2 * CHILDREN}, children: {CHILDREN}}}",
    "finalists=2",
)
"""A search by the real score that takes about ten milliseconds a candidate."""

INLINE = "executor=inline"
LONG, SHORT = "stop.evaluations=600", "stop.evaluations=200"


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The undisturbed run that disturbed ones of LONG have to equal."""
    out = tmp_path_factory.mktemp("long") / "undisturbed"
    finish(out, *SMALL, LONG, INLINE)
    return out


@pytest.fixture(scope="session")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of SHORT."""
    out = tmp_path_factory.mktemp("short") / "undisturbed"
    finish(out, *SMALL, SHORT, INLINE)
    return out


def start(
    out: Path, *words: str, after: Sequence[str] = (), before: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    """A search, or another command with --out, in a process group of its own. What it says on stderr is kept beside
    the folder; ``after`` stands at the end of its words.
    """
    with out.with_suffix(".stderr").open("a") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "vkdnw_search", *words, "-q", "--out", str(out), *after],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            text=True,
            start_new_session=True,
            preexec_fn=before,
        )


def finish(out: Path, *words: str, expected: int = 0, before: Callable[[], None] | None = None) -> str:
    """Run a search to its end. Returns what it said on stderr."""
    out.with_suffix(".stderr").unlink(missing_ok=True)
    code = start(out, *words, before=before).wait(timeout=300)
    said = out.with_suffix(".stderr").read_text()
    assert code == expected, f"exit code {code}: {said}"
    return said


def signal_group(process: subprocess.Popen[str], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def visited(out: Path) -> int:
    """Candidates in the run folder so far."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{out / 'run.sqlite'}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM evaluation").fetchone()[0])
    except sqlite3.Error:
        return 0


def wait_for(out: Path, process: subprocess.Popen[str], *, beyond: int) -> int:
    """Wait until more than ``beyond`` candidates are stored; their number."""
    while (count := visited(out)) <= beyond:
        assert process.poll() is None, f"ended with {process.returncode}: {out.with_suffix('.stderr').read_text()}"
        time.sleep(0.02)
    return count


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Process numbers of the workers of a search (Linux)."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError, ValueError):
            if folder.name.isdigit() and b"spawn_main" in (folder / "cmdline").read_bytes():
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == process.pid:
                    found.append(int(folder.name))
    return found


def kill(pid: int) -> bool:
    """Whether the process was still there to be killed."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def rows(out: Path, *columns: str) -> list[tuple[object, ...]]:
    """What is stored of the candidates, by default all but times."""
    with contextlib.closing(sqlite3.connect(out / "run.sqlite")) as database:
        return list(database.execute(f"SELECT {', '.join(columns) or '*'} FROM evaluation ORDER BY number"))


def assert_equal(disturbed: Path, undisturbed: Path, files: Sequence[str] = FILES) -> None:
    """Both runs found the same, to the byte."""
    for found, expected in zip(rows(disturbed), rows(undisturbed), strict=True):
        assert found == expected
    for name in files:
        assert (disturbed / name).read_bytes() == (undisturbed / name).read_bytes(), name
