"""No process that a search starts imports from the working directory: it may be the run folder of a stranger."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vkdnw_search.execution.safe_path import safe_import_path

ROOT = Path(__file__).parents[2]
TRAP = "import pathlib, sys\npathlib.Path(__file__).with_name('TRAPPED').write_text(__name__)\nsys.exit(9)\n"
NAMES = ("multiprocessing", "pickle", "signal", "tempfile", "torch", "numpy", "json", "logging", "dask", "distributed")


def folder_of_a_stranger(path: Path) -> Path:
    path.mkdir()
    for name in NAMES:
        (path / f"{name}.py").write_text(TRAP)
    (path / "matplotlibrc").write_text("backend: module://TRAPPED\nfigure.dpi: 7\n")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["{use: processes, workers: 2}", "{use: dask, workers: 1}"])
@pytest.mark.parametrize("how", ["module", "script"])
def test_a_search_in_a_strangers_folder_imports_nothing_from_it(tmp_path: Path, how: str, executor: str) -> None:
    if "dask" in executor:
        pytest.importorskip("distributed")
    script = "import sys; from vkdnw_search.commands.main import main; sys.exit(main())"
    start = ["-m", "vkdnw_search"] if how == "module" else ["-P", "-c", script]
    words = ["nb201", "space.channels=2", "space.cells=1", "score.parameters=16", "score.images=16", "finalists=2"]
    done = subprocess.run(
        [sys.executable, *start, *words, "stop.evaluations=8", f"executor={executor}", "--out", "run", "-q"],
        cwd=(folder := folder_of_a_stranger(tmp_path / "strange")),
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not (folder / "TRAPPED").exists(), (folder / "TRAPPED").read_text()
    assert done.returncode == 0, done.stderr
    assert (folder / "run/report.html").exists()


@pytest.mark.parametrize("before", [None, "", "1"])
def test_the_environment_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONSAFEPATH", before)
    with safe_import_path():
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert os.environ.get("PYTHONSAFEPATH") == before
