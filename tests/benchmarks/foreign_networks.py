"""Networks that nobody here wrote: is each scored, what does it take, are its Fisher rows the literal ones?

python tests/benchmarks/foreign_networks.py --out FILE.jsonl

They are those of tests/support/foreign_networks.py: of pytorchcv, of transformers, and made of torch's own modules,
as far as these are installed. Each is scored in a process of its own that is ended after ``--limit`` seconds. The file
gets a line for each as it is done; the same command goes on with what is missing. Linux only: processes are forked.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import statistics
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is downloaded

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import table
from tests.support.foreign_networks import Foreign, installed, networks
from tests.support.foreign_rows import TOLERANCE, compared, same_state, state_of
from vkdnw_search import score
from vkdnw_search.errors import VkdnwSearchError, named
from vkdnw_search.proxies.vkdnw import VkdnwSingle

PROXY = VkdnwSingle(images=16, directions=8)
"""As many rows as the default has; half the images again for literal derivatives, which go image by image."""
IMAGES, TENSORS = 2, 12
"""Of the comparison with a literal Jacobian, in float64."""


def measured(foreign: Foreign, literal: bool) -> dict[str, Any]:
    """Score one network, and compare its rows if they are to be."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # theirs
    torch.manual_seed(0)
    model = foreign.make()
    row: dict[str, Any] = {"parameters": sum(p.numel() for p in model.parameters())}
    before, started = state_of(model), time.process_time()
    try:
        row["score"] = score(model, (3, foreign.side, foreign.side), proxy=PROXY).value
    except VkdnwSearchError as error:
        row["refused"] = named(error)
    row["seconds"] = time.process_time() - started
    row["unchanged"] = same_state(before, state_of(model))
    if literal and "score" in row:
        images = torch.randn(IMAGES, 3, foreign.side, foreign.side, dtype=torch.float64)
        try:
            found = compared(model.double().eval(), images, tensors=TENSORS, draws=1, calibrate=True)
            row |= {"difference": found.difference, "mended": found.mended}
        except Exception as error:  # of the network, in float64
            row["not compared"] = named(error)
    return row


def limited(foreign: Foreign, literal: bool, seconds: float) -> dict[str, Any]:
    """The same in a process of its own; whatever ends it is told."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def run() -> None:
        try:
            theirs.send(measured(foreign, literal))
        except BaseException as error:
            theirs.send({"crashed": named(error)})

    process = context.Process(target=run)
    process.start()
    try:
        return ours.recv() if ours.poll(seconds) else {"crashed": f"not done after {seconds:g} s"}
    finally:
        process.kill()
        process.join()


def lines(rows: dict[str, dict[str, Any]]) -> str:
    """A table of all networks, and a summary."""
    told = [
        (
            name,
            f"{row['side']} px",
            f"{row.get('parameters', 0) / 1e6:.2f}M",
            f"{row['score']:.3f}" if "score" in row else row.get("refused") or row["crashed"],
            f"{row.get('seconds', 0):.1f} s",
            f"{row['difference']:.0e}" if "difference" in row else row.get("not compared", ""),
        )
        for name, row in rows.items()
    ]
    scored = [row for row in rows.values() if "score" in row]
    compared_ = [row["difference"] for row in scored if "difference" in row]
    outcomes = Counter("scored" if "score" in r else "refused" if "refused" in r else "crashed" for r in rows.values())
    seconds = [row["seconds"] for row in scored]
    summary = [
        f"{len(rows)} networks: " + ", ".join(f"{count} {what}" for what, count in outcomes.items()),
        f"unchanged: {sum(row.get('unchanged', False) for row in rows.values())} of {len(rows)}",
        f"against a literal Jacobian: {sum(d <= TOLERANCE for d in compared_)} of {len(compared_)} agree, "
        f"the largest difference is {max(compared_, default=0):.1e}; mended by the check: "
        f"{sum(bool(row.get('mended')) for row in scored)}",
        f"processor time of a score: median {statistics.median(seconds):.1f} s, most {max(seconds):.1f} s, "
        f"all {sum(seconds) / 60:.1f} min",
    ]
    head = ("network", "images", "parameters", "score", "processor", "difference")
    return "\n".join([table(head, told), "", *summary])


def main() -> None:
    """Score what the file does not have yet, and print the table of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a file of JSON lines, which is continued")
    parser.add_argument("--limit", type=float, default=300, help="seconds for one network (default: %(default)s)")
    parser.add_argument("--literal", type=int, default=20, help="networks to compare, evenly spread, or 0")
    parser.add_argument("--only", default="", help="those whose name contains this")
    options = parser.parse_args()
    chosen = [foreign for foreign in networks() if options.only in foreign.name]
    step = max(1, len(chosen) // options.literal) if options.literal else len(chosen) + 1
    if installed("transformers"):
        importlib.import_module("transformers.modeling_utils")  # once, before forking: it takes seconds
    options.out.touch()
    rows = {row.pop("name"): row for row in map(json.loads, options.out.read_text(encoding="utf-8").splitlines())}
    for number, foreign in enumerate(chosen, start=1):
        if foreign.name not in rows:
            row = {"side": foreign.side, **limited(foreign, number % step == 0, options.limit)}
            rows[foreign.name] = row
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"name": foreign.name, **row}) + "\n")
    print(lines({foreign.name: rows[foreign.name] for foreign in chosen}))
    changed = [name for name, row in rows.items() if not row.get("unchanged", True)]
    wrong = [name for name, row in rows.items() if row.get("difference", 0) > TOLERANCE]
    if changed or wrong:
        sys.exit(f"changed by being scored: {changed}; rows that are not the literal ones: {wrong}")


if __name__ == "__main__":
    main()
