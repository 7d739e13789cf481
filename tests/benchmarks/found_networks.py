"""What whole searches find: accuracy of the winner and of the best of its ten finalists, under FLOPs budgets.

python tests/benchmarks/found_networks.py --studies DIR --json FILE [--data DIR] [--only NAME …] [--fitness A,B,…]

Each fitness, budget and one of twenty seeds is a search by evolution and one by random search of as many candidates, in
NAS-Bench-201, in the part of NAS-Bench-Macro whose accuracies are given (other networks count as candidates without a
score), and in Once-for-all's MobileNetV3 space by the published predictor. Beside them stand the largest network that
a random search met, any network, and the best there is, or where that is not known the best that evolution by the
accuracy itself finds. Scores are looked up in the studies that `vkdnw-search rank SPACE --out DIR/SPACE …` made; what
is missing there is scored when a search meets it, and stored. The winner is the network of the highest stored score,
while a search compares its finalists on fresh initializations.

FILE is written after every search, and the same command goes on from there. A benchmark whose data are not in --data,
by default the folder `shared/data` beside the project, is left out, and the reason is told.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import arguments, conclude, table
from tests.benchmarks.nas_benchmarks import PUBLISHED, NasBenchmark, Unavailable, benchmarks
from tests.benchmarks.stored_search import Accuracies, Found, KnownAccuracies, StoredScores, StoredSearch
from vkdnw_search.atomic_files import write_whole
from vkdnw_search.cost.limits import Limits, Range
from vkdnw_search.execution.executors import inline, processes
from vkdnw_search.optimizers.algorithms import Evolution, RandomSearch
from vkdnw_search.ranking.plan import Row, identity
from vkdnw_search.recipe.registry import find

DATA = Path(__file__).parents[3] / "shared" / "data"
FITNESSES = ("vkdnw_single", "vkdnw_agg", "consensus", "az_nas", "jacov", "flops")
OPTIMIZERS: Mapping[str, Any] = {"evolution": Evolution, "random": RandomSearch}
SEEDS = 20
ORACLE_EVALUATIONS = 5000
"""Candidates of a search by the accuracy itself."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """Everything that a search depends on.

    Attributes:
        benchmark: its name.
        fitness: name of the proxy; ``accuracy`` for the accuracy itself.
        proxy: digest of the proxy with its options.
        budget: most FLOPs, as written.
        optimizer: its name.
        evaluations: number of candidates.
        seed: of the search.
    """

    benchmark: str
    fitness: str
    proxy: str
    budget: str
    optimizer: str
    evaluations: int
    seed: int


class Searches:
    """The searches that are done, in a file.

    Args:
        file: JSON; None keeps them in memory. What is there is done.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        there = json.loads(file.read_text())["searches"] if file is not None and file.is_file() else []
        names = list(Setting.__dataclass_fields__)
        self._done: dict[Setting, Record] = {Setting(**{n: record[n] for n in names}): record for record in there}

    def __contains__(self, setting: Setting) -> bool:
        return setting in self._done

    def add(self, setting: Setting, outcome: Record) -> None:
        """Take note of what a search found, and write it."""
        self._done[setting] = {**asdict(setting), **outcome}
        if self._file is not None:
            write_whole(self._file, json.dumps({"searches": self.records()}, indent=1) + "\n")

    def only(self, wanted: Iterable[Setting]) -> Searches:
        """Those with these settings, without a file: others may be there from other options."""
        some = Searches(None)
        some._done = {setting: self._done[setting] for setting in wanted}
        return some

    def records(self, **wanted: object) -> list[Record]:
        """Those with these values of their settings."""
        return [r for r in self._done.values() if all(r[name] == value for name, value in wanted.items())]


