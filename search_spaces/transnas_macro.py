"""The whole networks of TransNAS-Bench-101 (Duan et al., CVPR 2021, arXiv 2105.11871): four to six modules.

Each module is two pre-activation residual units. A network's text is the benchmark's own, the stem's channels and a
digit for each module::

    64-1242-basic

1 changes nothing, 2 doubles the channels, 3 halves the resolution, 4 does both. A network doubles the channels one to
three times and halves the resolution one to four times, the stem's not counted: 3,256 networks. Other genomes are
brought there, which a change too much leaves out, and puts the one that is missing into the first module.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from search_spaces import transnas_network as network
from search_spaces.genomes import genome_of, values_of
from search_spaces.scanner import Scanner
from search_spaces.transnas_tasks import TransNas
from vkdnw_search.errors import SpaceError
from vkdnw_search.records import Gene, Genome, Part

DEPTHS = (4, 5, 6)
"""Numbers of modules."""

DOUBLINGS, HALVINGS = 3, 4
"""Most modules that double the channels, or halve the resolution; at least one does."""

KINDS = ("plain", "wider", "smaller", "both")
"""The modules in the order of the benchmark's digits, which begin at 1."""

_DIGITS = re.compile("[1-4]+")


@dataclass(frozen=True, slots=True)
class TransNasModules:
    """A network: the stem's channels, and a digit for each module.

    Raises:
        SpaceError: there are too few or too many modules, or of those that double or halve.
    """

    channels: int
    modules: str

    def __post_init__(self) -> None:
        doublings, halvings = (sum(digit in kind for digit in self.modules) for kind in ("24", "34"))
        if len(self.modules) not in DEPTHS or not 1 <= doublings <= DOUBLINGS or not 1 <= halvings <= HALVINGS:
            raise SpaceError(
                f"transnas_macro network: must have {DEPTHS[0]} to {DEPTHS[-1]} modules, of which 1 to {DOUBLINGS} "
                f"double the channels (2, 4) and 1 to {HALVINGS} halve the resolution (3, 4), but {self.modules} has "
                f"{len(self.modules)}, {doublings} and {halvings}"
            )

    @property
    def key(self) -> str:
        """The benchmark's text."""
        return f"{self.channels}-{self.modules}-basic"


@dataclass(frozen=True, kw_only=True)
class TransNasMacro(TransNas):
    """The 3,256 networks of TransNAS-Bench-101; the defaults are those with known accuracies.

    Raises:
        SpaceError: an option is out of bounds.
    """

    @property
    def name(self) -> str:
        """The name under which the space is installed."""
        return "transnas_macro"

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The number of modules, and an unordered gene for each that the deepest network has."""
        modules = (Gene(f"module{number}", KINDS) for number in range(1, DEPTHS[-1] + 1))
        return (Gene("modules", DEPTHS, ordered=True), *modules)

    @property
    def references(self) -> dict[str, str]:
        """The network with the modules of ResNet-18."""
        return {"resnet18": f"{self.channels}-1444-basic"}

    def decode(self, genome: Genome) -> TransNasModules:
        """The network of ``genome``. Genes of modules beyond the number of modules say nothing."""
        depth, *kinds = values_of(genome, self.genes, space=self.name)
        chosen = [KINDS.index(str(kind)) for kind in kinds[: int(depth)]]
        doubles = _between([bool(index & 1) for index in chosen], DOUBLINGS)
        halves = _between([bool(index & 2) for index in chosen], HALVINGS)
        return TransNasModules(self.channels, "".join(str(1 + d + 2 * h) for d, h in zip(doubles, halves, strict=True)))

    def encode(self, architecture: TransNasModules) -> Genome:
        """A genome of ``architecture``; modules beyond its last are plain."""
        kinds = [KINDS[int(digit) - 1] for digit in architecture.modules.ljust(DEPTHS[-1], "1")]
        return genome_of([len(architecture.modules), *kinds], self.genes, space=self.name)

    def parse(self, text: str) -> TransNasModules:
        """The network written in the benchmark's form.

        Raises:
            SpaceError: naming the position, what was expected there and what stands there.
        """
        scanner = Scanner(text.strip(), f"{self.name} network")
        scanner.number("the channels of the stem", allowed=(self.channels,))
        scanner.literal("-")
        modules = scanner.pattern(_DIGITS, "digits from 1 to 4")
        scanner.literal("-basic")
        scanner.end()
        return TransNasModules(self.channels, modules)

    def build(self, architecture: TransNasModules) -> nn.Module:
        """The network: (N, channels_in, H, W) → outputs of the task."""
        shapes = network.shapes(self.channels, architecture.modules)
        return self.assembled([network.Residual(*shape) for shape in shapes], architecture.modules)

    def parts(self, architecture: TransNasModules) -> Sequence[Part]:
        """Stem, units, head."""
        units = self.units(architecture.modules)
        return self.framed(
            (self.block(network.Residual, unit.before, *unit[:3]) for unit in units), architecture.modules
        )

    def chain(self, architecture: TransNasModules) -> Sequence[Part]:
        """The parts, which are whole blocks."""
        return self.parts(architecture)

    def source(self, architecture: TransNasModules) -> str:
        """The blocks this space builds from, verbatim, then the class ``Network``."""
        blocks = [network.ReLUConvBN, network.Residual]
        return self.exported("Residual(*shape)", architecture.modules, key=architecture.key, blocks=blocks)


def _between(chosen: list[bool], most: int) -> list[bool]:
    """The first ``most`` of those chosen, or the first module if none is."""
    if not any(chosen):
        return [True, *chosen[1:]]
    return [this and sum(chosen[: place + 1]) <= most for place, this in enumerate(chosen)]
