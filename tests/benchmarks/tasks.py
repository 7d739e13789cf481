"""How well scores rank networks on the seven tasks of TransNAS-Bench-101: τ, ρ and regret under FLOPs budgets.

    python tests/benchmarks/tasks.py --tables FOLDER --out DIR [--json FILE] [--tasks TASK …]

FOLDER holds transnas_micro.csv and transnas_macro.csv. Networks are scored with a stem of 16 channels in place of 64
and images of 64 pixels in place of 256, so that a network takes a second or two; their accuracies are those of the
whole ones. All is kept in DIR: the same command continues.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from search_spaces.transnas_macro import TransNasMacro
from search_spaces.transnas_micro import TransNasMicro
from search_spaces.transnas_tasks import TASKS
from tests.benchmarks.measuring import arguments, conclude, table
from vkdnw_search.determinism import one_thread
from vkdnw_search.ranking.evaluation import Study
from vkdnw_search.ranking.metrics import kendall
from vkdnw_search.ranking.regret.budgets import read_budgets
from vkdnw_search.ranking.regret.measurement import RANDOM
from vkdnw_search.ranking.study import rank
from vkdnw_search.ranking.tables import AccuracyTable, read_csv
from vkdnw_search.recipe.registry import find

SPACES: dict[str, Any] = {"transnas_micro": TransNasMicro, "transnas_macro": TransNasMacro}
NETWORKS, CHANNELS, RESOLUTION = 32, 16, 64
BUDGETS = read_budgets("25%,50%,75%,100%")
SPECTRUM = {"images": 16, "parameters": 64, "directions": 4}
PROXIES: dict[str, dict[str, Any]] = {
    "vkdnw_single": SPECTRUM,
    "consensus": {**SPECTRUM, "jacov_images": 32},
    "flops": {},
    "parameters": {},
    "trainable_layers": {},
    "jacov": {"images": 32},
    "naswot": {"images": 32},
    "synflow": {},
    "zen": {"images": 16},
    "az_nas": {"images": 16},
}


def narrowed(space: Any, file: Path) -> AccuracyTable:
    """The table of ``space``, whose networks have another stem than those of ``file``."""
    return read_csv(file, canonical=lambda text: space.parse(text.replace("64-", f"{space.channels}-", 1)).key)


def studied(name: str, task: Any, tables: Path, out: Path, networks: int = NETWORKS) -> Study:
    """All scores of one space on one task."""
    space = SPACES[name](task=task, channels=CHANNELS, resolution=RESOLUTION)
    proxies = {proxy: find("proxies", proxy)(**options) for proxy, options in PROXIES.items()}
    accuracies, folder = narrowed(space, tables / f"{name}.csv"), out / f"{name}_{task}"
    study = rank(space, accuracies, proxies, out=folder, sample=networks, budgets=BUDGETS, figures=False)
    assert study is not None, "nothing stops it"
    return study


def figures_of(study: Study, task: str) -> dict[str, dict[str, float]]:
    """Method → its τ, ρ and mean regret on one task; a random choice has a regret alone."""
    assert study.regrets is not None
    found = {
        row.name: {
            "kendall": row.qualities[task]["kendall"].mean,
            "spearman": row.qualities[task]["spearman"].mean,
            "regret": study.regrets.methods[row.name][task].mean.mean,
        }
        for row in study.rows
    }
    return {**found, RANDOM: {"regret": study.regrets.references[RANDOM][task].mean.mean}}


def shown(figures: dict[str, float]) -> str:
    """One cell of the table."""
    order = f"{figures['kendall']:.2f} / {figures['spearman']:.2f} / " if "kendall" in figures else ""
    return f"{order}{figures['regret']:.2f}"


def convolutions(text: str) -> int:
    """Those of a unit's main path and its changing shortcuts, times what is the same for all networks of a space."""
    _, modules, cell = text.split("-")
    if cell == "basic":
        return 4 * len(modules) + sum(digit != "1" for digit in modules)
    return sum(digit in "23" for digit in cell)


def sizes(file: Path) -> list[list[object]]:
    """τ of published FLOPs, published parameters and convolutions for each task, over all rows of a table."""
    with file.open(newline="") as text:
        rows = [row for row in csv.DictReader(text) if row["class_scene_mflops"]]
    of = {
        "flops": [float(row["class_scene_mflops"]) for row in rows],
        "parameters": [float(row["params_m"]) for row in rows],
        "convolutions": [convolutions(row["arch_str"]) for row in rows],
    }
    return [[name, *(kendall(v, [float(row[t]) for row in rows]) for t in TASKS)] for name, v in of.items()]


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--tables", type=Path, required=True, metavar="FOLDER", help="of the published tables")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="scores are kept there")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="default: all seven")
    parser.add_argument("--sizes", action="store_true", help="published sizes alone, over all rows; needs no scores")
    given = parser.parse_args()
    if given.sizes:
        for name in SPACES:
            print(f"\n{name}: τ\n\n{table(['size', *TASKS], sizes(given.tables / f'{name}.csv'))}")
        return
    figures: dict[str, dict[str, Any]] = {name: {} for name in SPACES}
    for task in given.tasks:
        for name in SPACES:
            with one_thread():
                figures[name][task] = figures_of(studied(name, task, given.tables, given.out), task)
    for name, of_tasks in figures.items():
        rows = [[method, *(shown(of[method]) for of in of_tasks.values())] for method in (*PROXIES, RANDOM)]
        print(f"\n{name}, {NETWORKS} networks: τ / ρ / mean regret under {len(BUDGETS)} budgets\n")
        print(table(["method", *of_tasks], rows))
    conclude(figures, given.json)


if __name__ == "__main__":
    main()
