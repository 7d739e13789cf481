"""Latencies from parts against whole networks in ONNX Runtime, and each source against measured boards and phones.

python tests/benchmarks/device_latency.py --out DIR --json FILE

For each space: the parts of random networks, and the networks whole, are timed in ONNX Runtime, in float32 and int8,
and in PyTorch; sums of parts are corrected by half of the networks and judged on the other half. All files are timed in
turn, again and again, in seconds of the processor (other programs may share the machine), and the least of the medians
of each counts. Then sums of the parts of NAS-Bench-201 networks are compared with the milliseconds of HW-NAS-Bench (Li
et al. 2021) on a Raspberry Pi 4 and a Pixel 3, and so is a table of parts fitted to 200 of its rows. DIR keeps every
median as it is measured, and the same command goes on from there.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch
from scipy import optimize, stats

from search_spaces.nasbench201 import NasBench201
from search_spaces.resnet import ResNet
from tests.benchmarks.measuring import arguments, conclude, table
from tests.benchmarks.sampling import mobilenets
from vkdnw_search.contracts import Make
from vkdnw_search.cost.latency import LatencyTable
from vkdnw_search.determinism import forked_generators
from vkdnw_search.engine.latency_survey import random_networks
from vkdnw_search.latencies.onnx_files import nothing, write_part
from vkdnw_search.latencies.onnx_runtime import OnnxRuntimeLatency
from vkdnw_search.latencies.repeated_runs import timed
from vkdnw_search.latencies.table import MeasuredTable
from vkdnw_search.recipe.recipe import load_recipe
from vkdnw_search.records import Timing

FITTED = 200
"""Number of rows of HW-NAS-Bench that a table of parts is fitted to."""
HW_NAS_BENCH = Path(__file__).parents[3] / "shared" / "data" / "hw_nas_bench_nb201_cifar10.csv"

SOURCES = ("float32", "int8", "torch")

Timings = dict[str, Timing]


@dataclass(frozen=True)
class Work:
    """How much is measured, and where it is kept.

    Attributes:
        out: a folder, with a file for each source and set of networks: a line of JSON for each median.
        networks: that a correction is fitted to; it is judged on as many others.
        rounds: in each of which every module is timed.
        rows: networks of HW-NAS-Bench that are timed.
    """

    out: Path
    networks: int
    rounds: int
    rows: int

    def kept(self, what: str) -> dict[tuple[int, str], float]:
        """(round, name) → seconds of what was measured before. A line that was cut off is removed."""
        file = self.out / f"{what}.jsonl"
        if not file.exists():
            return {}
        text = file.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            file.write_text(whole, encoding="utf-8")
        rows = map(json.loads, whole.splitlines())
        return {(number, name): seconds for number, name, seconds in rows}

    def keep(self, what: str, number: int, name: str, seconds: float) -> None:
        """Append one median."""
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / f"{what}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps([number, name, seconds]) + "\n")


def modules_of(space: Any, networks: Sequence[Any]) -> dict[str, Make]:
    """All parts of ``networks``, and these whole, by name; and what computes nothing."""
    parts = LatencyTable(space)
    found: dict[str, Make] = {"nothing": nothing}
    for network in networks:
        found |= parts.modules(network)
        found[network.key] = lambda network=network: (space.build(network), space.input_shape)  # type: ignore[misc]
    return found


def timings(modules: Mapping[str, Make], source: str, what: str, work: Work) -> Timings:
    """Name → the least of the medians of several rounds, without what a call takes."""
    what = f"{what}-{source}"
    known = work.kept(what)
    missing = [(number, name) for number in range(work.rounds) for name in modules if (number, name) not in known]
    with tempfile.TemporaryDirectory() as folder:
        names = dict.fromkeys(name for _, name in missing)
        runs = {name: runner(modules[name], source, Path(folder) / f"{i}.onnx") for i, name in enumerate(names)}
        for number, name in missing:
            known[number, name] = timed(runs[name], clock=time.process_time).seconds
            work.keep(what, number, name, known[number, name])
    least = {name: min(known[number, name] for number in range(work.rounds)) for name in modules}
    call = least["nothing"] if source != "torch" else 0.0
    return {name: Timing(max(seconds - call, 0.0)) for name, seconds in least.items()}


def runner(make: Make, source: str, path: Path) -> Callable[[], object]:
    """What runs a module by one of ``SOURCES``."""
    with forked_generators():
        model, shape = make()
    if source == "torch":
        model, x = model.eval(), torch.zeros(1, *shape)
        return torch.inference_mode()(lambda: model(x))
    write_part(model, shape, path)
    kind = "float32" if make is nothing else source
    return OnnxRuntimeLatency(precision=kind).runner(path)  # type: ignore[arg-type]


def compare(name: str, space: Any, networks: Sequence[Any], work: Work) -> dict[str, dict[str, float]]:
    """Figures of each source for the second half of ``networks``, corrected by the first."""
    first, second = networks[: len(networks) // 2], networks[len(networks) // 2 :]
    wholes, sums, figures = {}, {}, {}
    for source in SOURCES:
        found = timings(modules_of(space, networks), source, name, work)
        latencies = LatencyTable(space, MeasuredTable(found, source))
        sums[source] = np.array([latencies.seconds(a) for a in second])
        latencies.correct(first)
        corrected = np.array([latencies.seconds(a) for a in second])
        wholes[source] = np.array([found[a.key].seconds for a in second])
        assert latencies.correction is not None
        figures[source] = {
            "rho": rho(corrected, wholes[source]),
            "error": float(np.mean(abs(corrected - wholes[source]) / wholes[source])),
            "error_uncorrected": float(np.mean(abs(sums[source] - wholes[source]) / wholes[source])),
            "told_error": latencies.correction.error,
            "factor": latencies.correction.factor,
            "parts": float(len(found) - len(networks) - 1),
            "milliseconds": 1000 * float(np.median(wholes[source])),
        }
    for source in SOURCES:
        for runtime in ("float32", "int8"):
            figures[source][f"rho_with_{runtime}"] = rho(sums[source], wholes[runtime])
    return figures


def rho(ours: Any, theirs: Any) -> float:
    """Spearman's ρ."""
    return float(stats.spearmanr(ours, theirs).statistic)


