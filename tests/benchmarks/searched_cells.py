"""Where the winners of whole searches stand by accuracy, in NAS-Bench-201: seed after seed, beside what they visited.

python tests/benchmarks/searched_cells.py --out DIR --json FILE [--accuracies FILE] [--seeds 10] [RECIPE [key=value …]]

Runs the recipe, by default the README's `nb201 limits.flops=60M stop.evaluations=300`, once for each seed, and looks up
the accuracy of every network within the limits that a run visited. Told are the winner's accuracy and its place among
them, the best of the finalists, the best and the median of all. Before that: how accurate cells are whose input is
added to their output, beside all cells, and the best within shares of the largest FLOPs. DIR keeps the runs, and the
same command goes on from there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median, stdev

sys.path.insert(0, str(Path(__file__).parents[2]))

from search_spaces.nasbench201 import RESIDUAL, CellArchitecture, NasBench201
from tests.benchmarks.measuring import arguments, conclude, table
from vkdnw_search import search
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.ranking.tables import read_csv
from vkdnw_search.runs.result import Result

ACCURACIES = Path(__file__).parents[3] / "shared" / "data" / "nb201_test_accuracy.csv"
README = ("nb201", "limits.flops=60M", "stop.evaluations=300")
TOP = 100
BUDGETS = (0.25, 0.35, 0.5, 0.75, 1.0)
"""Shares of the largest FLOPs."""

COLUMNS = ("seed", "visited", "winner", "place", "best finalist", "best visited", "median visited")

Accuracies = Mapping[str, float]


def placed(result: Result, accuracies: Accuracies) -> list[float]:
    """What COLUMNS name, of one search.

    Raises:
        ValueError: it has no winner, or no accuracy is known of it.
    """
    best = result.best
    if best is None or best.key not in accuracies:
        raise ValueError(f"seed {result.recipe.seed}: no winner whose accuracy is known")
    keys = {e.key for e in result.evaluations() if e.status.is_feasible}
    known = [accuracies[key] for key in keys if key in accuracies]
    finalists = [] if result.judgement is None else result.judgement.finalists
    own = accuracies[best.key]
    of_finalists = [accuracies[f.key] for f in finalists if f.key in accuracies]
    place = 1 + sum(other > own for other in known)
    return [result.recipe.seed, len(known), own, place, max(of_finalists, default=own), max(known), median(known)]


def cells(accuracies: Accuracies) -> list[list[object]]:
    """All and residual cells: how many there are, their mean accuracy, how many of the TOP most accurate are of them,
    and the best within each budget.
    """
    space = NasBench201()
    counter: CostCounter[CellArchitecture] = CostCounter(space)
    residual = {key for key in accuracies if space.parse(key).operations[RESIDUAL] == "skip_connect"}
    flops = {key: counter.cost(space.parse(key)).flops for key in accuracies}
    best = sorted(accuracies, key=lambda key: -accuracies[key])
    rows: list[list[object]] = []
    for name, keys in (("all", set(accuracies)), ("residual", residual)):
        mean, among = f"{fmean(accuracies[key] for key in keys):.2f}", sum(key in keys for key in best[:TOP])
        within = [[k for k in best if k in keys and flops[k] <= share * max(flops.values())] for share in BUDGETS]
        rows.append([name, len(keys), mean, among, *(f"{accuracies[k[0]]:.2f}" if k else "" for k in within)])
    return rows


def summed_up(rows: Sequence[Sequence[float]]) -> str:
    """The means over seeds."""
    winners, places = [row[2] for row in rows], [row[3] for row in rows]
    spread = f" ± {stdev(winners):.2f}" if len(winners) > 1 else ""
    tenth = sum(place <= row[1] / 10 for place, row in zip(places, rows, strict=True))
    return (
        f"winner {fmean(winners):.2f}{spread}, best finalist {fmean(row[4] for row in rows):.2f}, best visited "
        f"{fmean(row[5] for row in rows):.2f}, median visited {fmean(row[6] for row in rows):.2f}; among the best "
        f"tenth of the visited in {tenth} of {len(rows)} seeds"
    )


def main(words: Sequence[str] | None = None) -> None:
    """Search, look up, print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("recipe", nargs="*", default=README, metavar="RECIPE key=value …")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the runs")
    parser.add_argument("--accuracies", type=Path, default=ACCURACIES, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    options = parser.parse_args(words)
    known = read_csv(options.accuracies, canonical=lambda text: NasBench201().parse(text).key)
    columns = {
        name: dict(zip(known.architectures, values.tolist(), strict=True)) for name, values in known.columns.items()
    }
    for name, accuracies in columns.items():
        head = ["cells", "number", "mean", f"of the best {TOP}", *(f"best within {share:.0%}" for share in BUDGETS)]
        print(f"{name}:\n{table(head, cells(accuracies))}\n")
    recipe, *overrides = options.recipe
    rows: dict[str, list[list[float]]] = {name: [] for name in columns}
    for seed in range(options.first, options.first + options.seeds):
        result = search(recipe, [*overrides, f"seed={seed}"], out=options.out / f"{seed}")
        for name, accuracies in columns.items():
            rows[name].append(placed(result, accuracies))
            print(f"{name}: {dict(zip(COLUMNS, rows[name][-1], strict=True))}", flush=True)
    for name in columns:
        text = [[f"{value:.2f}" if isinstance(value, float) else value for value in row] for row in rows[name]]
        print(f"\n{' '.join(options.recipe)}, {name}:\n{table(COLUMNS, text)}\n{summed_up(rows[name])}")
    conclude({"recipe": options.recipe, "rows": rows}, options.json)


if __name__ == "__main__":
    main()
