"""The parts of a network of super-blocks: convolutions with their batch norms, in a form whose costs add up.

ReLU and the addition of shortcuts cost nothing, and are in no part. Parts are remembered, since the blocks of
different candidates are mostly alike.
"""

from __future__ import annotations

from functools import lru_cache

from search_spaces.mobilenet_network import Classifier, ConvBN, Unit, round8
from search_spaces.mobilenet_structure import Structure
from search_spaces.resolution import divided
from vkdnw_search.records import Part

MEMO = 2**14
"""Number of parts of each shape that are remembered, 10 MB at most."""


def parts_of(structure: Structure, *, resolution: int, num_classes: int) -> list[Part]:
    """Parts that together hold every parameter and every counted operation once."""
    parts = [_stem(structure.stem, resolution)]
    width, resolution = structure.stem, divided(resolution, 2)
    for block in structure.blocks:
        parts += _super_block(
            width, block.expansion, block.kernel, block.out, block.stride, block.btn, block.depth, resolution
        )
        width, resolution = block.out, divided(resolution, block.stride)
    parts.append(_pointwise(width, structure.last, resolution))
    parts.append(_classifier(structure.last, resolution, num_classes))
    return parts


def chain_of(structure: Structure, *, resolution: int, num_classes: int) -> list[Part]:
    """Blocks that each take the result of the one before and nothing else; of equal ones, one."""
    blocks = [_conv_block(3, structure.stem, 3, 2, resolution)]
    width, resolution = structure.stem, divided(resolution, 2)
    for b in structure.blocks:
        inner, outer = round8(b.btn * b.expansion), round8(b.out * b.expansion)
        after, resized = divided(resolution, b.stride), b.btn != b.out
        blocks.append(_unit_block(width, inner, b.btn, b.kernel, b.stride, True, resolution))
        blocks.append(_unit_block(b.btn, outer, b.out, b.kernel, 1, resized, after))
        if b.depth > 1:
            blocks.append(_unit_block(b.out, inner, b.btn, b.kernel, 1, resized, after))
        width, resolution = b.out, after
    blocks.append(_conv_block(width, structure.last, 1, 1, resolution))
    return [*blocks, _classifier(structure.last, resolution, num_classes)]


@lru_cache(maxsize=MEMO)
def _unit_block(
    inputs: int, width: int, outputs: int, kernel: int, stride: int, project: bool, resolution: int
) -> Part:
    return Part(
        kind=("unit", kernel, stride, project, resolution),
        widths=(width, inputs, outputs) if project else (width, inputs),
        make=lambda w, i, o=None: (
            Unit(i, w, o or i, kernel=kernel, stride=stride, project=project),
            (i, resolution, resolution),
        ),
    )


@lru_cache(maxsize=MEMO)
def _conv_block(inputs: int, outputs: int, kernel: int, stride: int, resolution: int) -> Part:
    return Part(
        kind=("block", kernel, stride, resolution),
        widths=(inputs, outputs),
        make=lambda i, o: (
            ConvBN(i, o, kernel=kernel, stride=stride, relu=True),
            (i, resolution, resolution),
        ),
    )


@lru_cache(maxsize=MEMO)
def _super_block(
    inputs: int, expansion: int, kernel: int, out: int, stride: int, btn: int, depth: int, resolution: int
) -> tuple[Part, ...]:
    """The units of one super-block; all its pairs of units after the first are alike."""
    inner, outer = round8(btn * expansion), round8(out * expansion)
    after, resized = divided(resolution, stride), btn != out
    first = _unit(inputs, inner, btn, kernel, stride, True, resolution)
    narrow = _unit(out, inner, btn, kernel, 1, resized, after)
    widen = _unit(btn, outer, out, kernel, 1, resized, after)
    return first + widen + (narrow + widen) * (depth - 1)


def _unit(
    inputs: int, width: int, outputs: int, kernel: int, stride: int, project: bool, resolution: int
) -> tuple[Part, ...]:
    after = divided(resolution, stride)
    main = (
        _pointwise(inputs, width, resolution),
        _depthwise(width, kernel, stride, resolution),
        _pointwise(width, outputs, after),
    )
    return (*main, _projection(inputs, outputs, stride, resolution)) if project else main


@lru_cache(maxsize=MEMO)
def _pointwise(inputs: int, outputs: int, resolution: int) -> Part:
    return Part(
        kind=("pointwise", resolution),
        widths=(inputs, outputs),
        make=lambda i, o: (ConvBN(i, o), (i, resolution, resolution)),
    )


@lru_cache(maxsize=MEMO)
def _projection(inputs: int, outputs: int, stride: int, resolution: int) -> Part:
    return Part(
        kind=("projection", stride, resolution),
        widths=(inputs, outputs),
        make=lambda i, o: (ConvBN(i, o, stride=stride, bias=True), (i, resolution, resolution)),
    )


@lru_cache(maxsize=MEMO)
def _depthwise(channels: int, kernel: int, stride: int, resolution: int) -> Part:
    return Part(
        kind=("depthwise", kernel, stride, resolution),
        widths=(channels,),
        make=lambda c: (ConvBN(c, c, kernel=kernel, stride=stride, groups=c), (c, resolution, resolution)),
    )


@lru_cache(maxsize=MEMO)
def _stem(channels: int, resolution: int) -> Part:
    return Part(
        kind=("stem", resolution),
        widths=(channels,),
        make=lambda c: (ConvBN(3, c, kernel=3, stride=2), (3, resolution, resolution)),
    )


@lru_cache(maxsize=MEMO)
def _classifier(inputs: int, resolution: int, num_classes: int) -> Part:
    return Part(
        kind=("classifier", resolution),
        widths=(inputs, num_classes),
        make=lambda i, n: (Classifier(i, n), (i, resolution, resolution)),
    )
