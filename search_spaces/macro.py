"""The space of NAS-Bench-Macro (Su et al., CVPR 2021, arXiv 2103.11922): one of three layers at each of eight places.

A network's text is the benchmark's own, a digit for each place: ``0`` identity, ``1`` MobileNetV2 block with kernel 3
and expansion 3, ``2`` block with kernel 5 and expansion 6. Three stages have two, three and three places. Within a
stage, after its first place, an identity does nothing wherever it stands: in the canonical text identities stand at
the end of a stage, which leaves 3,969 different networks of 6,561. The benchmark's ``flops`` are ``Cost.macs``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Annotated

import annotated_types as at
from torch import nn

from search_spaces import macro_network as network
from search_spaces.resolution import AT, ImageSpace, Side, Size, reduced
from search_spaces.scanner import Scanner
from vkdnw_search.errors import SpaceError
from vkdnw_search.options import check_options
from vkdnw_search.records import Gene, Genome, Part

PLACES = sum(network.STAGES)
LAYERS = ("identity", "k3e3", "k5e6")
"""The kinds of layers in the order of the benchmark's digits."""

_DIGIT = re.compile("[0-2]")


@dataclass(frozen=True, slots=True)
class MacroArchitecture:
    """A canonical network: for each place an index into ``LAYERS``; identities at the end of a stage."""

    layers: tuple[int, ...]

    def __post_init__(self) -> None:
        starts = [sum(network.STAGES[:stage]) for stage in range(len(network.STAGES) + 1)]
        ordered = [_identities_last(self.layers[start:stop]) for start, stop in pairwise(starts)]
        object.__setattr__(self, "layers", sum(ordered, ()))

    @property
    def key(self) -> str:
        """The benchmark's text of the canonical network."""
        return "".join(map(str, self.layers))


@dataclass(frozen=True, kw_only=True)
class Macro(ImageSpace):
    """The 6,561 networks of NAS-Bench-Macro; the defaults are the benchmark's, for CIFAR-10.

    Raises:
        SpaceError: an option is out of bounds.
    """

    num_classes: Annotated[int, at.Interval(ge=2, le=100_000), "classes"] = 10
    resolution: Annotated[Side | tuple[Side, Side], AT] = 32

    def __post_init__(self) -> None:
        check_options(self, SpaceError)

    @property
    def name(self) -> str:
        """The name under which the space is installed."""
        return "macro"

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """One unordered gene for each place."""
        return tuple(Gene(f"layer{place}", LAYERS) for place in range(1, PLACES + 1))

    @property
    def free_operators(self) -> frozenset[str]:
        """The addition of shortcuts, which fvcore does not count."""
        return frozenset({"aten::add"})

    def decode(self, genome: Genome) -> MacroArchitecture:
        """The canonical network of ``genome``, eight indices into ``LAYERS``."""
        if len(genome) != PLACES or not all(0 <= index < len(LAYERS) for index in genome):
            raise SpaceError(f"{self.name} genome: must be eight indices in 0 … 2, one for each layer, but is {genome}")
        return MacroArchitecture(tuple(genome))

    def encode(self, architecture: MacroArchitecture) -> Genome:
        """The genome of the canonical network."""
        return architecture.layers

    def parse(self, text: str) -> MacroArchitecture:
        """The network written as eight digits, canonical or not.

        Raises:
            SpaceError: naming the position, what was expected there and what stands there.
        """
        scanner = Scanner(text.strip(), f"{self.name} network")
        layers = [int(scanner.pattern(_DIGIT, "0, 1 or 2")) for _ in range(PLACES)]
        scanner.end()
        return MacroArchitecture(tuple(layers))

    def build(self, architecture: MacroArchitecture) -> nn.Module:
        """The network: (N, channels_in, H, W) → logits (N, num_classes)."""
        return network.MacroNetwork(architecture.layers, num_classes=self.num_classes, channels_in=self.channels_in)

    def parts(self, architecture: MacroArchitecture) -> Sequence[Part]:
        """Stem, layers, last convolution, classifier. Widths are fixed in this space, so they are part of the kind."""
        parts = [_part(network.Stem, self.channels_in, self.sides, self.channels_in)]
        width, size, layers = network.STEM, self.sides, iter(architecture.layers)
        for length in network.STAGES:
            for number in range(length):
                inputs, width, choice = width, width if number else 2 * width, next(layers)
                if number == 0 or choice != 0:  # elsewhere an identity is nothing
                    parts.append(_part(network.layer, inputs, size, choice, inputs, width, 1 if number else 2))
                size = size if number else reduced(size, 2)
        parts.append(_part(network.Last, width, size, width))
        return [*parts, _part(network.Classifier, network.LAST, size, network.LAST, self.num_classes)]

    def chain(self, architecture: MacroArchitecture) -> Sequence[Part]:
        """The parts, which are whole blocks."""
        return self.parts(architecture)

    def source(self, architecture: MacroArchitecture) -> str:
        """The blocks this module builds from, verbatim, then the layers as a constant and the class ``Network``."""
        blocks = inspect.getsource(network).rstrip()
        return _SOURCE.format(
            blocks=blocks,
            layers=architecture.layers,
            num_classes=self.num_classes,
            channels_in=self.channels_in,
        )


_SOURCE = '''{blocks}


# 0 identity, 1 block with kernel 3 and expansion 3, 2 block with kernel 5 and expansion 6
LAYERS = {layers}


class Network(MacroNetwork):
    """The architecture above, for any number of classes."""

    def __init__(self, num_classes: int = {num_classes}, *, channels_in: int = {channels_in}) -> None:
        super().__init__(LAYERS, num_classes=num_classes, channels_in=channels_in)
'''


def _identities_last(stage: tuple[int, ...]) -> tuple[int, ...]:
    """The same stage with its identities, after the first place, moved to the end."""
    first, *others = stage
    return (first, *sorted(others, key=lambda choice: choice == 0))


@lru_cache(maxsize=1024)
def _part(make: Callable[..., nn.Module], channels: int, size: Size, *arguments: int) -> Part:
    """What ``make(*arguments)`` gives, for an input of that many channels and that size."""
    shape = (channels, *size)
    return Part(
        kind=(make.__name__, shape, arguments),
        widths=(),
        make=lambda: (make(*arguments), shape),
    )
