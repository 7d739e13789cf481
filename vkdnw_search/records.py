"""The frozen records that cross a border between files; each checks itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from vkdnw_search.errors import SpaceError

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import nn

Genome = tuple[int, ...]
"""A candidate as the optimizers see it: for each gene the index of its choice."""

GeneValue = int | float | str | bool


@dataclass(frozen=True, slots=True)
class Gene:
    """One decision of a search space.

    ``ordered`` genes (widths, depths) mutate to a near choice, unordered ones to any other choice.
    """

    name: str
    choices: tuple[GeneValue, ...]
    ordered: bool = False

    def __post_init__(self) -> None:
        if not self.name:
            raise SpaceError("gene name: must not be empty")
        if not self.choices:
            raise SpaceError(f"gene {self.name!r}: must have at least one choice")
        if len(set(map(repr, self.choices))) != len(self.choices):
            raise SpaceError(f"gene {self.name!r}: choices must differ, but are {self.choices}")


@dataclass(frozen=True, slots=True)
class Part:
    """A block of a network with the shape of its input, so that costs can be memoised and added up.

    Attributes:
        kind: everything that tells parts apart but their widths, e.g. ``("conv", kernel, stride, resolution)``.
        widths: channel numbers in each of which every count of the part is linear (a convolution's FLOPs are
            linear in its input channels and in its output channels); empty if there are none. The counter
            measures a kind at two values of each width and interpolates exactly.
        make: ``make(*widths) → (module, input_shape)``, input_shape without the batch, e.g. ``(C, H, W)``.
    """

    kind: Hashable
    widths: tuple[int, ...]
    make: Callable[..., tuple[nn.Module, tuple[int, ...]]] = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a network costs at the recipe's input, batch size 1.

    Attributes:
        flops: as ``fvcore.nn.FlopCountAnalysis(model.eval(), x).total()`` counts (one multiply-add = 1).
        macs: multiply-adds of convolutions and linear layers alone.
        parameters: trainable scalars.
        layers: depth as the search space defines it (``SearchSpace.layers``).
        tensors: trainable parameter tensors.
        modules: leaf modules that own at least one trainable parameter.
        memory: peak bytes of the input and all intermediate tensors; None where no limit asks for it.
        latency: microseconds, as the recipe's source of latencies has them; None where no limit asks for it, or where
            the source cannot tell.
        int8_size: bytes of weights quantized to int8, as ``vkdnw_search.cost.int8_size`` counts them; None where no
            limit asks for it.
        int8_memory: peak bytes of int8 activations, as ``vkdnw_search.cost.int8_memory`` plans them; None where no
            limit asks for it.
    """

    flops: int
    macs: int
    parameters: int
    layers: int
    tensors: int
    modules: int
    memory: int | None = None
    latency: int | None = None
    int8_size: int | None = None
    int8_memory: int | None = None


@dataclass(frozen=True, slots=True)
class Within:
    """The networks with ``above`` < x ≤ ``at_most``, where x is the field ``of`` of their cost; by default all."""

    above: int = -1
    at_most: int = 2**62
    of: Literal["flops", "parameters", "layers"] = "flops"

    def has(self, cost: Cost) -> bool:
        """Whether ``cost`` is in the range."""
        value: int = getattr(cost, self.of)
        return self.above < value <= self.at_most


ANYWHERE = Within()


def ranges(edges: Sequence[int], of: Literal["flops", "parameters", "layers"]) -> list[Within]:
    """The ranges of a cost that end at ``edges``, ascending, each beginning where the one before ends."""
    return [Within(*ends, of) for ends in pairwise((-1, *edges))]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one module takes for its input.

    Attributes:
        seconds: the median over its runs.
        spread: the distance of the quartiles of the runs over their median; 0 where it is not known.
    """

    seconds: float
    spread: float = 0.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value >= 0 for value in (self.seconds, self.spread)):
            raise ValueError(f"a timing must be finite and not negative, but is {self.seconds} s, spread {self.spread}")


@dataclass(frozen=True, slots=True)
class Score:
    """A proxy's verdict on one network: higher is better.

    Attributes:
        value: the fitness.
        standard_error: of ``value`` as an estimate of its mean over initializations; NaN where unknown.
        terms: named numbers the value is made of, for reports and for aggregation by rank.
    """

    value: float
    standard_error: float = math.nan
    terms: Mapping[str, float] = field(default_factory=dict)


class Status(StrEnum):
    """What became of a candidate. The values are what is stored."""

    SCORED = "scored"
    """It has a score."""
    INFEASIBLE = "infeasible"
    """It is outside the limits, and was never scored."""
    BOUNDED = "bounded"
    """Its upper bound cannot enter the surviving population, so it was not scored; the bound stands as its score."""
    FAILED = "failed"
    """It is within the limits, but has no usable score."""

    @property
    def has_score(self) -> bool:
        """Whether the candidate was scored."""
        return self is Status.SCORED

    @property
    def is_feasible(self) -> bool:
        """Whether the candidate is within the limits."""
        return self is not Status.INFEASIBLE

    @property
    def is_usable(self) -> bool:
        """Whether the candidate is within the limits and nothing is known against it."""
        return self in (Status.SCORED, Status.BOUNDED)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One visited candidate.

    Attributes:
        number: position in the order of asking, from 0.
        generation: the ask it came from, from 0.
        violation: sum over limits of the share by which each is exceeded; 0 when feasible.
        status: what became of it. Of a bounded one ``score.value`` is the upper bound.
        reason: why it is not ``scored``, in words; empty otherwise.
    """

    number: int
    generation: int
    genome: Genome
    key: str
    cost: Cost
    violation: float
    status: Status
    reason: str = ""
    score: Score | None = None

    def __post_init__(self) -> None:
        if self.status.has_score and (self.score is None or not math.isfinite(self.score.value)):
            raise ValueError(f"evaluation {self.number} ({self.key}): a scored candidate needs a finite score")
        if (self.violation > 0) == self.status.is_feasible:
            raise ValueError(f"evaluation {self.number} ({self.key}): violation {self.violation} with {self.status}")
