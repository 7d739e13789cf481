"""Which networks are trained: all drawn from one seed, before anything is trained.

The space is `mobilenet` for images of 40×40 pixels, with at most 160 channels. Most networks are of one class, 4.2M to
7M FLOPs, where published networks of 600M fall when their widths are halved and their depths multiplied by 0.6; the
others are smaller, so that a budget has something to choose from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count, pairwise

import numpy as np

from search_spaces.mobilenet import MAX_DEPTH, SLOTS, STAGES, STEM_WIDTH, MobileNet
from search_spaces.mobilenet_network import round8
from search_spaces.mobilenet_structure import TYPES, Structure, SuperBlock, parse
from tests.support.golden import MOBILENETS
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.cost.limits import Limits, Range
from vkdnw_search.engine.evaluator import Evaluator
from vkdnw_search.optimizers.sampling import UnvisitedSampler
from vkdnw_search.proxies.size import Flops
from vkdnw_search.records import Cost

SPACE = MobileNet(
    resolution=40, num_classes=10, last_width=256, max_width=160, least_width=0, least_waist=0, least_stem=8
)
SETTINGS = (
    "space.resolution=40 space.num_classes=10 space.last_width=256 space.max_width=160 "
    "space.least_width=0 space.least_waist=0 space.least_stem=8"
)
"""The same space on the command line of `vkdnw-search rank mobilenet`."""

LAYERS = 11
"""The most layers of a network: those of the deepest published network here."""

PARTS = {"class": (4.2e6, 7e6), "below": (1.2e6, 4.2e6)}
"""FLOPs of the networks of one class, and of the smaller ones."""

COUNTS = {
    ("random", "class"): 20,
    ("random", "below"): 12,
    ("any_width", "class"): 18,
    ("any_width", "below"): 10,
    ("rising", "class"): 26,
    ("rising", "below"): 10,
    ("mutated", "class"): 28,
}
"""Group and part → networks. The published ones come on top."""

SEED = 20
HELD_OUT, TWICE = 3, 4
"""In every group and part one network of three is held out, and one of four is trained from a second seed."""

SCALES = (0.5, 0.35)
"""Factors by which the widths of published networks are multiplied."""

DEPTH_SCALE = 0.6
"""The factor for the depth of every super-block of a published network."""

REPAIR_TRIES = 200
"""How many changes the engine's optimizers try by default to bring a candidate within its limits."""

MOBILENETV2 = (
    "SuperConvK3BNRELU(3,32,2,1)SuperResIDWE6K3(32,24,2,24,1)SuperResIDWE6K3(24,32,2,32,2)"
    "SuperResIDWE6K3(32,64,2,64,3)SuperResIDWE6K3(64,96,1,96,2)SuperResIDWE6K3(96,160,2,160,2)"
    "SuperResIDWE6K3(160,320,1,160,1)SuperConvK1BNRELU(320,2048,1,1)"
)
"""MobileNetV2 (arXiv 1801.04381) as near as this space comes: its widths and its expansion of 6, two units a depth."""


@dataclass(frozen=True)
class Candidate:
    """A network to train.

    Attributes:
        number: its place in the queue, from 0.
        group: how it was drawn.
        name: a published network and its scale; for a mutated network its parent; empty for others.
        part: ``class`` or ``below``, by its FLOPs.
        held_out: whether it belongs to the third that nothing may be chosen by.
        seeds: one for each training.
        flops, parameters, layers: as the engine counts them.
        key: the structure in its published text form.
    """

    number: int
    group: str
    name: str
    part: str
    held_out: bool
    seeds: tuple[int, ...]
    flops: int
    parameters: int
    layers: int
    key: str


@dataclass(frozen=True)
class Drawn:
    """A structure before it has a place in the queue."""

    structure: Structure
    cost: Cost
    name: str = ""


def draw_networks(seed: int = SEED) -> list[Candidate]:
    """Every network, in an order of which any beginning is a balanced sample of the groups."""
    rng = np.random.default_rng(seed)
    originals = [Drawn(structure, cost_of(structure), name) for name, structure in published().items()]
    strata = {("published", part): [d for d in originals if part_of(d.cost) == part] for part in PARTS}
    taken = {d.structure.key for d in originals}
    for (group, part), wanted in COUNTS.items():
        strata[group, part] = []
        for structure, name in _source(group, part, rng):
            cost = cost_of(structure)
            if structure.key not in taken and is_feasible(cost, part):
                taken.add(structure.key)
                strata[group, part].append(Drawn(structure, cost, name))
            if len(strata[group, part]) == wanted:
                break
    return _queue(strata, rng)


def candidate(number: int, group: str, drawn: Drawn, *, held_out: bool, seeds: tuple[int, ...]) -> Candidate:
    """``drawn`` with its place and its roles."""
    cost = drawn.cost
    counts = (cost.flops, cost.parameters, cost.layers)
    return Candidate(number, group, drawn.name, part_of(cost), held_out, seeds, *counts, drawn.structure.key)


def cost_of(structure: Structure) -> Cost:
    """What ``structure`` costs in this space."""
    return _counter().cost(structure)


@lru_cache
def _counter() -> CostCounter[Structure]:
    return CostCounter(SPACE)


def part_of(cost: Cost) -> str:
    """``class`` from its least FLOPs on, else ``below``."""
    return "class" if cost.flops >= PARTS["class"][0] else "below"


