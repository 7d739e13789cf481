"""Every part that the networks of a space have, as ONNX files with a manifest, to be timed on another device."""

from __future__ import annotations

import csv
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vkdnw_search.atomic_files import all_or_nothing, atomic_file
from vkdnw_search.contracts import HasParts, Make, SearchSpace, input_shape_of
from vkdnw_search.cost.latency import LatencyTable
from vkdnw_search.cost.limits import Limits
from vkdnw_search.determinism import forked_generators, seed_from
from vkdnw_search.engine.latency_survey import networks_to_correct
from vkdnw_search.errors import LatencyError, LatencyUnknown
from vkdnw_search.latencies.onnx_files import must_have_extra, nothing, quantize, write_part
from vkdnw_search.optimizers.variation import random_genome
from vkdnw_search.records import Genome

EXACT = 20_000
"""Number of genomes up to which all are looked at; of a larger space, random ones."""
BATCH, MOST_BATCHES = 1000, 20
"""Random genomes are looked at until so many in a row have no new part, or so many times."""
FRESH = 1000
"""Number of random genomes, others than those looked at, that tell how much of the space the parts cover."""

MANIFEST = "manifest.csv"
NOTHING = "nothing.onnx"
"""A file that computes nothing, by which the script knows what a call takes."""
COLUMNS = ("number", "part", "input_shape", "file")
SCRIPT = Path(__file__).parents[1] / "latencies" / "templates" / "time_parts.py"

Precision = Literal["float32", "int8"]


@dataclass(frozen=True, slots=True)
class PartList:
    """The parts of a space, those that most candidates need first, and whole networks for the correction.

    Attributes:
        parts: name → what makes it.
        networks: key → what makes it.
        kinds: number of parts that were found, before any were left out.
        looked_at: number of genomes that they were found in.
        exact: whether these are all genomes of the space.
        covered: share of fresh random candidates (of all candidates if ``exact``) that need no other parts.
    """

    parts: Mapping[str, Make]
    networks: Mapping[str, Make]
    kinds: int
    looked_at: int
    exact: bool
    covered: float

    def in_words(self) -> str:
        """How many parts there are, and of how many networks they are all."""
        among = f"all {self.looked_at:,} genomes" if self.exact else f"{self.looked_at:,} random genomes"
        of = "these" if self.exact else f"{FRESH:,} others"
        share = "all" if self.covered == 1 else f"{min(self.covered, 0.999):.1%}"
        return f"{len(self.parts):,} of the {self.kinds:,} parts of {among}, and of {share} of {of} every part"


def list_parts(space: SearchSpace[Any], limits: Limits, *, most: int | None = None, networks: int = 0) -> PartList:
    """Find the parts of a space: the nodes between which latencies are interpolated.

    Args:
        space: must have parts.
        limits: of the run, for whole networks as it will choose them.
        most: keep so many parts, those that most genomes need; None: all.
        networks: number of whole networks.

    Raises:
        LatencyError: the space has no parts.
    """
    if not isinstance(space, HasParts):
        raise LatencyError(f"{space.name}: has no parts, so that every network would have to be timed whole")
    table = LatencyTable(space)
    exact = math.prod(len(gene.choices) for gene in space.genes) <= EXACT
    found: dict[str, Make] = {}
    counts: Counter[str] = Counter()
    looked_at = 0
    for batch in [_all(space)] if exact else _random(space):
        before = len(found)
        for genome in batch:
            modules = table.modules(space.decode(genome))
            found |= modules
            counts.update(modules.keys())
            looked_at += 1
        if len(found) == before:
            break
    kept = {name: found[name] for name, _ in counts.most_common(most)}
    wholes = networks_to_correct(space, limits, networks)
    makers = {a.key: _making(space, a) for a in wholes}
    return PartList(kept, makers, len(found), looked_at, exact, _covered(space, table, kept, exact=exact))


def write_parts(
    listed: PartList,
    folder: Path,
    *,
    precision: Precision = "float32",
    listener: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the ONNX files, the manifest and the script that times them into ``folder``, all of them or none.

    Args:
        listed: what to write.
        folder: is made; must be new or empty.
        precision: of the files.
        listener: called with the number of files that are done, and of all.

    Raises:
        LatencyError: the extra ``onnx`` is not installed, the folder is not empty, or a part cannot be written.
    """
    must_have_extra()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LatencyError(f"{folder}: must be a new or empty folder, but is not. It was left as it is")
    modules = {**listed.parts, **listed.networks}
    with all_or_nothing(folder) as drafts:
        rows = []
        for number, (name, make) in enumerate(modules.items(), 1):
            rows.append((number, name, *_write(make, name, drafts / f"{number:04}.onnx", precision)))
            listener(number, len(modules))
        with atomic_file(drafts / MANIFEST) as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
        write_part(*nothing(), drafts / NOTHING)
        shutil.copyfile(SCRIPT, drafts / SCRIPT.name)


def _write(make: Make, name: str, path: Path, precision: Precision) -> tuple[str, str]:
    """Write one file. Returns the shape of its input and its name."""
    with forked_generators():
        module, input_shape = make()
        try:
            write_part(module, input_shape, path)
            if precision == "int8":
                quantize(path, quantized := path.with_suffix(".int8.onnx"))
                quantized.replace(path)
                path.with_suffix(".int8.folded.onnx").unlink(missing_ok=True)
        except LatencyUnknown as error:
            raise LatencyError(f"{name}: {error}. No file was kept") from error
    return "x".join(map(str, (1, *input_shape))), path.name


def _making(space: SearchSpace[Any], architecture: Any) -> Make:
    return lambda: (space.build(architecture), input_shape_of(space, architecture))


def _all(space: SearchSpace[Any]) -> Iterator[Genome]:
    return product(*(range(len(gene.choices)) for gene in space.genes))


def _random(space: SearchSpace[Any]) -> Iterator[Iterator[Genome]]:
    """Batches of random genomes."""
    for number in range(MOST_BATCHES):
        yield _batch(space, BATCH, number)


def _batch(space: SearchSpace[Any], count: int, *seed: int | str) -> Iterator[Genome]:
    rng = np.random.default_rng(seed_from("parts", *seed))
    return (random_genome(space.genes, rng) for _ in range(count))


def _covered(space: SearchSpace[Any], table: LatencyTable[Any], kept: Mapping[str, Make], *, exact: bool) -> float:
    """The share of candidates that need no part but those that are kept."""
    fresh = list(_all(space) if exact else _batch(space, FRESH, "fresh"))
    return sum(table.modules(space.decode(genome)).keys() <= kept.keys() for genome in fresh) / len(fresh)
