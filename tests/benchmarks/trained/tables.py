"""The files that the trainings leave in the project, and what they say of their noise.

networks.csv            every network that was drawn, trained yet or not
trainings.csv           a row for each training
trained_mobilenet.csv   architecture, accuracy (mean over seeds), FLOPs, parameters: what `vkdnw-search rank` reads
two_thirds.csv, held_out.csv   the same, split: choose on the first, report on the second
summary.txt             the noise, and what size and origin say
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from search_spaces.mobilenet_structure import parse
from tests.benchmarks.trained.networks import Candidate
from tests.benchmarks.trained.store import Plan, Training
from vkdnw_search.atomic_files import write_whole
from vkdnw_search.ranking.metrics import spearman

ACCURACY = "fashion_mnist"
TOLD_APART = 1.96 * math.sqrt(2)
"""Two networks, each trained once, differ by chance by less than so many standard deviations in 95 of 100 pairs."""

NETWORK_COLUMNS = ("number", "group", "name", "part", "held_out", "seeds", "flops", "params", "layers", "arch")
TRAINING_COLUMNS = (
    *("network", "group", "name", "part", "held_out", "seed", "accuracy", "test_loss", "train_loss"),
    *("seconds", "cpu_seconds", "commit", "torch", "settings", "arch"),
)


def write_tables(folder: Path, plan: Plan, trainings: Sequence[Training]) -> None:
    """Write all the files; those of accuracies hold the networks that were trained at least once.

    Raises:
        ValueError: a training is not of a network of the plan.
    """
    write_whole(folder / "networks.csv", _text(NETWORK_COLUMNS, map(_network_row, plan.networks)))
    settings = " ".join(f"{name}={value}" for name, value in {**asdict(plan.space), **asdict(plan.settings)}.items())
    networks = {network.key: network for network in plan.networks}
    if strange := [t.key for t in trainings if t.key not in networks]:
        raise ValueError(f"{strange[0]}: was trained, but is no network of the plan. Collect from one work folder")
    rows = [_training_row(networks[t.key], t, settings) for t in trainings]
    write_whole(folder / "trainings.csv", _text(TRAINING_COLUMNS, rows))
    known = accuracies(trainings)
    for name, split in (("trained_mobilenet", (False, True)), ("two_thirds", (False,)), ("held_out", (True,))):
        chosen = [n for n in plan.networks if n.number in known and n.held_out in split]
        table = [(n.key, f"{known[n.number]:.3f}", n.flops, n.parameters) for n in chosen]
        write_whole(folder / f"{name}.csv", _text(("arch", ACCURACY, "flops", "params"), table))
    write_whole(folder / "summary.txt", summary(plan, trainings) + "\n")


def accuracies(trainings: Iterable[Training]) -> dict[int, float]:
    """Number of a network → mean accuracy over its seeds."""
    return {number: fmean(t.outcome.accuracy for t in own) for number, own in _by_network(trainings).items()}


def summary(plan: Plan, trainings: Sequence[Training]) -> str:
    """What the trainings say, in words and figures."""
    known = accuracies(trainings)
    networks = [n for n in plan.networks if n.number in known]
    jobs = len(plan.jobs())
    lines = [f"{len(trainings)} of {jobs} trainings, {len(networks)} of {len(plan.networks)} networks"]
    if not networks:
        return lines[0]
    values = [known[n.number] for n in networks]
    cpu = [t.outcome.cpu_seconds for t in trainings]
    wall = [t.outcome.seconds for t in trainings]
    lines.append(f"accuracy: {_spread(values)}, least {min(values):.2f}, most {max(values):.2f}")
    lines.append(
        f"seconds a training: {fmean(wall):.0f}, of these on the processor {fmean(cpu):.0f}; {sum(wall) / 3600:.1f} h"
    )
    lines += _noise([[t.outcome.accuracy for t in own] for own in _by_network(trainings).values()], values)
    lines += _sizes(networks, values)
    lines += ["", "group, part: networks, accuracy (mean, deviation, least, most)"]
    for group, part in dict.fromkeys((n.group, n.part) for n in plan.networks):
        own = [known[n.number] for n in networks if (n.group, n.part) == (group, part)]
        if own:
            lines.append(f"{group}, {part}: {len(own)}, {_spread(own)}, {min(own):.2f}, {max(own):.2f}")
    named = sorted((n for n in networks if n.group != "mutated" and n.name), key=lambda n: -known[n.number])
    lines += ["", "published networks, scaled: accuracy, FLOPs, networks of all that are better"]
    for n in named:
        better = sum(value > known[n.number] for value in values)
        lines.append(f"{n.name}: {known[n.number]:.2f}, {n.flops / 1e6:.2f}M, {better}")
    return "\n".join(lines)


def noise(pairs: Sequence[Sequence[float]]) -> float:
    """Standard deviation of the accuracy between seeds of one network, from two seeds of each. NaN without any."""
    return math.sqrt(fmean((a - b) ** 2 / 2 for a, b in pairs)) if pairs else math.nan


def _noise(by_network: Sequence[Sequence[float]], values: Sequence[float]) -> list[str]:
    """Lines on what two seeds of one network say."""
    pairs = [own[:2] for own in by_network if len(own) >= 2]
    if len(pairs) < 3:
        return [f"two seeds: {len(pairs)} networks, too few to say anything"]
    first, second = np.array(pairs).T
    deviation = noise(pairs)
    lines = [
        f"two seeds: {len(pairs)} networks, ρ {spearman(first, second):.3f}, standard deviation between seeds "
        f"{deviation:.2f} points",
        f"told apart (95 %) by one training each: {TOLD_APART * deviation:.2f} points",
    ]
    if len(values) > 1:
        share = deviation**2 / float(np.var(values, ddof=1))
        lines.append(f"share of the variance of accuracies that is noise of one seed: {share:.1%}")
    return lines


def _sizes(networks: Sequence[Candidate], values: Sequence[float]) -> list[str]:
    """Lines on what size alone says: of all, and of the networks of one class."""
    lines = []
    for title, chosen in (("all", None), ("the class", "class")):
        places = [i for i, n in enumerate(networks) if chosen in (None, n.part)]
        if len(places) > 2:
            known = np.array([values[i] for i in places])
            sizes = {
                name: np.array([float(getattr(networks[i], name)) for i in places])
                for name in ("flops", "parameters", "layers")
            }
            told = ", ".join(f"{name} {spearman(size, known):.3f}" for name, size in sizes.items())
            lines.append(f"ρ with accuracy among {title} ({len(places)}): {told}")
            if len(set(sizes["layers"])) > 1 < len(places) - 3:
                shapes = {**sizes, **_shapes([networks[i] for i in places])}
                told = ", ".join(
                    f"{name} {partial_rho(shape, known, sizes['layers']):.3f}"
                    for name, shape in shapes.items()
                    if name != "layers"
                )
                lines.append(f"the same at equal layers: {told}")
    return lines


def _shapes(networks: Sequence[Candidate]) -> dict[str, NDArray[np.float64]]:
    """Shares that the space's options bound (mobilenet_widths), the least of each network, the stem's channels, and the
    blocks whose shortcuts are all projections, since they are not as wide inside as outside.
    """
    rows = []
    for network in networks:
        structure = parse(network.key)
        widest, widths, waists = structure.stem, [1.0], [1.0]
        for block in structure.blocks:
            widths.append(block.out / widest)
            waists.append(block.btn / widest)
            widest = max(widest, block.out)
        inside = [block.btn / block.out for block in structure.blocks]
        rows.append((min(widths), min(waists), min(inside), structure.stem, sum(share != 1 for share in inside)))
    names = ("least width", "least waist", "least bottleneck", "stem", "projected blocks")
    return dict(zip(names, np.array(rows, dtype=np.float64).T, strict=True))


def partial_rho(x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]) -> float:
    """Spearman's ρ of x and y, (n,) each, with z held fixed: (ρ_xy − ρ_xz ρ_yz) / √((1 − ρ_xz²) (1 − ρ_yz²))."""
    xy, xz, yz = spearman(x, y), spearman(x, z), spearman(y, z)
    left = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / math.sqrt(left) if left > 1e-9 else math.nan


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.2f} ± {stdev(values) if len(values) > 1 else math.nan:.2f}"


def _by_network(trainings: Iterable[Training]) -> Mapping[int, list[Training]]:
    by_network: dict[int, list[Training]] = {}
    for training in trainings:
        by_network.setdefault(training.network, []).append(training)
    return by_network


def _network_row(n: Candidate) -> Sequence[object]:
    seeds = " ".join(map(str, n.seeds))
    return (n.number, n.group, n.name, n.part, int(n.held_out), seeds, n.flops, n.parameters, n.layers, n.key)


def _training_row(n: Candidate, t: Training, settings: str) -> Sequence[object]:
    o = t.outcome
    figures = (f"{o.accuracy:.2f}", f"{o.test_loss:.5f}", f"{o.train_loss:.5f}", f"{o.seconds:.1f}")
    head = (n.number, n.group, n.name, n.part, int(n.held_out), t.seed)
    return (*head, *figures, f"{o.cpu_seconds:.1f}", t.commit, t.torch, settings, t.key)


def _text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()