def settings(benchmark: NasBenchmark, rows: Mapping[str, Row], seeds: int) -> Iterator[Setting]:
    """All searches of a benchmark, the widest budget first; then those for the best there is, where it is not known."""
    budgets = sorted(benchmark.flops, key=lambda budget: -benchmark.flops[budget])
    for row, budget, optimizer, seed in itertools.product(rows.values(), budgets, OPTIMIZERS, range(seeds)):
        yield Setting(benchmark.name, row.name, digest(row), budget, optimizer, benchmark.evaluations, seed)
    oracle = KnownAccuracies.row
    for budget in (b for b in budgets if b not in benchmark.best):
        yield Setting(benchmark.name, oracle.name, digest(oracle), budget, "evolution", ORACLE_EVALUATIONS, 0)


def digest(row: Row) -> str:
    """A short text that tells proxies with different options apart."""
    return hashlib.sha256(identity(row.proxy).encode()).hexdigest()[:12]


def searched(benchmark: NasBenchmark, scores: StoredScores, setting: Setting) -> Record:
    """What one search finds."""
    source: StoredScores | KnownAccuracies = scores
    row = scores.rows.get(setting.fitness, KnownAccuracies.row)
    if row is KnownAccuracies.row:
        source = KnownAccuracies(benchmark.accuracies, benchmark.columns[0])
    limits = Limits(flops=Range(maximum=benchmark.flops[setting.budget]))
    known = benchmark.accuracies
    search = StoredSearch(
        source, row, benchmark.space, lambda key: known(key) is not None, limits=limits, seed=setting.seed
    )
    optimizer = OPTIMIZERS[setting.optimizer](search.evaluator.problem())
    return outcome(benchmark, search.run(optimizer, evaluations=setting.evaluations))


def outcome(benchmark: NasBenchmark, found: Found) -> Record:
    """The accuracies of what a search found; empty if there was nothing."""
    if not found.finalists:
        return {"winner": "", "visited": len(found.visited), "accuracy": {}}
    every = {key: benchmark.accuracies(key) or {} for key in found.visited}
    winner = found.finalists[0]
    return {
        "winner": winner,
        "flops": found.flops[winner],
        "visited": len(found.visited),
        "accuracy": every[winner],
        "best_finalist": {c: max(every[key][c] for key in found.finalists) for c in benchmark.columns},
        "most_flops": every[found.most_flops],
        "mean": {c: fmean(accuracies[c] for accuracies in every.values()) for c in benchmark.columns},
        "best": {c: max(accuracies[c] for accuracies in every.values()) for c in benchmark.columns},
    }


def tables(benchmark: NasBenchmark, rows: Sequence[str], searches: Searches) -> str:
    """For each accuracy a table: winners by fitness and budget, and what one would have without a search."""
    texts = []
    for column in benchmark.columns:
        lines = _lines(benchmark, rows, searches, column)
        texts.append(f"{benchmark.name}, {column}\n\n{table(['', 'by', *benchmark.flops], lines)}")
    return "\n\n".join(texts)


def _lines(benchmark: NasBenchmark, rows: Sequence[str], searches: Searches, column: str) -> list[list[str]]:
    lines = []
    for fitness, optimizer in itertools.product(rows, OPTIMIZERS):
        wanted = {"benchmark": benchmark.name, "fitness": fitness, "optimizer": optimizer}
        cells = [searches.records(**wanted, budget=budget) for budget in benchmark.flops]
        lines.append([fitness, optimizer, *(_winner(cell, column) for cell in cells)])
    wanted = {"benchmark": benchmark.name, "fitness": rows[0], "optimizer": "random"}
    cells = [[r for r in searches.records(**wanted, budget=budget) if r["winner"]] for budget in benchmark.flops]
    lines.append(["most FLOPs", "random", *(_mean([r["most_flops"] for r in cell], column) for cell in cells)])
    lines.append(["any network", "", *(_mean([r["mean"] for r in cell], column) for cell in cells)])
    return [*lines, ["best there is", "", *(_best(benchmark, searches, budget, column) for budget in benchmark.flops)]]


def _winner(records: Sequence[Record], column: str) -> str:
    """Accuracy of the winner and of the best of ten finalists, means over seeds."""
    found = [record for record in records if record["winner"]]
    best = [record["best_finalist"] for record in found]
    return f"{_mean([r['accuracy'] for r in found], column)} / {_mean(best, column, spread=False)}" if found else "–"


