"""Latencies from parts against whole networks in ONNX Runtime, and each source against measured boards and phones.

python tests/benchmarks/device_latency.py --json FILE

For each space: the parts of random networks, and the networks whole, are timed in ONNX Runtime, in float32 and int8,
and in PyTorch; sums of parts are corrected by half of the networks and judged on the other half. All files are timed in
turn, again and again, in seconds of the processor (other programs may share the machine), and the least of the medians
of each counts. Then sums of the parts of NAS-Bench-201 networks are compared with the milliseconds of HW-NAS-Bench (Li
et al. 2021) on a Raspberry Pi 4 and a Pixel 3, and so is a table of parts fitted to 200 of its rows.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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

NETWORKS = 12
"""Number of networks that a correction is fitted to, and of others that it is judged on."""
ROUNDS = 3
ROWS = 100
FITTED = 200
HW_NAS_BENCH = Path(__file__).parents[3] / "shared" / "data" / "hw_nas_bench_nb201_cifar10.csv"

SOURCES = ("float32", "int8", "torch")

Timings = dict[str, Timing]


def modules_of(space: Any, networks: Sequence[Any]) -> dict[str, Make]:
    """All parts of ``networks``, and these whole, by name; and what computes nothing."""
    parts = LatencyTable(space)
    found: dict[str, Make] = {"nothing": nothing}
    for network in networks:
        found |= parts.modules(network)
        found[network.key] = lambda network=network: (space.build(network), space.input_shape)  # type: ignore[misc]
    return found


def timings(modules: Mapping[str, Make], source: str, folder: Path) -> Timings:
    """Name → the least of the medians of several rounds, without what a call takes."""
    runs = {
        name: runner(make, source, folder / f"{number}.onnx") for number, (name, make) in enumerate(modules.items())
    }
    medians = [{name: timed(run, clock=time.process_time).seconds for name, run in runs.items()} for _ in range(ROUNDS)]
    least = {name: min(times[name] for times in medians) for name in runs}
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


def compare(space: Any, networks: Sequence[Any]) -> dict[str, dict[str, float]]:
    """Figures of each source for the second half of ``networks``, corrected by the first."""
    first, second = networks[: len(networks) // 2], networks[len(networks) // 2 :]
    wholes, sums, figures = {}, {}, {}
    for source in SOURCES:
        started = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            found = timings(modules_of(space, networks), source, Path(folder))
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
            "core_seconds": time.process_time() - started,
        }
    for source in SOURCES:
        for runtime in ("float32", "int8"):
            figures[source][f"rho_with_{runtime}"] = rho(sums[source], wholes[runtime])
    return figures


def rho(ours: Any, theirs: Any) -> float:
    """Spearman's ρ."""
    return float(stats.spearmanr(ours, theirs).statistic)


def spaces() -> dict[str, tuple[Any, list[Any]]]:
    """Name → space and networks."""
    mobilenet, genomes = mobilenets(2 * NETWORKS, "limits.flops={max: 600M}")
    found: dict[str, tuple[Any, list[Any]]] = {"mobilenet": (mobilenet, [*map(mobilenet.decode, genomes)])}
    macro = load_recipe("macro").build_space()
    for space in (NasBench201(), macro, ResNet(resolution=64, max_width=256)):
        found[space.name] = space, random_networks(space, 2 * NETWORKS, "device latency")
    return found


def boards() -> dict[str, dict[str, float]]:
    """Each source against the milliseconds of a Raspberry Pi 4 and of a Pixel 3."""
    space = NasBench201()
    with HW_NAS_BENCH.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    np.random.default_rng(0).shuffle(rows)  # type: ignore[arg-type]
    networks = [space.parse(row["arch"]) for row in rows]
    measured = {name: np.array([float(row[f"{name}_latency"]) for row in rows]) for name in ("raspi4", "pixel3")}
    sample = networks[:ROWS]
    figures: dict[str, dict[str, float]] = {}
    for source in SOURCES:
        with tempfile.TemporaryDirectory() as folder:
            found = timings(modules_of(space, sample), source, Path(folder))
        latencies = LatencyTable(space, MeasuredTable(found, source))
        ours = {"parts": [latencies.seconds(a) for a in sample], "whole": [found[a.key].seconds for a in sample]}
        for kind, seconds in ours.items():
            figures[f"{source}, {kind}"] = {board: rho(seconds, ms[:ROWS]) for board, ms in measured.items()}
    figures["FLOPs"] = {board: rho(flops(space, sample), ms[:ROWS]) for board, ms in measured.items()}
    figures["table fitted to 200 rows"] = {
        board: fitted_table(space, networks, ms)[0] for board, ms in measured.items()
    }
    figures["its mean error"] = {board: fitted_table(space, networks, ms)[1] for board, ms in measured.items()}
    return figures


def flops(space: Any, networks: Sequence[Any]) -> list[int]:
    """What fvcore counts."""
    from vkdnw_search.cost.counter import CostCounter

    return [CostCounter(space).cost(a).flops for a in networks]


def fitted_table(space: Any, networks: Sequence[Any], milliseconds: np.ndarray) -> tuple[float, float]:
    """ρ and mean relative error, on the other rows, of a table that is fitted to the first rows.

    The milliseconds of each kind of part are least squares of Σ_parts = measured, none of them negative.
    """
    counts = [Counter(f"{p.kind!r} {p.widths!r}" for p in space.parts(a)) for a in networks]
    names = sorted({name for row in counts for name in row})
    x = np.array([[row[name] for name in names] for row in counts], dtype=float)  # (networks, kinds)
    each, _ = optimize.nnls(x[:FITTED], milliseconds[:FITTED])
    read = MeasuredTable({name: Timing(ms / 1000) for name, ms in zip(names, each, strict=True)}, "fitted")
    latencies = LatencyTable(space, read)
    ours = np.array([1000 * latencies.seconds(a) for a in networks[FITTED:]])
    theirs = milliseconds[FITTED:]
    return rho(ours, theirs), float(np.mean(abs(ours - theirs) / theirs))


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--spaces", nargs="+", metavar="NAME", help="these alone (default: all)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = {}
    for name, given in spaces().items():
        if name in (options.spaces or [name]):
            figures[name] = compare(*given)
            print(f"{name}: {figures[name]}", file=sys.stderr)
    print(f"{NETWORKS} random networks, corrected by {NETWORKS} others; one thread; least of {ROUNDS} medians.\n")
    head = ["space", "source", "ρ", "error", "without correction", "ρ of sums, float32 whole", "int8 whole", "parts"]
    columns = ("rho", "error", "error_uncorrected", "rho_with_float32", "rho_with_int8", "parts")
    rows = [[name, source, *(f[c] for c in columns)] for name, by in figures.items() for source, f in by.items()]
    print(table(head, rows))
    if HW_NAS_BENCH.is_file():
        figures["boards"] = boards()
        print(f"\nρ with HW-NAS-Bench, {ROWS} networks:\n")
        print(table(["source", "Raspberry Pi 4", "Pixel 3"], [[n, *f.values()] for n, f in figures["boards"].items()]))
    conclude(figures, options.json)


if __name__ == "__main__":
    main()
