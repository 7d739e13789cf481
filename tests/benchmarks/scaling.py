"""How much faster two workers are than one, on a search that is bound by scoring.

    python tests/benchmarks/scaling.py --json scaling.json

Start-up is left out: the clock runs from the first evaluation stored to the last. Targets on two quiet cores: at least
1.8 for processes, 1.7 for Dask on loopback.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from vkdnw_search.store import Store

SEARCH = ("nb201", "optimizer={use: random, children: 64}", "finalists=0")
WARM = 64
"""Evaluations before the clock runs: the first generation, while workers start."""


def seconds(executor: str, workers: int, evaluations: int) -> float:
    """Of the evaluations after the first WARM ones, by one search."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        subprocess.run(
            [
                *(sys.executable, "-m", "vkdnw_search", *SEARCH, "-q", "--out", str(out)),
                f"stop.evaluations={WARM + evaluations}",
                f"executor={{use: {executor}, workers: {workers}}}",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with closing(Store(out / "run.sqlite")) as store:
            finished = {number: at for number, at, _ in store.timings()}
    warm = max(at for number, at in finished.items() if number < WARM)
    return max(finished.values()) - warm


def measure(executor: str, evaluations: int, repeats: int) -> dict[str, Any]:
    """The best of ``repeats`` for one and for two workers, taken in turns."""
    taken: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repeats):
        for workers in taken:
            taken[workers].append(seconds(executor, workers, evaluations))
    one, two = min(taken[1]), min(taken[2])
    return {"executor": executor, "evaluations": evaluations, "one": one, "two": two, "speedup": one / two}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    parser.add_argument("--evaluations", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--executors", nargs="+", choices=("processes", "dask"), default=["processes", "dask"])
    options = parser.parse_args()
    results = [measure(executor, options.evaluations, options.repeats) for executor in options.executors]
    options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
