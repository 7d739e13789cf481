"""A study writes in its folder alone, whatever lies there and however accuracies are called."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.studies import SPACE, Chance, table
from vkdnw_search.errors import RunFolderError
from vkdnw_search.ranking.study import rank

pytestmark = pytest.mark.timeout(600)  # opening a pipe waits for ever
LEFT = ("scores.sqlite", "scores.csv", "table.csv", "table.md", "figures/good_chance.png")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study."""
    folder = tmp_path_factory.mktemp("studies") / "study"
    rank(SPACE, table(8), {"chance": Chance()}, out=folder, columns=["good"])
    return folder


@pytest.mark.parametrize("place", [*LEFT, "figures", "scores.sqlite-wal", "scores.sqlite-journal"])
@pytest.mark.parametrize("what", ["a symbolic link", "a named pipe"])
def test_links_and_pipes_in_a_study_are_refused_before_anything_is_scored(
    place: str, what: str, sound: Path, tmp_path: Path
) -> None:
    folder, outside = tmp_path / "study", tmp_path / "outside"
    for out in (folder, outside):
        shutil.copytree(sound, out)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    if (folder / place).exists():
        (folder / place).rename(tmp_path / "moved")
    if what == "a symbolic link":
        (folder / place).symlink_to(outside / place)
    else:
        os.mkfifo(folder / place)
    with pytest.raises(RunFolderError, match=f"{place}: must be a .* of its own, but is {what}"):
        rank(SPACE, table(9), {"chance": Chance()}, out=folder, columns=["good"])
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before


def test_a_column_is_no_path(tmp_path: Path) -> None:
    accuracies = table(8)
    named = replace(accuracies, columns={"../../out/of/it": accuracies.column("good")})
    rank(SPACE, named, {"chance": Chance()}, out=tmp_path / "deep" / "study")
    pictures = sorted(path.name for path in (tmp_path / "deep" / "study" / "figures").iterdir())
    assert pictures == ["..%2F..%2Fout%2Fof%2Fit_bars.png", "..%2F..%2Fout%2Fof%2Fit_chance.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["study"]
