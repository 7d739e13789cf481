"""``vkdnw-search report``: the page of a run folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from vkdnw_search.recipe.registry import add_plugin_option, load_plugins
from vkdnw_search.runs.reader import must_be_a_run


def run_report(words: Sequence[str]) -> str:
    """Write the report that ``words`` ask for. Returns what to show: where it is.

    Raises:
        RunFolderError: the folder is no run, or one that only Python can open.
    """
    parser = argparse.ArgumentParser(
        prog="vkdnw-search report", description="Writes report.html and figures/ into a run folder, running or not."
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="run folder")
    add_plugin_option(parser)
    options = parser.parse_args(words)
    must_be_a_run(options.folder)
    load_plugins(options.plugin)

    from vkdnw_search.output.report import write_report  # torch and matplotlib, which take seconds to import

    return str(write_report(options.folder))
