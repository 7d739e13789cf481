"""The parts of a network of mobile blocks, whose costs add up, and the chain of its blocks, for its peak memory."""

from __future__ import annotations

from functools import lru_cache

from torch import nn

from search_spaces import stages_network as network
from search_spaces.resolution import Size, reduced
from search_spaces.stages_structure import Network, Unit
from vkdnw_search.records import Part


def parts_of(architecture: Network, input_shape: tuple[int, int, int], act: str, num_classes: int) -> list[Part]:
    """Convolutions with their batch norms, squeeze-excitations, and the classifier."""
    channels, *sides = input_shape
    size, width, stride = (sides[0], sides[1]), architecture.stem, architecture.stem_stride
    parts = [_conv(channels, width, 3, stride, size)]
    size = reduced(size, stride)
    for unit in architecture.blocks:
        parts += _unit(unit, width, size, act)
        width, size = unit.out, reduced(size, unit.stride)
    parts.append(_conv(width, architecture.last, 1, 1, size))
    return [*parts, _classifier(architecture.last, size, num_classes)]


def chain_of(architecture: Network, input_shape: tuple[int, int, int], act: str, num_classes: int) -> list[Part]:
    """Stem, units, last convolution, classifier. Whether a unit has a shortcut follows from its widths, so these are
    part of its kind."""
    channels, *sides = input_shape
    size, width, stride = (sides[0], sides[1]), architecture.stem, architecture.stem_stride
    blocks = [_conv_block(channels, width, 3, stride, act, size)]
    size = reduced(size, stride)
    for unit in architecture.blocks:
        blocks.append(_unit_block(unit, width, act, size))
        width, size = unit.out, reduced(size, unit.stride)
    blocks.append(_conv_block(width, architecture.last, 1, 1, act, size))
    return [*blocks, _classifier(architecture.last, size, num_classes)]


@lru_cache(maxsize=2**14)
def _unit(unit: Unit, inputs: int, size: Size, act: str) -> tuple[Part, ...]:
    after = reduced(size, unit.stride)
    width = inputs if unit.type == "ds" else network.round8(unit.expansion * inputs)
    if unit.type == "cn":
        return (_conv(inputs, unit.out, unit.kernel, unit.stride, size),)
    if unit.type == "er":
        parts = [_conv(inputs, width, unit.kernel, unit.stride, size)]
    else:
        parts = [_conv(inputs, width, 1, 1, size)] if unit.type == "ir" else []
        parts.append(_depthwise(width, unit.kernel, unit.stride, size))
    if unit.se:
        parts.append(_squeeze(width, max(1, round(unit.se * inputs)), act, after))
    return (*parts, _conv(width, unit.out, 1, 1, after))


@lru_cache(maxsize=2**14)
def _conv(inputs: int, outputs: int, kernel: int, stride: int, size: Size) -> Part:
    return Part(
        kind=("conv", kernel, stride, size),
        widths=(inputs, outputs),
        make=lambda i, o: (network.ConvBN(i, o, kernel=kernel, stride=stride), (i, *size)),
    )


@lru_cache(maxsize=2**14)
def _depthwise(channels: int, kernel: int, stride: int, size: Size) -> Part:
    return Part(
        kind=("depthwise", kernel, stride, size),
        widths=(channels,),
        make=lambda c: (network.ConvBN(c, c, kernel=kernel, stride=stride, groups=c), (c, *size)),
    )


@lru_cache(maxsize=2**14)
def _squeeze(channels: int, inner: int, act: str, size: Size) -> Part:
    return Part(
        kind=("squeeze", size),
        widths=(channels, inner),
        make=lambda c, i: (network.SqueezeExcitation(c, i, act), (c, *size)),
    )


@lru_cache(maxsize=256)
def _classifier(inputs: int, size: Size, num_classes: int) -> Part:
    return Part(
        kind=("classifier", size),
        widths=(inputs, num_classes),
        make=lambda i, n: (network.Classifier(i, n), (i, *size)),
    )


@lru_cache(maxsize=2**14)
def _unit_block(unit: Unit, inputs: int, act: str, size: Size) -> Part:
    def make() -> tuple[nn.Module, tuple[int, ...]]:
        return network.Unit(
            unit.type, inputs, unit.out, kernel=unit.kernel, stride=unit.stride, expansion=unit.expansion, se=unit.se,
            act=act,
        ), (inputs, *size)  # fmt: skip

    return Part(kind=("unit", unit, inputs, act, size), widths=(), make=make)


@lru_cache(maxsize=2**14)
def _conv_block(inputs: int, outputs: int, kernel: int, stride: int, act: str, size: Size) -> Part:
    return Part(
        kind=("block", kernel, stride, act, size),
        widths=(inputs, outputs),
        make=lambda i, o: (network.ConvBN(i, o, kernel=kernel, stride=stride, act=act), (i, *size)),
    )