def _mean(accuracies: Sequence[Accuracies], column: str, *, spread: bool = True) -> str:
    values = [a[column] for a in accuracies]
    if not values:
        return "–"
    return f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if spread and len(values) > 1 else "")


def _best(benchmark: NasBenchmark, searches: Searches, budget: str, column: str) -> str:
    """The best there is within a budget, or with a ≥ the best that is known."""
    if budget in benchmark.best:
        return f"{benchmark.best[budget][column]:.2f}"
    known = [r["best"][column] for r in searches.records(benchmark=benchmark.name, budget=budget) if r["winner"]]
    return f"≥ {max(known):.2f}" if known else "–"


def beside_published(rows: Sequence[str], searches: Searches) -> str:
    """What is found in NAS-Bench-201 without a limit, beside what others' searches found as published."""
    columns = ("cifar10", "cifar100")
    lines: list[list[object]] = []
    for fitness in rows:
        wanted = {"benchmark": "nasbench201", "fitness": fitness, "optimizer": "evolution", "budget": "100%"}
        records = [record for record in searches.records(**wanted) if record["winner"]]
        for what, name in (("accuracy", fitness), ("best_finalist", f"{fitness}, best of ten")):
            lines.append([name, *(_mean([record[what] for record in records], column) for column in columns)])
    lines += [[f"{name} (published)", *(f"{x:.2f}" for x in numbers)] for name, numbers in PUBLISHED.items()]
    return table(["found without a limit", *columns], lines)


def measure(benchmark: NasBenchmark, options: Any, searches: Searches) -> None:
    """Do all searches of a benchmark that are not done yet, and print its tables."""
    names = options.fitness.split(",")
    proxies = {name: find("proxies", name)(**benchmark.settings.get(name, {})) for name in names}
    executor = inline() if options.workers == 1 else processes(workers=options.workers)
    with executor, StoredScores(options.studies / benchmark.name, benchmark.space, proxies, executor) as scores:
        wanted = list(settings(benchmark, scores.rows, options.seeds))
        for number, setting in enumerate(wanted, start=1):
            if setting not in searches:
                searches.add(setting, searched(benchmark, scores, setting))
                print(f"{benchmark.name}: search {number} of {len(wanted)}", file=sys.stderr, flush=True)
    done = searches.only(wanted)
    print(tables(benchmark, names, done), end="\n\n", flush=True)
    if benchmark.name == "nasbench201":
        print(beside_published(names, done), end="\n\n", flush=True)


def main() -> None:
    """Search and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--studies", type=Path, metavar="DIR", required=True, help="folder of the studies")
    parser.add_argument("--data", type=Path, metavar="DIR", default=DATA, help="folder of the accuracies")
    parser.add_argument("--only", nargs="+", choices=list(benchmarks(DATA)), help="some of the benchmarks")
    parser.add_argument("--fitness", metavar="A,B,…", default=",".join(FITNESSES), help="default: %(default)s")
    parser.add_argument(
        "--seeds", type=int, metavar="N", default=SEEDS, help="searches of a kind (default: %(default)s)"
    )
    parser.add_argument(
        "--evaluations", type=int, metavar="N", help="candidates of a search (default: as in its recipe)"
    )
    parser.add_argument("--workers", type=int, metavar="N", default=1, help="processes that score what is not stored")
    options = parser.parse_args()
    searches, skipped = Searches(options.json), dict[str, str]()
    print("Accuracy in % of the winner, mean ± standard deviation over seeds / of the best of its ten finalists\n")
    for name, make in benchmarks(options.data).items():
        if options.only and name not in options.only:
            continue
        try:
            benchmark = make()
            benchmark = replace(benchmark, evaluations=options.evaluations or benchmark.evaluations)
        except Unavailable as reason:
            skipped[name] = str(reason)
            print(f"{name} is left out: {reason}\n", flush=True)
            continue
        measure(benchmark, options, searches)
    conclude({"skipped": skipped, "searches": searches.records()}, options.json)


if __name__ == "__main__":
    main()
