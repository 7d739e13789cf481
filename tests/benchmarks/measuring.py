"""What the benchmarks share: the machine, medians of repeated runs, tables, and a file of figures."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vkdnw_search.runs.folder import environment


def seconds(function: Callable[[], object], *, repeats: int = 5, warm: bool = True) -> float:
    """Median wall-clock time of ``function``."""
    if warm:
        function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def ratio(function: Callable[[], object], unit: Callable[[], object], *, repeats: int = 9) -> float:
    """Time of ``function`` in units of ``unit``: the median over pairs run one after the other."""
    function(), unit()
    pairs = [(seconds(function, repeats=1, warm=False), seconds(unit, repeats=1, warm=False)) for _ in range(repeats)]
    return statistics.median(a / b for a, b in pairs)


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)`` in a fresh interpreter, for figures of memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_bytes() -> int:
    """Largest resident size of this process (Linux). ``getrusage`` would count that of the parent it came from."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(f"{c:.3g}" if isinstance(c, float) else str(c) for c in row) + " |" for row in rows]
    return "\n".join(lines)


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser that knows ``--json FILE``, for benchmarks with options of their own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser


def conclude(figures: dict[str, Any], file: Path | None) -> None:
    """Name the machine, and write it with the figures where a file is given."""
    machine = environment()
    print(f"\n{machine['processor']}, {machine['cores']} cores, torch {machine['packages']['torch']}")  # type: ignore[index]
    if file is not None:
        file.write_text(json.dumps({"machine": machine, **figures}, indent=2) + "\n")


def finish(figures: dict[str, Any], description: str) -> None:
    """Write the figures, with the machine, where ``--json FILE`` asks for it."""
    conclude(figures, arguments(description).parse_args().json)
