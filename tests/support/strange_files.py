"""What a stranger, or a bad disk, may leave in the place of a file or a folder; and what a tree is, to be compared."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.quick import trained
from vkdnw_search.commands.main import main

Damage = Callable[[Path, Path, random.Random], None]
"""(what is damaged, a tree outside that has the same places, chance)."""

Tree = dict[str, tuple[object, ...]]
"""Place in a tree → its kind, and what is in it."""


WORDS = [
    "nb201", "space={use: nasbench201, cells: 1, channels: 4, resolution: 16}", "score=trainable_layers",
    "executor=inline", "finalists=2", "limits={latency: 9000s}", "optimizer={use: random, children: 10}",
    "bands=[200k, 1M]", "stop.evaluations=30", "-q",
]  # fmt: skip

COMMANDS = ("report", "export", "search")


@contextmanager
def finished_run(folder: Path) -> Iterator[None]:
    """A run with a report and an export in ``folder``. In the block commands leave out checks that take long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vkdnw_search.output.module._must_equal", lambda *_: None)
        patch.setattr("vkdnw_search.engine.gate.try_training", trained)
        for command in ("search", "export", "report"):
            assert main(words(command, folder)) == 0
        yield


def words(command: str, folder: Path) -> list[str]:
    match command:
        case "search":
            return [*WORDS, "--out", str(folder)]
        case "export":
            return ["export", str(folder), "--number", "1"]
    return [command, str(folder)]


def flipped(file: Path, outside: Path, chance: random.Random) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(chance.choice([1, 20])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def cut(file: Path, outside: Path, chance: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: chance.randrange(len(content))])


def other_json(file: Path, outside: Path, chance: random.Random) -> None:
    file.write_text(json.dumps(chance.choice([[], 5, "x", None, {"seed": []}, [[{}]]])))


def link(path: Path, outside: Path, chance: random.Random) -> None:
    """To the same place outside, which is sound."""
    removed(path)
    path.symlink_to(outside)


def link_to_nothing(path: Path, outside: Path, chance: random.Random) -> None:
    removed(path)
    path.symlink_to(outside.with_name("not-there"))


def link_to_a_folder(path: Path, outside: Path, chance: random.Random) -> None:
    removed(path)
    path.symlink_to(outside.parent)


def hard_link(path: Path, outside: Path, chance: random.Random) -> None:
    removed(path)
    os.link(outside, path)


def pipe(path: Path, outside: Path, chance: random.Random) -> None:
    removed(path)
    os.mkfifo(path)


def listening(path: Path, outside: Path, chance: random.Random) -> None:
    removed(path)
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(path.parent)  # the path of a socket may have 107 bytes
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def folder(path: Path, outside: Path, chance: random.Random) -> None:
    removed(path)
    path.mkdir()
    (path / "kept.txt").write_text("kept")


def file(path: Path, outside: Path, chance: random.Random) -> None:
    removed(path)
    path.write_text("kept")


def removed(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def tree(root: Path, *, times: bool = False) -> Tree:
    """All that is below ``root``, links not followed, with the times of the last change if asked for."""
    return {str(path.relative_to(root)): _entry(path, times) for path in sorted(root.rglob("*"))}


def _entry(path: Path, times: bool) -> tuple[object, ...]:
    there = path.lstat()
    kind, when = stat.S_IFMT(there.st_mode), (there.st_mtime_ns,) if times else ()
    if stat.S_ISREG(there.st_mode):
        return (kind, path.read_bytes(), *when)
    return (kind, str(path.readlink()) if stat.S_ISLNK(there.st_mode) else "", *when)
