"""``vkdnw-search rank``: the paper's evaluation from the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from vkdnw_search.commands.settings import add_accept_option, build_plugin, check_plugin, positive, read_settings
from vkdnw_search.contracts import SearchSpace
from vkdnw_search.errors import RankingError, RecipeError
from vkdnw_search.execution.executors import inline, processes
from vkdnw_search.ranking.published import TRAINING
from vkdnw_search.ranking.regret.budgets import read_budgets
from vkdnw_search.recipe.registry import add_plugin_option, load_plugins, names

if TYPE_CHECKING:
    from vkdnw_search.ranking.tables import AccuracyTable

__all__ = ["FAST", "run_rank"]

FAST = ("flops", "parameters", "trainable_layers", "jacov", "naswot", "vkdnw_single", "az_nas", "vkdnw_agg")
"""Ranked by default: no more than a few forward passes for each network."""


def run_rank(words: list[str], *, stopped: Callable[[], bool]) -> str:
    """Carry out one command. Returns what there is to say: the table, or how to continue.

    Raises:
        VkdnwSearchError: whatever is wrong.
    """
    options = _parser().parse_intermixed_args(words)
    load_plugins(options.plugin)
    settings = read_settings(options.settings)
    budgets = read_budgets(options.budgets) if options.budgets is not None else ()
    check_plugin("spaces", options.space, of_space := settings.pop("space", {}))
    chosen = _chosen(options.proxies, settings)
    if not options.accuracies.exists():
        raise RankingError(f"{options.accuracies}: must be an accuracy table, but there is no such file")

    from vkdnw_search.ranking.study import rank, searchable  # torch, which takes seconds to import

    space: SearchSpace[Any] = build_plugin("spaces", options.space, of_space)
    proxies = {name: build_plugin("proxies", name, given) for name, given in chosen.items()}
    accuracies = _read(options.accuracies, space)
    every = len(accuracies)
    if options.searchable:
        accuracies = searchable(accuracies, space)
    executor = inline() if options.workers == 1 else processes(workers=options.workers)
    with executor, _Bar(shown=not options.quiet) as bar:
        study = rank(
            space,
            accuracies,
            proxies,
            out=options.out,
            columns=options.column,
            sample=options.sample,
            seeds=options.seeds,
            training=options.models,
            budgets=budgets,
            figures=not options.no_figures,
            executor=executor,
            listener=bar.show,
            stopped=stopped,
            accept_changed_code=options.accept_changed_code,
        )
    if study is None:
        return f"stopped after {bar.done} of {bar.total}; the same command continues from there"
    left_out = f"{every - len(accuracies)} of {every} networks of the table are left out: no search could visit them\n"
    return f"{study.markdown}\n{left_out if options.searchable else ''}tables and figures: {options.out}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vkdnw-search rank",
        description="How well do proxies rank networks whose accuracy is known? Scores each network once per seed; "
        "what is in the folder already is not scored again, so the same command continues, and another --column or "
        "other --budgets cost no scoring.",
    )
    parser.add_argument("space", metavar="SPACE", help="a search space that reads architectures, such as nasbench201")
    parser.add_argument(
        "settings", metavar="key=value", nargs="*", help="e.g. space.num_classes=100 vkdnw_single.images=32"
    )
    parser.add_argument(
        "--accuracies", metavar="FILE", type=Path, required=True,
        help="CSV (arch,NAME,… or Once-for-all's ks,expand,depth,…), NAS-Bench-Macro's JSON, or a folder of NATS-Bench",
    )  # fmt: skip
    parser.add_argument(
        "--column", metavar="NAME", nargs="+", default=[], help="accuracies (default: the space's task, or all in FILE)"
    )
    parser.add_argument(
        "--proxies", metavar="A,B,…", default=",".join(FAST), help="names, or all (default: %(default)s)"
    )
    parser.add_argument("--sample", metavar="N", type=int, help="rank N networks, always the same (default: all)")
    parser.add_argument("--searchable", action="store_true", help="leave out networks that no search could visit")
    parser.add_argument("--seeds", metavar="K", type=positive, default=1, help="repetitions (paper: 5; default: 1)")
    parser.add_argument("--workers", metavar="N", type=positive, default=1, help="processes (default: 1)")
    parser.add_argument(
        "--models", metavar="N", type=int, nargs="?", const=TRAINING,
        help="add random forests trained on N networks (default: %(const)s); needs the extra 'model'",
    )  # fmt: skip
    parser.add_argument(
        "--budgets", metavar="B,B,…",
        help="add the regret under budgets: shares of the largest FLOPs (25%%,50%%,100%%) or FLOPs (150M,300M)",
    )  # fmt: skip
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the study")
    parser.add_argument("--no-figures", action="store_true", help="tables only")
    add_plugin_option(parser)
    add_accept_option(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    return parser


def _chosen(listed: str, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Proxy → its options, which are checked."""
    chosen = names("proxies") if listed == "all" else list(dict.fromkeys(listed.split(",")))
    unused = [name for name in settings if name not in chosen]
    if unused:
        raise RecipeError(
            f"{unused[0]}: settings must begin with 'space' or the name of a proxy that is ranked ({', '.join(chosen)})"
        )
    for name in chosen:
        check_plugin("proxies", name, settings.get(name, {}))
    return {name: settings.get(name, {}) for name in chosen}


def _read(path: Path, space: SearchSpace[Any]) -> AccuracyTable:
    from vkdnw_search.ranking.nats import read_nats
    from vkdnw_search.ranking.scoring_jobs import readable
    from vkdnw_search.ranking.tables import read_csv, read_macro_json

    parse = readable(space).parse

    def canonical(text: str) -> str:
        return parse(text).key

    if path.is_dir():
        return read_nats(path, canonical=canonical)
    return (read_macro_json if path.suffix == ".json" else read_csv)(path, canonical=canonical)


class _Bar:
    """Networks scored, of how many, and the time left. Nothing is shown where stderr is not a terminal."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._bar: tqdm[Any] | None = None
        self.done = self.total = 0

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, total: int) -> None:
        """Take note of the state; what is done at the first call does not count for the speed."""
        self.done, self.total = done, total
        if self._bar is None:
            hidden = None if self._shown else True
            self._bar = tqdm(total=total, initial=done, unit="net", disable=hidden, dynamic_ncols=True)
        else:
            self._bar.update(done - self._bar.n)
