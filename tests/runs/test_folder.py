from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from vkdnw_search.errors import RunFolderError
from vkdnw_search.recipe.recipe import load_recipe
from vkdnw_search.runs.folder import RunFolder, checkout, environment


def git(root: Path, *words: str) -> str:
    names = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", root, *names, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_of_a_checkout_is_told_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    assert checkout(tmp_path) is None
    git(tmp_path, "init")
    assert checkout(tmp_path) is None, "there is no commit yet"
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert checkout(tmp_path) == {"commit": commit, "changed": False}
    (tmp_path / "code.py").write_text("2")
    assert checkout(tmp_path) == {"commit": commit, "changed": True}


def test_a_run_tells_the_checkout_it_was_made_by(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", load_recipe("nb201")):
        pass
    told = json.loads((tmp_path / "run/environment.json").read_text())
    assert told == environment()
    assert told["checkout"] == checkout(Path(__file__).parents[2])


@pytest.mark.parametrize("files", [["run.lock"], ["run.lock", "recipe.yaml", "environment.json.part"]])
def test_a_run_killed_before_its_first_candidate_begins_anew(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).write_text("half a li")
    with RunFolder(tmp_path, load_recipe("nb201")) as folder:
        assert folder.store.counts() == {}
    assert load_recipe(tmp_path / "recipe.yaml") == load_recipe("nb201")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (["recipe.yaml"], "must be empty, or hold a run"),
        (["run.lock", "thesis.tex"], "must be empty, or hold a run"),
        (["run.lock", "results.csv"], "must be empty, or hold a run"),
        (["run.sqlite", "thesis.tex"], "holds a run without its recipe.yaml"),
    ],
)
def test_a_folder_with_files_of_the_user_is_refused_and_left_alone(tmp_path: Path, files: list[str], why: str) -> None:
    for name in files:
        (tmp_path / name).write_text("years of work")
    with pytest.raises(RunFolderError, match=why):
        RunFolder(tmp_path, load_recipe("nb201"))
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == dict.fromkeys(files, "years of work")
