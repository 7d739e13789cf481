"""How much faster two workers are than one, on a search that is bound by scoring.

    python tests/benchmarks/scaling.py --json scaling.json

Start-up is left out: the clock runs from the end of the first generation to the last result. Targets on two quiet
cores: at least 1.8 for processes, 1.7 for Dask on loopback. Takes about ten minutes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import arguments, conclude, table
from vkdnw_search.runs.store import Store

SEARCH = (
    "nb201",
    "optimizer={use: aging, population: 64, children: 64}",
    "finalists=0",
    "score.parameters=64",
    "score.directions=1",
)
"""Aging evolution needs every score: no candidate is skipped by its bound."""
WARM = 64
"""Evaluations before the clock runs: the first generation, while workers start."""
TARGETS = {"processes": 1.8, "dask": 1.7}


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


def measure(executor: str, evaluations: int, repeats: int) -> dict[str, float]:
    """The best of ``repeats`` for one and for two workers, taken in turns."""
    taken: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repeats):
        for workers in taken:
            taken[workers].append(seconds(executor, workers, evaluations))
    one, two = min(taken[1]), min(taken[2])
    return {"one": one, "two": two, "speedup": one / two, "target": TARGETS[executor]}


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--evaluations", type=int, default=256, help="that the clock sees")
    parser.add_argument("--repeats", type=int, default=3, help="of which the fastest counts")
    parser.add_argument("--executors", nargs="+", choices=tuple(TARGETS), default=list(TARGETS))
    options = parser.parse_args()
    results = {name: measure(name, options.evaluations, options.repeats) for name in options.executors}
    rows = [
        [name, f"{r['one']:.1f} s", f"{r['two']:.1f} s", f"{r['speedup']:.2f}", f"{r['target']:.1f}"]
        for name, r in results.items()
    ]
    print(f"{options.evaluations} candidates of {SEARCH[0]}, the fastest of {options.repeats}:\n")
    print(table(["executor", "one worker", "two workers", "times as fast", "target"], rows))
    figures: dict[str, Any] = {"evaluations": options.evaluations, "repeats": options.repeats, **results}
    conclude(figures, options.json)


if __name__ == "__main__":
    main()
