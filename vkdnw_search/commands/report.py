"""``vkdnw-search report``: the page of a run folder."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vkdnw_search.commands.settings import file_to_write, must_be_new
from vkdnw_search.errors import ExportError, VkdnwSearchError
from vkdnw_search.recipe.registry import add_plugin_option, load_plugins
from vkdnw_search.runs.reader import must_be_a_run
from vkdnw_search.runs.store import Store

WATCHED = 5.0
"""Seconds between two pages of a run that is watched."""


def run_report(words: Sequence[str]) -> str:
    """Write the report that ``words`` ask for. Returns what to show: where it is.

    Raises:
        RunFolderError: the folder is no run, or one that only Python can open, or ``--to`` names a file that is there.
        ExportError: the report cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog="vkdnw-search report", description="Writes report.html and figures/ into a run folder, running or not."
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="run folder")
    parser.add_argument(
        "--to",
        metavar="FILE.html",
        type=file_to_write,
        help="write the page there instead, which has all figures in it",
    )
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=_seconds,
        const=WATCHED,
        help=f"write it anew every so many seconds ({WATCHED:.0f}) until the run ends; an open page reloads itself",
    )
    add_plugin_option(parser)
    options = parser.parse_args(words)
    must_be_a_run(options.folder)
    load_plugins(options.plugin)
    if options.to is not None:
        must_be_new([options.to])

    from vkdnw_search.output.report import write_report  # torch and matplotlib, which take seconds to import

    try:
        while options.watch and not _has_ended(options.folder):
            write_report(options.folder, to=options.to, reload=options.watch)
            time.sleep(options.watch)
        return str(write_report(options.folder, to=options.to))
    except VkdnwSearchError:
        raise
    except OSError as error:
        raise ExportError(
            f"{options.to or options.folder}: the report cannot be written there: {error.strerror or error}. Write it "
            "elsewhere with --to FILE.html"
        ) from error


def _has_ended(folder: Path) -> bool:
    with Store.to_read(folder / "run.sqlite") as store:
        return store.note("judgement") is not None


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 1 <= float(text) <= 3600:
            return float(text)
    raise argparse.ArgumentTypeError(f"must be a number of seconds from 1 to 3600, but is {text!r}")
