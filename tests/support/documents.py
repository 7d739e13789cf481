"""The documents of the project, the code in them, and how it is run as a reader would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
}
"""Path → text of README, CONTRIBUTING and every page."""

MARKED = re.compile(r"<!-- (runs|file: (?P<file>\S+)) -->\n```(?P<language>\w+)\n(?P<code>.*?)```", flags=re.DOTALL)
"""A block that is run, or written to a file for those that are."""


def blocks(text: str, language: str) -> list[str]:
    """What stands in the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands(text: str, program: str) -> list[str]:
    """The lines of shell blocks that begin with ``program``, each whole, without comments."""
    lines = "".join(blocks(text, "bash")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith(f"{program} ")]


def run_marked(text: str, folder: Path) -> None:
    """Write the files of a page and run its marked blocks, in their order, in ``folder``."""
    for block in MARKED.finditer(text):
        code = block["code"]
        if block["file"]:
            (folder / block["file"]).write_text(code, encoding="utf-8")
        elif block["language"] == "bash":
            run(["bash", "-euo", "pipefail", "-c", code], folder)
        else:
            (folder / "block.py").write_text(code, encoding="utf-8")  # a file: workers import it
            run([sys.executable, "block.py"], folder)


def run(words: list[str], folder: Path) -> str:
    """Run a program in ``folder``, where ``vkdnw-search`` is that of this checkout. Returns what it prints."""
    shims = folder / "bin"
    shims.mkdir(exist_ok=True)
    for name, program in {"vkdnw-search": "-m vkdnw_search", "python": ""}.items():
        (shims / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {program} "$@"\n')
        (shims / name).chmod(0o755)
    variables = {
        "PATH": f"{shims}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
    }
    done = subprocess.run(words, cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
