"""Bands in one run against a run for each band alone, of the same length each, in the MobileNet space.

python tests/benchmarks/bands.py --json FILE
"""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import finish, table
from vkdnw_search import search

EDGES = (240_000_000, 300_000_000, 450_000_000, 600_000_000)
"""Least FLOPs of all, then the most of each band."""
EVALUATIONS = 1000
SEEDS = (0,)


def main() -> None:
    """Search and print."""
    rows: list[list[Any]] = []
    for seed in SEEDS:
        common = [f"stop.evaluations={EVALUATIONS}", f"seed={seed}"]
        together = search(
            "mbv2_600M", [*common, f"limits.flops={{min: {EDGES[0]}, max: {EDGES[-1]}}}", f"bands={list(EDGES[1:])}"]
        )
        assert together.judgement is not None
        winners = {band.at_most: band.winner for band in together.judgement.bands}
        for above, at_most in pairwise(EDGES):
            alone = search("mbv2_600M", [*common, f"limits.flops={{min: {above + 1}, max: {at_most}}}"]).judgement
            ours = winners[at_most]
            assert alone is not None and ours is not None
            theirs = alone.finalists[0]
            lead, error = ours.mean - theirs.mean, math.hypot(ours.standard_error, theirs.standard_error)
            rows.append([seed, f"{at_most // 10**6}M", ours.mean, theirs.mean, lead, error])
            print(rows[-1], file=sys.stderr, flush=True)
    print(f"MobileNet space, {EVALUATIONS} candidates a run: one run with three bands, and one for each band alone.\n")
    head = ["seed", "band", "in the run with bands", "in a run of its own", "lead", "±"]
    shown = [[seed, band, *(f"{x:.3f}" for x in numbers)] for seed, band, *numbers in rows]
    print(table(head, shown))
    keys = ("seed", "band", "banded", "alone", "lead", "error")
    finish({"bands": [dict(zip(keys, row, strict=True)) for row in rows]}, __doc__ or "")


if __name__ == "__main__":
    main()
