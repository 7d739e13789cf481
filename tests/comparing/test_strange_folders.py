"""Whatever stands in a run folder, ``compare`` ends with 0 or 2, says a paragraph at most, and changes nothing."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.support import strange_files as strange
from tests.support.raced_runs import make_two_runs, put_race
from tests.support.strange_files import Damage, tree
from vkdnw_search.commands.main import main

FILES = ("race/race.csv", "race/race.json", "run.sqlite", "recipe.yaml")
CONTENT: tuple[Damage, ...] = (strange.flipped, strange.cut, strange.other_json)
KINDS: tuple[Damage, ...] = (
    *(strange.link, strange.link_to_nothing, strange.link_to_a_folder, strange.hard_link),
    *(strange.pipe, strange.listening, strange.folder),
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs with races, and what stands outside of them."""
    folder = make_two_runs(tmp_path_factory.mktemp("sound"))
    for name in "ab":
        put_race(folder / name)
    shutil.copytree(folder / "b", folder / "outside")
    return folder


@pytest.mark.fault
@pytest.mark.parametrize("place", FILES)
@pytest.mark.parametrize("damage", [*CONTENT, *KINDS], ids=lambda damage: damage.__name__)
def test_a_strange_file_is_told_in_a_paragraph_and_nothing_is_changed(
    place: str, damage: Damage, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(f"{place} {damage.__name__}")
    for attempt in range(3 if damage in CONTENT else 1):
        folder = shutil.copytree(sound, tmp_path / str(attempt))
        damage(folder / "b" / place, folder / "outside" / place, chance)
        before = tree(folder, times=True)
        code = main(["compare", str(folder / "a"), str(folder / "b"), "--workers", "1"])
        told = capsys.readouterr()
        assert code in (0, 2) and "Traceback" not in told.err
        assert code == 0 or (told.out == "" and "\n\n" not in told.err)
        assert tree(folder, times=True) == before
