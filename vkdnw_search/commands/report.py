"""``vkdnw-search report``: the page of a run folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from vkdnw_search.output.report import write_report
from vkdnw_search.recipe.registry import add_plugin_option, load_plugins


def run_report(words: Sequence[str]) -> str:
    """Write the report that ``words`` ask for. Returns what to show: where it is."""
    parser = argparse.ArgumentParser(
        prog="vkdnw-search report", description="Writes report.html and figures/ into a run folder, running or not."
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="run folder")
    add_plugin_option(parser)
    options = parser.parse_args(words)
    load_plugins(options.plugin)
    return str(write_report(options.folder))
