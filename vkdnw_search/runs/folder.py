"""The folder of a run: what is in it, who may write to it, and whether a run may continue there.

recipe.yaml        the recipe with every default written out: run it again and get the same
environment.json   versions, processor, threads, commit, hashes of code; changes of code that were accepted
run.sqlite         every candidate (see store.py)
run.log
results.csv        every candidate, as a table
best/model.py, best/architecture.json
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
import platform
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import IO, Self, get_args

from vkdnw_search.atomic_files import DRAFT, atomic_file, write_whole
from vkdnw_search.contained_files import open_to_append
from vkdnw_search.determinism import cores
from vkdnw_search.errors import RunFolderError
from vkdnw_search.provenance.record import CodeRecord, code_record
from vkdnw_search.recipe.recipe import Change, Recipe, SectionName
from vkdnw_search.records import Cost, Evaluation
from vkdnw_search.runs.code_history import accepted_changes, keep_code
from vkdnw_search.runs.contents import must_have_plain_contents
from vkdnw_search.runs.judgement import Judgement, finalists_csv
from vkdnw_search.runs.log import RunLog
from vkdnw_search.runs.reader import read_environment, stored_recipe
from vkdnw_search.runs.store import VERDICTS, Store

FREE_TO_CHANGE = ("executor.", "name", "description")
"""Keys that do not change what is found, so that a continued run may differ in them."""

FIRST_FILES = {"run.lock", "recipe.yaml", "environment.json", "run.sqlite", "run.sqlite-journal"}
"""What may be in the folder of a run before the first candidate."""


class RunFolder:
    """An open run folder, or with ``path=None`` a run that is kept in memory only.

    Args:
        path: the folder.
        recipe: of the run.
        code: what new scores come from; by default the code of this project alone.
        accept_changed_code: whether scores of other code may be there.

    Raises:
        RunFolderError: the folder holds something else, another recipe's run, a run of other code, or is in use.
            Nothing is changed.
    """

    def __init__(
        self, path: Path | None, recipe: Recipe, *, code: CodeRecord | None = None, accept_changed_code: bool = False
    ) -> None:
        self.path, self._code = path, (code := code or code_record())
        self._lock: IO[str] | None = None
        self._log: RunLog | None = None
        if path is None:
            self.store = Store()
            return
        must_have_plain_contents(path)
        continues = _has_content(path / "run.sqlite")
        _must_be_ours(path)
        if continues:
            _must_match(path / "recipe.yaml", recipe)
        self._lock = locked(path / "run.lock")
        try:
            if continues:
                self.store = Store(path / "run.sqlite")
                self.store.must_have_costs(recipe.limits.names)
                self._keep_code(path, code, accept=accept_changed_code)
            self.write("recipe.yaml", recipe.to_yaml())
            if not continues:
                self._write_environment(environment(code))
                self.store = Store(path / "run.sqlite")  # last: where it is, all else is
                self._keep_code(path, code, accept=False)
            self._log = RunLog(path / "run.log")
        except BaseException:
            self._release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._log is not None:
            self._log.close()
        if kind is not None:
            self.store.close()  # else a result reads from it
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def _keep_code(self, path: Path, code: CodeRecord, *, accept: bool) -> None:
        """Compare the code with that of the run so far; tell changes in environment.json, too."""
        done = sum(self.store.counts().values())
        try:
            keep_code(self.store, code, done=done, accept=accept, where=path)
        except RunFolderError:
            self.store.close()
            raise
        if changes := [asdict(change) for change in accepted_changes(self.store, path)]:
            self.tell("accepted_changes_of_code", changes)

    def tell(self, name: str, value: object) -> None:
        """Keep a fact about the run in environment.json."""
        there = {} if self.path is None else read_environment(self.path) or environment(self._code)
        if there.get(name) != value:
            self._write_environment({**there, name: value})

    def _write_environment(self, content: Mapping[str, object]) -> None:
        self.write("environment.json", json.dumps(content, indent=2) + "\n")

    def opening(self) -> str:
        """The first step of a run, in words: whether it begins or continues, and where."""
        known = sum(self.store.counts().values())
        where = "in memory" if self.path is None else f"in {self.path}"
        return f"continues {where}, where {known} candidates are known" if known else f"begins {where}"

    def write(self, name: str, text: str) -> None:
        """Write a file of the folder as a whole or not at all."""
        if self.path is None:
            return
        write_whole(self.path / name, text)

    def write_results(self, evaluations: Iterable[Evaluation]) -> None:
        """results.csv: a row for each candidate; the same evaluations give the same bytes. Holds one at a time."""
        if self.path is not None:
            with atomic_file(self.path / "results.csv") as file:
                write_table(file, evaluations, self.store.terms())

    def write_judgement(self, judgement: Judgement | None) -> None:
        """finalists.csv: finalists, baselines and the user's networks, with their scores on fresh initializations.

        None, of a run that was interrupted: that of an earlier session goes, for it may name another winner.
        """
        if judgement is not None:
            self.store.set_note("judgement", judgement.to_json())
            self.write("finalists.csv", finalists_csv(judgement))
            return
        self.store.forget(VERDICTS)
        if self.path is not None:
            (self.path / "finalists.csv").unlink(missing_ok=True)

    def write_neighbours(self, scores: Mapping[str, float]) -> None:
        """Scores of the networks one step from the winner, for the report."""
        self.store.set_note("neighbours", json.dumps(scores))


def write_table(file: IO[str], evaluations: Iterable[Evaluation], terms: Sequence[str]) -> None:
    """The table of ``evaluations``, with a column for each of these terms of their scores."""
    writer = csv.writer(file, lineterminator="\n")
    costs = [field.name for field in fields(Cost)]
    head, tail = ("number", "generation", "status", "score", "standard_error"), ("violation", "reason", "architecture")
    writer.writerow([*head, *(f"score.{term}" for term in terms), *costs, *tail])
    for e in evaluations:
        score = ["", ""] if e.score is None else [repr(e.score.value), repr(e.score.standard_error)]
        values = ["" if e.score is None or t not in e.score.terms else repr(e.score.terms[t]) for t in terms]
        numbers = [getattr(e.cost, cost) for cost in costs]
        writer.writerow(
            [e.number, e.generation, e.status, *score, *values, *numbers, repr(e.violation), e.reason, e.key]
        )


def environment(code: CodeRecord | None = None) -> dict[str, object]:
    """The versions, the machine, the checkout and the code that a run depends on besides its recipe."""
    import torch  # takes seconds, which reading a run folder need not

    packages = ("vkdnw-search", "torch", "numpy", "scipy", "pymoo", "fvcore")
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "torch_threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "checkout": checkout(Path(__file__).parents[2]),
        "code": dict((code or code_record()).parts),
    }


def checkout(root: Path) -> dict[str, object] | None:
    """Commit of the Git checkout that the program runs from, and whether files differ from it; None if it is none."""
    if not (root / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True, timeout=30).stdout
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.SubprocessError):  # no git, or no commit yet
        return None
    return {"commit": commit.strip(), "changed": bool(changes.strip())}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _must_be_ours(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"{path}: must be a folder, but is a file. Choose another with --out")
    if path.is_dir() and not _has_content(path / "run.sqlite") and not _begun(path):
        if (path / "run.sqlite").exists():
            raise RunFolderError(
                f"{path}: its run.sqlite is empty, though other files of a run are there: it is damaged. Nothing was "
                "written; take it from a backup, or choose another folder with --out"
            )
        raise RunFolderError(
            f"{path}: must be empty, or hold a run to continue, but holds other files. Nothing was written; "
            "choose another folder with --out"
        )


def _has_content(database: Path) -> bool:
    """Whether a database was made. It is empty where a run was killed while it made it, or where it is damaged."""
    return database.exists() and database.stat().st_size > 0


def _begun(path: Path) -> bool:
    """Whether nothing is in a folder, or only what a run writes that was killed before its first candidate."""
    names = {file.name.removesuffix(DRAFT) for file in path.iterdir()}
    return not names or ("run.lock" in names and names <= FIRST_FILES)


def _must_match(file: Path, recipe: Recipe) -> None:
    """Refuse another recipe than the one the run was started with, but for limits of `stop` that were raised."""
    if not file.is_file():
        raise RunFolderError(f"{file.parent}: holds a run without its recipe.yaml; choose another folder with --out")
    from_python: list[SectionName] = [name for name in get_args(SectionName) if getattr(recipe, name) is None]
    there = stored_recipe(file, supplied=from_python)
    changes = [change for change in there.difference(recipe) if not _harmless(change)]
    if changes:
        listed = "\n".join(f"  {change}" for change in changes)
        raise RunFolderError(
            f"{file.parent}: holds a run of another recipe. Only limits of `stop` may be raised to continue it; these "
            f"differ (there → here):\n{listed}\nNothing was written; choose another folder with --out"
        )


def _harmless(change: Change) -> bool:
    if change.key.startswith("stop.") and isinstance(change.ours, int | float):
        return change.theirs is None or (isinstance(change.theirs, int | float) and change.theirs >= change.ours)
    return change.key.startswith(FREE_TO_CHANGE)


def locked(file: Path) -> IO[str]:
    """Make the folder of ``file`` and hold it for this process until it ends, however it ends."""
    try:
        handle = open_to_append(file)
    except RunFolderError:
        raise
    except OSError as error:
        raise RunFolderError(
            f"{file.parent}: must be a folder that can be made and written to, but: {error.strerror}. Choose another "
            "with --out"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.seek(0)
        owner = handle.read().strip() or "another process"
        handle.close()
        raise RunFolderError(
            f"{file.parent}: is in use by {owner}. Wait for it, or choose another folder with --out"
        ) from None
    handle.truncate(0)
    handle.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    handle.flush()
    return handle
