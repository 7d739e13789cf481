"""Packages that take long to import, and a program that says which of them a command line imported.

    python -m tests.support.heavy < commands.json

reads lists of words, carries them out as ``vkdnw-search`` would, one after the other in one process, and writes for
each its exit code, what it said, and the heavy packages that are imported by then.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

HEAVY = ("torch", "numpy", "scipy", "pymoo", "matplotlib", "fvcore", "search_spaces")
"""What help and the news of a mistake must do without."""


@dataclass(frozen=True)
class Outcome:
    """What came of a command line."""

    code: int
    said: str
    imported: tuple[str, ...]


def outcomes(commands: Sequence[Sequence[str]], *, folder: Path) -> list[Outcome]:
    """Carry ``commands`` out in ``folder``, in a fresh process."""
    ended = python("-m", "tests.support.heavy", folder=folder, text=json.dumps([list(words) for words in commands]))
    return [Outcome(code, said, tuple(imported)) for code, said, imported in json.loads(ended.stdout)]


def python(*words: str, folder: Path = ROOT, text: str = "") -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that finds this checkout."""
    path = [str(ROOT), *filter(None, sys.path)]
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "COLUMNS": "200"},
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )


def main() -> None:
    from vkdnw_search.commands.main import main as run

    found = []
    for words in json.load(sys.stdin):
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
            try:
                code = run(words)
            except SystemExit as stop:  # argparse
                code = int(stop.code or 0)
        found.append((code, out.getvalue(), [name for name in HEAVY if name in sys.modules]))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
