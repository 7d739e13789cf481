"""``vkdnw-search race``: the shortlist of a run is trained a little, and what learns best goes on."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vkdnw_search.commands.settings import build_plugin, positive, read_executor
from vkdnw_search.errors import VkdnwSearchError
from vkdnw_search.recipe.registry import add_plugin_option, load_plugins
from vkdnw_search.runs.reader import must_be_a_run

if TYPE_CHECKING:
    from vkdnw_search.racing.outcome import Race

DESCRIPTION = """Trains the shortlist of a run a little on your data, the better ones for longer (successive halving),
and says which learns best: the finalists, the network of the most FLOPs, the first random one, and yours.

  vkdnw-search race runs/small --data digits --epochs 3
  vkdnw-search race runs/mbv2_600M --data /path/to/images --epochs 12 --with mine.py -- --batch 128 --lr 0.2

Options of train.py follow -- (best/train.py --help). Everything is kept in --out; the same command continues."""


def race_command(words: Sequence[str], stopped: Callable[[], bool] = lambda: False) -> str | None:
    """Race as ``words`` say. Returns what there is to show, None if it was stopped.

    Raises:
        VkdnwSearchError: whatever is wrong.
    """
    own, further = _split(list(words))
    options = _parse(own)
    must_be_a_run(options.folder)
    load_plugins(options.plugin)
    chosen = read_executor(options.executor) if options.executor else None

    from vkdnw_search.commands.progress import RaceProgress  # torch, which takes seconds to import
    from vkdnw_search.racing.race import Plan, run_race
    from vkdnw_search.racing.training import worker_count
    from vkdnw_search.runs.reader import RunReader

    plan = Plan(
        data=options.data,
        epochs=options.epochs,
        rungs=options.rungs,
        keep=options.keep,
        seeds=options.seeds,
        words=tuple(further),
    )
    executing = chosen or ("processes", {"workers": options.workers or worker_count()})
    progress, out = RaceProgress(shown=not options.quiet), options.out or options.folder / "race"
    if (out / "race.csv").exists():
        progress.tell(f"a race in {out} has ended: what it trained is not trained again")
    with RunReader(options.folder) as visited, build_plugin("executors", *executing) as executor, progress:
        found = run_race(
            visited,
            plan,
            out=out,
            executor=executor,
            networks=options.networks,
            others=options.others,
            told=progress.tell,
            counted=progress.count,
            stopped=stopped,
        )
    return None if found is None else _page(found, None if options.out else options.folder)


def _page(found: Race, run: Path | None) -> str:
    """What there is to show; the figure is written, and the report of ``run``, if the race is in it."""
    found.plot().savefig(found.folder / "race.png", dpi=160)
    rows = [
        ("table", found.folder / "race.csv"),
        ("curves", f"{found.folder / 'curves.csv'}, race.png"),
        ("module", f"{found.folder / 'best' / 'model.py'}, with {found.weights.name} beside it"),
    ]
    if run is not None:
        rows.append(("report", _report(run)))
    return "\n".join([found.in_words(), "", *(f"{name:12} {text}" for name, text in rows)])


def _report(folder: Path) -> str:
    """Where the report of the run is, with the race in it; or why there is none, which takes nothing from the race."""
    from vkdnw_search.output.report import write_report

    try:
        return str(write_report(folder))
    except (VkdnwSearchError, OSError) as error:
        return f"cannot be written: {error}"


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """The words of this command, and those after ``--``, which are train.py's."""
    place = words.index("--") if "--" in words else len(words)
    return words[:place], words[place + 1 :]


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="vkdnw-search race", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="RUN", type=Path, help="run folder, of a search that has ended")
    parser.add_argument("--data", required=True, metavar="PATH|digits|MODULE:FUNCTION", help="as train.py reads it")
    parser.add_argument("--epochs", type=positive, default=12, help="of whoever gets to the end (default: %(default)s)")
    parser.add_argument("--rungs", type=positive, default=3, help="parts of the race, at most (default: %(default)s)")
    parser.add_argument(
        "--keep", type=share, default=1 / 3, metavar="SHARE", help="that goes on from rung to rung (default: 1/3)"
    )
    parser.add_argument("--networks", type=positive, default=8, help="of the run, at most (default: %(default)s)")
    parser.add_argument("--seeds", type=positive, default=1, help="trainings of each network (default: %(default)s)")
    parser.add_argument(
        "--with",
        dest="others",
        action="append",
        default=[],
        metavar="STRUCTURE|NAME|model.py",
        help="another network: an architecture of the run's space as text, a name that the space gives one, such as "
        "mobilenetv2, or a file that defines Network; repeatable",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", type=positive, help="processes, each trains on one thread (default: one a core, or one a GPU)"
    )
    where.add_argument(
        "--executor", metavar="USE|{use: …}", help="another executor, as a recipe names it: '{use: dask, address: …}'"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the race (default: RUN/race)")
    add_plugin_option(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show the outcome alone")
    options, unknown = parser.parse_known_args(list(words))
    if unknown:
        parser.error(
            f"unrecognized arguments: {' '.join(unknown)}. Options of train.py follow --, as in -- --batch 128"
        )
    return options


def share(text: str) -> float:
    """A number above 0 and at most 1, as 0.5, 1/2 or 50%."""
    try:
        value = float(Fraction(text[:-1]) / 100 if text.endswith("%") else Fraction(text))
    except (ValueError, ZeroDivisionError):
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, as 1/3, 0.5 or 50%, but is {text!r}")
    return value