def is_feasible(cost: Cost, part: str) -> bool:
    """Whether a network of this cost may be in ``part``."""
    least, most = PARTS[part]
    return cost.layers <= LAYERS and least <= cost.flops < most


def published() -> dict[str, Structure]:
    """Name and scale → published network, scaled."""
    texts = {n["name"]: n["structure"] for n in MOBILENETS}
    texts["MobileNetV2-like"] = MOBILENETV2
    return {f"{name} x{scale:g}": scaled(parse(text), scale) for name, text in texts.items() for scale in SCALES}


def scaled(structure: Structure, scale: float) -> Structure:
    """Widths by ``scale``, depths by DEPTH_SCALE, both rounded, and the last convolution of this space."""
    blocks = (
        replace(
            block,
            out=round8(block.out * scale),
            btn=round8(block.btn * scale),
            depth=max(1, round(block.depth * DEPTH_SCALE)),
        )
        for block in structure.blocks
    )
    return Structure(round8(structure.stem * scale), tuple(blocks), SPACE.last_width)


def _queue(strata: Mapping[tuple[str, str], Sequence[Drawn]], rng: np.random.Generator) -> list[Candidate]:
    """Each stratum shuffled, its roles given in turn, and all merged so that each is spread evenly over the queue."""
    places = []
    for (group, _), members in strata.items():
        first_held, first_twice = int(rng.integers(HELD_OUT)), int(rng.integers(TWICE))
        for turn, index in enumerate(rng.permutation(len(members)).tolist()):
            roles = (turn % HELD_OUT == first_held, (0, 1) if turn % TWICE == first_twice else (0,))
            places.append(((turn + rng.random()) / len(members), group, members[index], roles))
    places.sort(key=lambda place: place[0])
    return [
        candidate(number, group, drawn, held_out=held_out, seeds=seeds)
        for number, (_, group, drawn, (held_out, seeds)) in enumerate(places)
    ]


def _source(group: str, part: str, rng: np.random.Generator) -> Iterator[tuple[Structure, str]]:
    """Networks of ``group`` without end, not all of them feasible, and what they come from."""
    if group == "random":
        return _random_candidates(part, int(rng.integers(2**31)))
    if group == "mutated":
        return _mutations(rng)
    return ((_any_structure(rng, rising=group == "rising"), "") for _ in count())


def _random_candidates(part: str, seed: int) -> Iterator[tuple[Structure, str]]:
    """What a random search of the engine asks under these limits: it draws genes uniformly, and repairs."""
    limits = Limits(flops=Range(*PARTS[part]), layers=Range(maximum=LAYERS))
    problem = Evaluator(SPACE, limits=limits, proxy=Flops(), seed=seed).problem()
    sampler = UnvisitedSampler(problem, repair_tries=REPAIR_TRIES)
    while True:
        for genome in sampler.draw(1):
            yield SPACE.decode(genome), ""


def _mutations(rng: np.random.Generator) -> Iterator[tuple[Structure, str]]:
    """One to four published mutations of a published network at the first scale."""
    parents = [(name, SPACE.encode(s)) for name, s in published().items() if name.endswith(f" x{SCALES[0]:g}")]
    while True:
        name, genome = parents[int(rng.integers(len(parents)))]
        for _ in range(int(rng.integers(1, 5))):
            genome = SPACE.mutate(genome, rng)
        yield SPACE.decode(genome), name


def _any_structure(rng: np.random.Generator, *, rising: bool) -> Structure:
    """Depths and types at random, widths log-uniform: each by itself, or rising from block to block.

    Where they rise, a bottleneck has between half and 5/4 of its block's width.
    """
    depths = _depths(rng)
    caps = [min(SPACE.max_width, STEM_WIDTH << stage) for stage, _ in depths]
    outs = [_width(rng, cap) for cap in (STEM_WIDTH, *caps)]
    if rising:
        outs = sorted(outs)
        outs[0] = min(outs[0], STEM_WIDTH)
    blocks = []
    for (stage, depth), cap, out, before in zip(depths, caps, outs[1:], [0, *(s for s, _ in depths)], strict=False):
        out = min(out, cap)
        btn = min(cap, round8(out * 2 ** rng.uniform(-1, 0.32))) if rising else _width(rng, cap)
        expansion, kernel = TYPES[int(rng.integers(len(TYPES)))]
        blocks.append(SuperBlock(expansion, kernel, out, 2 if stage != before else 1, btn, depth))
    return Structure(outs[0], tuple(blocks), SPACE.last_width)


def _depths(rng: np.random.Generator) -> list[tuple[int, int]]:
    """(stage, depth) of each super-block: a random sum, spread over the stages and over up to SLOTS blocks in each."""
    of_stage = [1] * STAGES
    for stage in rng.integers(STAGES, size=int(rng.integers(LAYERS - 2 - STAGES + 1))).tolist():
        of_stage[stage] += 1
    blocks = []
    for stage, depth in enumerate(of_stage, start=1):
        cuts = rng.permutation(np.arange(1, depth))[: rng.integers(SLOTS)]
        edges = [0, *sorted(cuts.tolist()), depth]
        blocks += [(stage, min(MAX_DEPTH, end - start)) for start, end in pairwise(edges)]
    return blocks


def _width(rng: np.random.Generator, cap: int) -> int:
    """A multiple of 8 up to ``cap``, log-uniform."""
    return min(cap, round8(8 * (cap / 8) ** rng.random()))