def spaces(networks: int) -> dict[str, tuple[Any, list[Any]]]:
    """Name → space and so many networks."""
    mobilenet, genomes = mobilenets(networks, "limits.flops={max: 600M}")
    found: dict[str, tuple[Any, list[Any]]] = {"mobilenet": (mobilenet, [*map(mobilenet.decode, genomes)])}
    macro = load_recipe("macro").build_space()
    for space in (NasBench201(), macro, ResNet(resolution=64, max_width=256)):
        found[space.name] = space, random_networks(space, networks, "device latency")
    return found


def boards(work: Work) -> dict[str, dict[str, float]]:
    """Each source against the milliseconds of a Raspberry Pi 4 and of a Pixel 3."""
    space = NasBench201()
    with HW_NAS_BENCH.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    np.random.default_rng(0).shuffle(rows)  # type: ignore[arg-type]
    networks = [space.parse(row["arch"]) for row in rows]
    measured = {name: np.array([float(row[f"{name}_latency"]) for row in rows]) for name in ("raspi4", "pixel3")}
    sample = networks[: work.rows]
    figures: dict[str, dict[str, float]] = {}
    for source in SOURCES:
        found = timings(modules_of(space, sample), source, f"boards-{work.rows}", work)
        latencies = LatencyTable(space, MeasuredTable(found, source))
        ours = {"parts": [latencies.seconds(a) for a in sample], "whole": [found[a.key].seconds for a in sample]}
        for kind, seconds in ours.items():
            figures[f"{source}, {kind}"] = {board: rho(seconds, ms[: work.rows]) for board, ms in measured.items()}
    figures["FLOPs"] = {board: rho(flops(space, sample), ms[: work.rows]) for board, ms in measured.items()}
    fitted = {board: fitted_table(space, networks, ms) for board, ms in measured.items()}
    for place, what in enumerate((f"table fitted to {FITTED} rows", "its mean error", "its median error")):
        figures[what] = {board: found[place] for board, found in fitted.items()}
    return figures


def flops(space: Any, networks: Sequence[Any]) -> list[int]:
    """What fvcore counts."""
    from vkdnw_search.cost.counter import CostCounter

    return [CostCounter(space).cost(a).flops for a in networks]


def fitted_table(space: Any, networks: Sequence[Any], milliseconds: np.ndarray) -> tuple[float, float, float]:
    """ρ, mean and median relative error, on the other rows, of a table that is fitted to the first rows.

    The milliseconds of each kind of part are least squares of Σ_parts = measured, none of them negative. The mean is
    that of a few networks: 1.7 % of the rows take less than a millisecond on the Raspberry Pi 4, the median takes 26.
    """
    counts = [Counter(f"{p.kind!r} {p.widths!r}" for p in space.parts(a)) for a in networks]
    names = sorted({name for row in counts for name in row})
    x = np.array([[row[name] for name in names] for row in counts], dtype=float)  # (networks, kinds)
    each, _ = optimize.nnls(x[:FITTED], milliseconds[:FITTED])
    read = MeasuredTable({name: Timing(ms / 1000) for name, ms in zip(names, each, strict=True)}, "fitted")
    latencies = LatencyTable(space, read)
    ours = np.array([1000 * latencies.seconds(a) for a in networks[FITTED:]])
    theirs = milliseconds[FITTED:]
    errors = abs(ours - theirs) / theirs
    return rho(ours, theirs), float(np.mean(errors)), float(np.median(errors))


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the timings are kept")
    parser.add_argument("--spaces", nargs="+", metavar="NAME", help="these alone (default: all)")
    parser.add_argument("--networks", type=int, default=12, metavar="N", help="to fit, and to judge (default: 12)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="medians of each module (default: 3)")
    parser.add_argument("--rows", type=int, default=100, metavar="N", help="of HW-NAS-Bench (default: 100)")
    options = parser.parse_args()
    work = Work(options.out, options.networks, options.rounds, options.rows)
    torch.set_num_threads(1)
    figures = {}
    for name, (space, networks) in spaces(2 * work.networks).items():
        if name in (options.spaces or [name]):
            figures[name] = compare(f"{name}-{work.networks}", space, networks, work)
            print(f"{name}: {figures[name]}", file=sys.stderr)
    print(
        f"{work.networks} random networks, corrected by {work.networks} others; one thread; "
        f"least of {work.rounds} medians.\n"
    )
    head = ["space", "source", "ρ", "error", "without correction", "ρ of sums, float32 whole", "int8 whole", "parts"]
    columns = ("rho", "error", "error_uncorrected", "rho_with_float32", "rho_with_int8", "parts")
    rows = [[name, source, *(f[c] for c in columns)] for name, by in figures.items() for source, f in by.items()]
    print(table(head, rows))
    if HW_NAS_BENCH.is_file():
        figures["boards"] = boards(work)
        print(f"\nρ with HW-NAS-Bench, {work.rows} networks, the fitted table on all other rows:\n")
        print(table(["source", "Raspberry Pi 4", "Pixel 3"], [[n, *f.values()] for n, f in figures["boards"].items()]))
    conclude(figures, options.json)


if __name__ == "__main__":
    main()
