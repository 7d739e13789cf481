"""``vkdnw-search compare``: runs side by side. Did the other recipe find a better network?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from vkdnw_search.atomic_files import write_whole
from vkdnw_search.commands.settings import file_to_write, must_be_new, positive
from vkdnw_search.comparing.contenders import must_be_comparable
from vkdnw_search.errors import ExportError, RunFolderError
from vkdnw_search.recipe.registry import add_plugin_option, load_plugins

DESCRIPTION = """Puts finished runs side by side: in what their recipes differ, what each found, and which winner is
better where that can be told: by scores on the same fresh initializations, and by the races in the run folders.

  vkdnw-search compare runs/small runs/other
  vkdnw-search compare runs/a runs/b runs/c --out compared.html

The run folders are only read."""


def compare_command(words: Sequence[str], stopped: Callable[[], bool] = lambda: False) -> str | None:
    """Compare as ``words`` say. Returns what there is to show, None if it was stopped.

    Raises:
        RunFolderError: a folder is no finished run, or ``--out`` names what is there or lies in a run folder.
        ExportError: the page cannot be written.
    """
    options = _parse(words)
    must_be_comparable(options.folders)
    if options.out is not None:
        must_be_new([options.out], option="--out")
        _must_be_outside(options.out, options.folders)
    load_plugins(options.plugin)

    from vkdnw_search.comparing.compare import run_comparison  # torch, which takes seconds to import
    from vkdnw_search.execution.executors import inline, processes

    with inline() if options.workers == 1 else processes(workers=options.workers or "auto") as executor:
        found = run_comparison(options.folders, executor=executor, told=_tell, stopped=stopped)
    if found is None:
        return None
    if options.out is None:
        return found.in_words()
    _write(options.out, found.to_html())
    return f"{found.in_words()}\n\npage  {options.out}"


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="vkdnw-search compare", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", metavar="RUN", nargs="+", type=Path, help="run folder, of a search that has ended")
    parser.add_argument(
        "--out", metavar="FILE.html", type=file_to_write, help="write the comparison there, too, as a page of its own"
    )
    parser.add_argument("--workers", type=positive, help="processes, each scores on one thread (default: one a core)")
    add_plugin_option(parser)
    return parser.parse_intermixed_args(list(words))


def _must_be_outside(page: Path, folders: Sequence[Path]) -> None:
    for folder in folders:
        if page.resolve().is_relative_to(folder.resolve()):
            raise RunFolderError(
                f"--out {page}: must be outside the run folders, which are only read, but is in {folder}. "
                "Name a file elsewhere"
            )


def _write(page: Path, text: str) -> None:
    try:
        write_whole(page, text)
    except OSError as error:
        raise ExportError(
            f"{page}: the page cannot be written there: {error.strerror or error}. Write it elsewhere with --out"
        ) from error


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
