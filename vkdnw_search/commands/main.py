"""The command line: arguments, progress, exit codes; no logic.

Each command reads its arguments and finds what is wrong with them before it imports torch, which takes seconds.

Exit codes: 0 done, 1 error in the run, 2 usage, recipe or run folder, 3 nothing feasible, 130 and 143 after a clean
stop on SIGINT (Ctrl-C) and SIGTERM, 141 where whoever read the output has left (``| head``).
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import shlex
import signal
import sqlite3
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from vkdnw_search.commands.latency_options import add_latency_option, context_of, with_command
from vkdnw_search.commands.settings import add_accept_option, add_with_option
from vkdnw_search.engine.named_networks import must_be_there
from vkdnw_search.errors import (
    PluginError,
    RaceError,
    RankingError,
    RecipeError,
    RunFolderError,
    SpaceError,
    VkdnwSearchError,
    YardstickError,
    nearest,
)
from vkdnw_search.recipe.recipe import load_recipe, shipped_recipes
from vkdnw_search.recipe.registry import add_plugin_option, load_plugins
from vkdnw_search.runs.reader import must_be_a_run

DONE, FAILED, USAGE, NOTHING_FEASIBLE, READER_LEFT = 0, 1, 2, 3, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal cannot show shall not end a finished search
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb: Callable[[list[str]], int] = _search
    given = shlex.join(["vkdnw-search", *words])
    if words and words[0] in VERBS:
        verb = VERBS[words.pop(0)]
    try:
        code = verb(words)
        sys.stdout.flush()  # at exit it would be too late to do anything about an error
        if code in (128 + signal.SIGINT, 128 + signal.SIGTERM) and verb in CONTINUED:
            sys.stderr.write(f"this goes on from here: {given}\n")
        return code
    except (RecipeError, PluginError, RunFolderError, SpaceError, RaceError, RankingError, YardstickError) as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    except VkdnwSearchError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to write goes there
        return READER_LEFT
    except (OSError, sqlite3.OperationalError) as error:  # a full disk, for instance
        kept = "What was found so far is in its folder; the same command continues the run"
        hint = f". {kept}" if verb in CONTINUED else ""
        sys.stderr.write(f"files cannot be written or read: {error}{hint}\n")
        return FAILED
    except KeyboardInterrupt as interrupt:
        goes_on = f"this goes on from what is kept: {given}\n" if verb in CONTINUED else ""
        sys.stderr.write(f"{goes_on}stopped at once\n")
        return 128 + next((number for number in interrupt.args if isinstance(number, int)), signal.SIGINT)


def _parser() -> argparse.ArgumentParser:
    names = ", ".join(shipped_recipes())
    parser = argparse.ArgumentParser(
        prog="vkdnw-search",
        description="Training-free neural architecture search by VKDNW: recipe in, trainable PyTorch module out.",
        epilog=f"shipped recipes: {names}. Other commands: {', '.join(VERBS)} (vkdnw-search COMMAND --help).",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of a shipped recipe")
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="changes, e.g. stop.evaluations=200 seed=1")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="run folder (default: runs/NAME); continued if it is there"
    )
    parser.add_argument(
        "--from", metavar="RUN", type=Path, dest="reuse",
        help="take the scores of this earlier run, where they are the same: for other limits or a longer search",
    )  # fmt: skip
    add_with_option(parser)
    add_plugin_option(parser)
    add_accept_option(parser)
    add_latency_option(parser)
    volume = parser.add_mutually_exclusive_group()
    volume.add_argument("-q", "--quiet", action="store_true", help="show the result alone")
    volume.add_argument("-v", "--verbose", action="store_true", help="log to the terminal too")
    parser.add_argument("--version", action="version", version=f"vkdnw-search {version('vkdnw-search')}")
    return parser


def _search(words: list[str]) -> int:
    if not words:
        _parser().print_help(sys.stderr)
        return USAGE
    options = _parser().parse_intermixed_args(words)  # key=value may stand anywhere
    _must_be_a_recipe(options.recipe)
    if options.reuse is not None:
        must_be_a_run(options.reuse)
    must_be_there(options.others)
    load_plugins(options.plugin)
    recipe = load_recipe(options.recipe, with_command(options)).named_after(options.recipe)
    out = options.out or Path("runs") / (recipe.name or Path(options.recipe).stem)

    from vkdnw_search.commands.progress import closing_table  # torch is imported only when there is work
    from vkdnw_search.engine.evaluator import limits_of
    from vkdnw_search.output.progress import Progress
    from vkdnw_search.run import search

    logging.raiseExceptions = False  # a log that cannot be written shall not end a run, nor fill the terminal
    logging.getLogger("vkdnw_search").setLevel(logging.INFO)
    if options.verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    steps = not options.quiet and not options.verbose  # the log tells them too
    bar = Progress(recipe.stop.evaluations, limits_of(recipe), shown=not options.quiet, steps=steps)
    with _Signals() as signals, bar as progress:
        result = search(
            recipe,
            out=out,
            context=context_of(options),
            listener=progress.update,
            stopped=signals.received,
            accept_changed_code=options.accept_changed_code,
            reuse=options.reuse,
            baselines=options.others,
        )
    with result:
        print(closing_table(result))
    if signals.number:
        return 128 + signals.number
    return DONE if result.best is not None else NOTHING_FEASIBLE


def _must_be_a_recipe(word: str) -> None:
    if Path(word).exists() or word in shipped_recipes() or word.endswith((".yaml", ".yml")):
        return
    raise RecipeError(
        f"{word!r}: must be a recipe file, a shipped recipe ({', '.join(shipped_recipes())}) or a command "
        f"({', '.join(VERBS)}).{nearest(word, [*shipped_recipes(), *VERBS])}"
    )


class _Signals:
    """The first Ctrl-C or SIGTERM asks for a clean end; a second one ends at once."""

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, object] = {}

    def received(self) -> bool:
        return bool(self.number)

    def __enter__(self) -> _Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt(number)
        self.number = number
        sys.stderr.write("\nfinishing what is under way; Ctrl-C or SIGTERM again stops at once\n")


def _list(words: list[str]) -> int:
    from vkdnw_search.commands.list import run_list

    print(run_list(words))
    return DONE


def _rank(words: list[str]) -> int:
    from vkdnw_search.commands.rank import run_rank

    with _Signals() as signals:
        print(run_rank(words, stopped=signals.received))
    return 128 + signals.number if signals.number else DONE


def _doctor(words: list[str]) -> int:
    from vkdnw_search.commands.doctor import run_doctor

    page, hopeless = run_doctor(words)
    print(page)
    return NOTHING_FEASIBLE if hopeless else DONE


def _export(words: list[str]) -> int:
    from vkdnw_search.commands.export import run_export

    print(run_export(words))
    return DONE


def _score(words: list[str]) -> int:
    from vkdnw_search.commands.score import run_score

    print(run_score(words))
    return DONE


def _race(words: list[str]) -> int:
    from vkdnw_search.commands.race import race_command

    with _Signals() as signals:
        page = race_command(words, stopped=signals.received)
    if page is not None:
        print(page)
    else:
        sys.stderr.write("stopped; the same command goes on from the last epoch of each network\n")
    return 128 + signals.number if signals.number else DONE


def _compare(words: list[str]) -> int:
    from vkdnw_search.commands.compare import compare_command

    with _Signals() as signals:
        page = compare_command(words, stopped=signals.received)
    if page is not None:
        print(page)
    return 128 + signals.number if signals.number else DONE


def _report(words: list[str]) -> int:
    from vkdnw_search.commands.report import run_report

    print(run_report(words))
    return DONE


def _latency_table(words: list[str]) -> int:
    from vkdnw_search.commands.latency_table import run_latency_table

    print(run_latency_table(words))
    return DONE


VERBS: dict[str, Callable[[list[str]], int]] = {
    "list": _list,
    "export": _export,
    "race": _race,
    "compare": _compare,
    "report": _report,
    "doctor": _doctor,
    "rank": _rank,
    "score": _score,
    "latency-table": _latency_table,
}

CONTINUED = (_search, _rank, _race)
"""The commands that, given again, go on from where they were stopped."""
