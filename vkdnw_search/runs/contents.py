"""The names of all files and folders of a run folder, and the check that each that is there is one of its own."""

from __future__ import annotations

from pathlib import Path

from vkdnw_search.contained_files import must_be_plain

__all__ = ["PROGRAMS", "must_have_plain_contents"]

FILES = (
    *("recipe.yaml", "environment.json", "run.lock", "run.log"),
    *("run.sqlite", "run.sqlite-wal", "run.sqlite-shm", "run.sqlite-journal"),
    *("results.csv", "finalists.csv", "report.html", "figures/*"),
    *(f"{place}/{name}" for place in ("best", "bands/*", "front/*") for name in ("model.py", "architecture.json")),
)
"""``PROGRAMS`` are not among them: one that is there in any form is left as it is and never opened."""

PROGRAMS = ("train.py", "train_data.py")
"""What is written beside ``model.py``, to train it."""

FOLDERS = ("best", "figures", "exports", "exports/*", "bands", "bands/*", "front", "front/*")


def must_have_plain_contents(folder: Path) -> None:
    """Refuse a run folder in which a link or a special file stands in the place of anything that is read or written.

    A search that goes on, and a report, look before they begin: what is refused at its end would have been computed in
    vain. Whatever opens a file looks again.

    Args:
        folder: of the run; it need not be there, and may be a link itself.

    Raises:
        RunFolderError: naming the first such place. Nothing was opened.
    """
    must_be_plain(folder, files=FILES, folders=FOLDERS)
