"""Time the ONNX files that manifest.csv names, on this device: copy the folder here and run

    python time_parts.py --out measured.csv

It needs onnxruntime and numpy alone. Each file is timed after a warm-up, as the median of at least eleven runs, and
the table is written after each, so that the same command goes on where it was cut off. What a run of nothing.onnx
takes is subtracted: a network is called once, but has many parts. A table of vkdnw-search's
`latency: {use: table}` is the manifest with the columns milliseconds and spread, so that any other program that times
the files may write it as well.
"""

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy
import onnxruntime


def main() -> int:
    """Time what is not yet in the table."""
    parser = argparse.ArgumentParser(description="Time the ONNX files of a manifest on this device.")
    parser.add_argument("--manifest", type=Path, default=Path(__file__).with_name("manifest.csv"))
    parser.add_argument("--out", type=Path, default=Path("measured.csv"), help="continued if it is there")
    parser.add_argument("--threads", type=int, default=1, help="within an operator")
    parser.add_argument("--providers", nargs="+", default=["CPUExecutionProvider"], metavar="NAME")
    parser.add_argument("--seconds", type=float, default=0.05, help="that each file is timed for at least")
    options = parser.parse_args()
    with options.manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    done = measured_before(options.out)
    failed, call = 0, timing(options.manifest.with_name("nothing.onnx"), options)[0]
    for number, row in enumerate(rows, 1):
        if row["part"] not in done:
            try:
                seconds, spread = timing(options.manifest.parent / row["file"], options)
                milliseconds = max(1000 * (seconds - call), 0)
                done[row["part"]] = {**row, "milliseconds": f"{milliseconds:.6g}", "spread": f"{spread:.3g}"}
            except Exception as error:  # of the runtime: the others can be timed all the same
                failed += 1
                print(f"{row['file']}, {row['part']}: {error!r}", file=sys.stderr)
            write(options.out, list(done.values()), [*rows[0], "milliseconds", "spread"])
        print(f"\r{number} of {len(rows)}", end="", file=sys.stderr)
    print(f"\n{options.out}: {len(done)} of {len(rows)} timed", file=sys.stderr)
    return 1 if failed else 0


def measured_before(path: Path) -> dict[str, dict[str, str]]:
    """Part → row, of a table that is there already."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["part"]: row for row in csv.DictReader(file)}


def write(path: Path, rows: list[dict[str, str]], columns: list[str]) -> None:
    """Write the table beside itself, then put it in its place."""
    draft = path.with_name(path.name + ".draft")
    with draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draft.replace(path)


def timing(path: Path, options: argparse.Namespace) -> tuple[float, float]:
    """The median seconds of a run, and the distance of the quartiles over it."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = options.threads, 1
    settings.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(str(path), settings, providers=options.providers)
    random = numpy.random.default_rng(0)
    inputs = {i.name: random.standard_normal(i.shape, dtype=numpy.float32) for i in session.get_inputs()}
    for _ in range(3):
        session.run(None, inputs)
    runs: list[float] = []
    while len(runs) < 11 or (sum(runs) < options.seconds and len(runs) < 1001):
        started = time.perf_counter()
        session.run(None, inputs)
        runs.append(time.perf_counter() - started)
    lower, middle, upper = numpy.percentile(runs, [25, 50, 75])
    return float(middle), float((upper - lower) / middle)


if __name__ == "__main__":
    sys.exit(main())
