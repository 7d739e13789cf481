"""Sensible widths: a network whose widths fall, or that goes through a waist, is widened until they do not.

The searches published in this space start from one network of growing widths and change it little by little, so that
they seldom meet the absurd sequences that most of the space consists of (128 channels, then 8, then 440). A search that
starts anywhere has to leave them out by rule. The published winners obey it: the steepest fall among those that
``tests/golden`` lists is from 152 channels to 112, the narrowest waist 112 channels between 160 and 200.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from search_spaces.mobilenet_structure import SuperBlock


def widened(
    stem: int,
    stages: Sequence[Sequence[SuperBlock]],
    *,
    least_width: float,
    least_waist: float,
    least_bottleneck: float,
) -> list[list[SuperBlock]]:
    """The super-blocks of each stage, none narrower than allowed; those that are wide enough stay as they are.

    Args:
        stem: channels of the stem.
        stages: the super-blocks of each stage.
        least_width: ``out`` of a block is at least this share of the widest ``out`` before it, the stem included.
        least_waist: ``btn`` of a block is at least this share of the same.
        least_bottleneck: ``btn`` of a block is at least this share of its own ``out``.
    """
    widest = stem
    changed: list[list[SuperBlock]] = []
    for stage in stages:
        blocks = []
        for block in stage:
            out = max(block.out, _at_least(least_width * widest))
            btn = max(block.btn, _at_least(least_waist * widest), _at_least(least_bottleneck * out))
            if out != block.out or btn != block.btn:
                block = replace(block, out=out, btn=btn)
            blocks.append(block)
            widest = max(widest, out)
        changed.append(blocks)
    return changed


def _at_least(channels: float) -> int:
    """The least multiple of 8 that is not below ``channels``."""
    return 8 * math.ceil(channels / 8)
