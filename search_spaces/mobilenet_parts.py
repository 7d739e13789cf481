"""The parts of a network of super-blocks: convolutions with their batch norms, in a form whose costs add up.

ReLU and the addition of shortcuts cost nothing, and are in no part. Parts are remembered, since the blocks of
different candidates are mostly alike.
"""

from __future__ import annotations

from functools import lru_cache

from search_spaces.mobilenet_network import Classifier, ConvBN, Unit, round8
from search_spaces.mobilenet_structure import Structure
from search_spaces.resolution import Size, reduced
from vkdnw_search.records import Part

MEMO = 2**14
"""Number of parts of each shape that are remembered, 10 MB at most."""


def parts_of(structure: Structure, input_shape: tuple[int, int, int], *, num_classes: int) -> list[Part]:
    """Parts that together hold every parameter and every counted operation once."""
    channels, size = input_shape[0], input_shape[1:]
    parts = [_stem(channels, structure.stem, size)]
    width, size = structure.stem, reduced(size, 2)
    for block in structure.blocks:
        parts += _super_block(
            width, block.expansion, block.kernel, block.out, block.stride, block.btn, block.depth, size
        )
        width, size = block.out, reduced(size, block.stride)
    parts.append(_pointwise(width, structure.last, size))
    parts.append(_classifier(structure.last, size, num_classes))
    return parts


def chain_of(structure: Structure, input_shape: tuple[int, int, int], *, num_classes: int) -> list[Part]:
    """Blocks that each take the result of the one before and nothing else; of equal ones, one."""
    channels, size = input_shape[0], input_shape[1:]
    blocks = [_conv_block(channels, structure.stem, 3, 2, size)]
    width, size = structure.stem, reduced(size, 2)
    for b in structure.blocks:
        inner, outer = round8(b.btn * b.expansion), round8(b.out * b.expansion)
        after, resized = reduced(size, b.stride), b.btn != b.out
        blocks.append(_unit_block(width, inner, b.btn, b.kernel, b.stride, True, size))
        blocks.append(_unit_block(b.btn, outer, b.out, b.kernel, 1, resized, after))
        if b.depth > 1:
            blocks.append(_unit_block(b.out, inner, b.btn, b.kernel, 1, resized, after))
        width, size = b.out, after
    blocks.append(_conv_block(width, structure.last, 1, 1, size))
    return [*blocks, _classifier(structure.last, size, num_classes)]


@lru_cache(maxsize=MEMO)
def _unit_block(inputs: int, width: int, outputs: int, kernel: int, stride: int, project: bool, size: Size) -> Part:
    return Part(
        kind=("unit", kernel, stride, project, size),
        widths=(width, inputs, outputs) if project else (width, inputs),
        make=lambda w, i, o=None: (
            Unit(i, w, o or i, kernel=kernel, stride=stride, project=project),
            (i, *size),
        ),
    )


@lru_cache(maxsize=MEMO)
def _conv_block(inputs: int, outputs: int, kernel: int, stride: int, size: Size) -> Part:
    return Part(
        kind=("block", kernel, stride, size),
        widths=(inputs, outputs),
        make=lambda i, o: (
            ConvBN(i, o, kernel=kernel, stride=stride, relu=True),
            (i, *size),
        ),
    )


@lru_cache(maxsize=MEMO)
def _super_block(
    inputs: int, expansion: int, kernel: int, out: int, stride: int, btn: int, depth: int, size: Size
) -> tuple[Part, ...]:
    """The units of one super-block; all its pairs of units after the first are alike."""
    inner, outer = round8(btn * expansion), round8(out * expansion)
    after, resized = reduced(size, stride), btn != out
    first = _unit(inputs, inner, btn, kernel, stride, True, size)
    narrow = _unit(out, inner, btn, kernel, 1, resized, after)
    widen = _unit(btn, outer, out, kernel, 1, resized, after)
    return first + widen + (narrow + widen) * (depth - 1)


def _unit(
    inputs: int, width: int, outputs: int, kernel: int, stride: int, project: bool, size: Size
) -> tuple[Part, ...]:
    after = reduced(size, stride)
    main = (
        _pointwise(inputs, width, size),
        _depthwise(width, kernel, stride, size),
        _pointwise(width, outputs, after),
    )
    return (*main, _projection(inputs, outputs, stride, size)) if project else main


@lru_cache(maxsize=MEMO)
def _pointwise(inputs: int, outputs: int, size: Size) -> Part:
    return Part(
        kind=("pointwise", size),
        widths=(inputs, outputs),
        make=lambda i, o: (ConvBN(i, o), (i, *size)),
    )


@lru_cache(maxsize=MEMO)
def _projection(inputs: int, outputs: int, stride: int, size: Size) -> Part:
    return Part(
        kind=("projection", stride, size),
        widths=(inputs, outputs),
        make=lambda i, o: (ConvBN(i, o, stride=stride, bias=True), (i, *size)),
    )


@lru_cache(maxsize=MEMO)
def _depthwise(channels: int, kernel: int, stride: int, size: Size) -> Part:
    return Part(
        kind=("depthwise", kernel, stride, size),
        widths=(channels,),
        make=lambda c: (ConvBN(c, c, kernel=kernel, stride=stride, groups=c), (c, *size)),
    )


@lru_cache(maxsize=MEMO)
def _stem(inputs: int, channels: int, size: Size) -> Part:
    return Part(
        kind=("stem", inputs, size),
        widths=(channels,),
        make=lambda c: (ConvBN(inputs, c, kernel=3, stride=2), (inputs, *size)),
    )


@lru_cache(maxsize=MEMO)
def _classifier(inputs: int, size: Size, num_classes: int) -> Part:
    return Part(
        kind=("classifier", size),
        widths=(inputs, num_classes),
        make=lambda i, n: (Classifier(i, n), (i, *size)),
    )
