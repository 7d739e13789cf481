"""Files are opened below a folder without following links, whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from vkdnw_search.atomic_files import all_or_nothing, atomic_file, write_whole
from vkdnw_search.contained_files import must_be_plain, open_to_append, replaced_by, start_of
from vkdnw_search.errors import RunFolderError

pytestmark = pytest.mark.timeout(600)  # opening a pipe waits for ever


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with a file, which no test may change."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("precious")
    return folder


@pytest.fixture
def inside(tmp_path: Path, outside: Path) -> Path:
    """A folder in which everything has been replaced by something else."""
    root = tmp_path / "inside"
    (root / "deep").mkdir(parents=True)
    (root / "plain").write_text("plain")
    (root / "link").symlink_to(outside / "file")
    (root / "dangling").symlink_to(outside / "new")
    (root / "elsewhere").symlink_to(outside)
    (root / "deep" / "elsewhere").symlink_to(outside)
    os.mkfifo(root / "pipe")
    return root


def read(path: Path, root: Path) -> None:
    start_of(path, 100, within=root)


def append(path: Path, root: Path) -> None:
    with open_to_append(path, within=root) as file:
        file.write("more")


def replace(path: Path, root: Path) -> None:
    write_whole(path, "new", within=root)


def stream(path: Path, root: Path) -> None:
    with atomic_file(path, within=root) as file:
        file.write("new")


def move(path: Path, root: Path) -> None:
    with all_or_nothing(path.parent, within=root) as drafts:
        (drafts / path.name).write_text("new")
        (drafts / "a").write_text("first")


@pytest.mark.parametrize("act", [read, append, replace, stream, move])
@pytest.mark.parametrize(
    ("place", "refused", "words"),
    [
        ("link", "link", "must be a file of its own, but is a symbolic link to '"),
        ("dangling", "dangling", "must be a file of its own, but is a symbolic link to '"),
        ("pipe", "pipe", "must be a file of its own, but is a named pipe."),
        ("deep", "deep", "must be a file of its own, but is a folder."),
        ("elsewhere/file", "elsewhere", "must be a folder of its own, but is a symbolic link to '"),
        ("elsewhere/new", "elsewhere", "must be a folder of its own, but is a symbolic link to '"),
        ("deep/elsewhere/file", "deep/elsewhere", "must be a folder of its own, but is a symbolic link to '"),
        ("pipe/file", "pipe", "must be a folder of its own, but is a named pipe."),
        ("plain/file", "plain", "must be a folder of its own, but is a file."),
    ],
)
def test_nothing_is_opened_through_a_link_or_another_special_file(
    act: Callable[[Path, Path], None], place: str, refused: str, words: str, inside: Path, outside: Path
) -> None:
    before = sorted(path.relative_to(inside) for path in inside.rglob("*"))
    with pytest.raises(RunFolderError) as caught:
        act(inside / place, inside)
    assert str(caught.value).startswith(f"{inside / refused}: {words}") and "\n" not in str(caught.value)
    assert [path.name for path in outside.iterdir()] == ["file"] and (outside / "file").read_text() == "precious"
    assert sorted(path.relative_to(inside) for path in inside.rglob("*")) == before


@pytest.mark.parametrize("act", [append, replace, stream, move])
def test_what_is_not_there_is_made_with_its_folders(act: Callable[[Path, Path], None], tmp_path: Path) -> None:
    root = tmp_path / "new" / "root"
    act(root / "a" / "b" / "file", root)
    assert (root / "a" / "b" / "file").read_text() in ("new", "more")


@pytest.mark.parametrize("act", [read, append, replace, stream, move])
def test_the_folder_itself_may_be_a_link(act: Callable[[Path, Path], None], tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "deep" / "file").write_text("old")
    (tmp_path / "root").symlink_to(tmp_path / "real")
    act(tmp_path / "root" / "deep" / "file", tmp_path / "root")
    assert (tmp_path / "real" / "deep" / "file").read_text() in ("old", "oldmore", "new")


@pytest.mark.parametrize("act", [read, append, replace, stream])
def test_no_path_leads_out_of_the_folder_by_its_dots(
    act: Callable[[Path, Path], None], inside: Path, outside: Path
) -> None:
    with pytest.raises(ValueError, match="leads out of it"):
        act(inside / "deep" / ".." / ".." / "outside" / "file", inside)
    with pytest.raises(ValueError):
        act(outside / "file", inside)
    assert (outside / "file").read_text() == "precious"


def test_a_file_is_not_appended_to_under_two_names_but_may_be_replaced(inside: Path, outside: Path) -> None:
    os.link(outside / "file", inside / "twin")
    with pytest.raises(RunFolderError, match="is a file with a second name elsewhere"):
        append(inside / "twin", inside)
    replace(inside / "twin", inside)
    assert (inside / "twin").read_text() == "new" and (outside / "file").read_text() == "precious"


@pytest.mark.parametrize("left", ["link", "dangling", "pipe", "plain"])
def test_a_draft_that_was_left_is_removed_and_never_written_through(left: str, inside: Path, outside: Path) -> None:
    (inside / left).rename(inside / "file.part")
    write_whole(inside / "file", "new")
    assert (inside / "file").read_text() == "new" and stat.S_ISREG((inside / "file").lstat().st_mode)
    assert not os.path.lexists(inside / "file.part") and [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "precious"


def test_what_raises_leaves_neither_a_draft_nor_another_content(inside: Path) -> None:
    with pytest.raises(KeyError), replaced_by(inside / "plain", "draft", within=inside) as file:
        file.write(b"half")
        raise KeyError
    assert (inside / "plain").read_text() == "plain" and not (inside / "draft").exists()


def test_places_are_checked_to_the_last_and_missing_ones_may_be_made(inside: Path, outside: Path) -> None:
    must_be_plain(inside, files=["plain", "none", "none/of/these", "none/*"], folders=["deep", "none", "none/*"])
    (inside / "many" / "one").mkdir(parents=True)
    (inside / "many" / "one" / "model").symlink_to(outside / "file")
    must_be_plain(inside, files=["many/*/other"], folders=["many", "many/*"])
    with pytest.raises(RunFolderError, match="many/one/model: must be a file"):
        must_be_plain(inside, files=["many/*/model"], folders=["many", "many/*"])
    with pytest.raises(RunFolderError, match="deep/elsewhere: must be a folder"):
        must_be_plain(inside, folders=["deep", "deep/*"])


def test_a_name_or_a_target_with_line_breaks_stays_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "a\nb").symlink_to("c\n" * 500)
    with pytest.raises(RunFolderError) as caught:
        must_be_plain(tmp_path, folders=["*"])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
