"""The published mutation of super-blocks: a few blocks are drawn anew, and deep ones are split in two.

Facts from the scripts released with ZenNAS, ZiCo, AZ-NAS and VKDNW, which share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

import numpy as np

from search_spaces.mobilenet_network import round8
from search_spaces.mobilenet_structure import TYPES, SuperBlock

RATIOS = (2.5, 2.0, 1.5, 1.25, 1.0, 1 / 1.25, 1 / 1.5, 1 / 2.0, 1 / 2.5)
"""The ratios of new to old channels, before rounding to multiples of 8."""

DEPTH_STEP = 2
"""The most by which a depth changes."""

SPLIT_DEPTH, FIRST_DEPTH = 6, 3
"""A super-block that has become this deep is split, into one of depth 3 and one of the rest."""

PUBLISHED_WEIGHTS = (12, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)
"""The number of times that each of ``TYPES`` is drawn in the released code, of 89: an accident of how its list of
variants is made."""

PUBLISHED_TYPES = tuple(kind for kind, weight in zip(TYPES, PUBLISHED_WEIGHTS, strict=True) for _ in range(weight))
"""``TYPES`` as the released code draws them: a uniform draw from this has the published frequencies."""

T = TypeVar("T")
Stages = list[list[SuperBlock]]


def mutated(
    stem: int,
    stages: Sequence[Sequence[SuperBlock]],
    *,
    caps: Sequence[int],
    replacements: int,
    types: Sequence[tuple[int, int]],
    slots: int,
    max_depth: int,
    rng: np.random.Generator,
) -> tuple[int, Stages]:
    """One draw of the mutation, which may happen to change nothing.

    Args:
        stem: channels of the stem.
        stages: the super-blocks of each stage.
        caps: the most channels of the stem and of each stage. Published channels have none.
        replacements: how often a block is drawn, stem and last convolution included. A block drawn twice changes once,
            and the last convolution never changes, as published.
        types: what a type, (expansion, kernel), is drawn from uniformly: ``TYPES`` or ``PUBLISHED_TYPES``.
        slots: the most super-blocks of a stage. Without a free one, a deep block is cut to ``max_depth``, not split.
        max_depth: the most depth of a super-block.
        rng: the source of randomness.

    Returns:
        The new stem and stages.
    """
    changed = [list(stage) for stage in stages]
    places = [(stage, slot) for stage, blocks in enumerate(stages) for slot in range(len(blocks))]
    for place in dict.fromkeys(rng.integers(len(places) + 2, size=replacements).tolist()):
        if place < len(places):
            stage, slot = places[place]
            changed[stage][slot] = _variant(changed[stage][slot], caps[stage + 1], types, rng)
        elif place == len(places):
            stem = _pick(near_widths(stem, caps[0]), rng)
    return stem, [_split(stage, slots, max_depth) for stage in changed]


@lru_cache(maxsize=4096)
def near_widths(width: int, cap: int) -> tuple[int, ...]:
    """The channels that one mutation may give in place of ``width``, itself included, in order."""
    return tuple(sorted({min(cap, round8(width * ratio)) for ratio in RATIOS}))


def _variant(block: SuperBlock, cap: int, types: Sequence[tuple[int, int]], rng: np.random.Generator) -> SuperBlock:
    """``block`` with type, channels and depth drawn anew, each independently."""
    expansion, kernel = _pick(types, rng)
    return replace(
        block,
        expansion=expansion,
        kernel=kernel,
        out=_pick(near_widths(block.out, cap), rng),
        btn=_pick(near_widths(block.btn, cap), rng),
        depth=_pick(range(max(1, block.depth - DEPTH_STEP), block.depth + DEPTH_STEP + 1), rng),
    )


def _split(stage: Sequence[SuperBlock], slots: int, max_depth: int) -> list[SuperBlock]:
    """``stage`` with every too deep super-block split in two while there is a free slot, then cut."""
    blocks: list[SuperBlock] = []
    free = slots - len(stage)
    for block in stage:
        if block.depth >= SPLIT_DEPTH and free > 0:
            free -= 1
            rest = replace(block, stride=1, depth=block.depth - FIRST_DEPTH)
            blocks += [replace(block, depth=FIRST_DEPTH), rest]
        else:
            blocks.append(block)
    return [replace(block, depth=min(block.depth, max_depth)) for block in blocks]


def _pick(choices: Sequence[T], rng: np.random.Generator) -> T:
    return choices[int(rng.integers(len(choices)))]
