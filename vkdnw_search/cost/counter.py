"""Counts what a network costs. The only file that knows fvcore.

FLOPs are what ``fvcore.nn.FlopCountAnalysis(model.eval(), x).total()`` says: a multiply-add is 1, batch norm 2 per
element, adaptive average pooling 1 per element of its input, ReLU 0. A trace takes milliseconds, so candidates of a
space that names its parts are counted by formula: every count of a part is linear in each of its widths, so traces at
the corners of a box, two values for each width, determine it for all widths, exactly and in whole numbers.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Generic

import torch
from torch import nn

from vkdnw_search.contracts import A, HasFreeOperators, HasLayers, HasParts, SearchSpace, input_shape_of
from vkdnw_search.cost.int8_memory import int8_memory_profile
from vkdnw_search.cost.int8_size import Int8Size
from vkdnw_search.cost.interpolation import Counts, Multilinear
from vkdnw_search.cost.latency import LatencyTable
from vkdnw_search.cost.limits import ON_DEMAND, Limits, Range
from vkdnw_search.cost.peak_memory import PeakMemory
from vkdnw_search.determinism import forked_generators
from vkdnw_search.errors import BudgetError, UnknownOperators, told
from vkdnw_search.records import Cost, Part

with warnings.catch_warnings():  # on import, fvcore compiles losses that nobody here uses, in a way torch deprecates
    warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
    from fvcore.nn import FlopCountAnalysis

__all__ = ["CostCounter", "count", "free_operators"]

MULTIPLY_ADDS = ("conv", "linear", "addmm")
"""fvcore's names for convolutions and for the two forms in which a linear layer is traced."""

MEMO = 2**16
"""Parts, or whole networks in spaces without parts, whose counts are remembered; some 30 MB."""

COUNTED = ("flops", "macs", "parameters", "layers", "tensors", "modules")
"""Names of the fields of a cost that add up over parts, in their order."""

_NOTHING: Counts = (0,) * len(COUNTED)


def free_operators(space: object) -> frozenset[str]:
    """The operators unknown to fvcore that ``space`` declares free; none if it declares none."""
    return frozenset(space.free_operators) if isinstance(space, HasFreeOperators) else frozenset()


def count(
    model: nn.Module,
    input_shape: Sequence[int],
    *,
    free_operators: Iterable[str] = (),
    example: Sequence[torch.Tensor] | None = None,
) -> Cost:
    """Count what ``model`` costs for one input in evaluation mode; ``model`` itself is left as it is.

    ``layers`` is the number of modules that own a weight of two or more axes.

    Args:
        model: takes a batch of inputs.
        input_shape: of one input without the batch, e.g. (3, 224, 224).
        free_operators: operators unknown to fvcore that cost nothing worth counting, named as fvcore names them.
        example: the arguments for one input, where they are not one tensor of numbers of ``input_shape``.

    Raises:
        BudgetError: the network cannot be traced, or has an operator that is neither known nor declared free.
    """
    return _count(copy.deepcopy(model), tuple(input_shape), frozenset(free_operators), example)


def count_known(
    model: nn.Module,
    input_shape: Sequence[int],
    *,
    free_operators: frozenset[str] = frozenset(),
    example: Sequence[torch.Tensor] | None = None,
) -> tuple[Cost, str]:
    """Count as :func:`count` does a network that may have any operators: those that fvcore does not know are left out.

    Returns:
        The cost, and which operators it is without, in words; empty where it is without none.

    Raises:
        BudgetError: the network cannot be traced.
    """
    try:
        return count(model, input_shape, free_operators=free_operators, example=example), ""
    except UnknownOperators as fault:
        free = free_operators.union(fault.operators)
        left_out = f"without {', '.join(fault.operators)}, which fvcore does not count"
        return count(model, input_shape, free_operators=free, example=example), left_out


def _count(
    model: nn.Module,
    input_shape: tuple[int, ...],
    free_operators: frozenset[str],
    example: Sequence[torch.Tensor] | None = None,
) -> Cost:
    """Count as :func:`count` does a model that nobody else holds, so that it need not be copied."""
    model.eval()  # which in some networks returns nothing
    analysis = _trace(model, _zeros(model, input_shape) if example is None else tuple(example))
    by_operator = analysis.by_operator()
    unknown = sorted(set(analysis.unsupported_ops()) - free_operators)
    if unknown:
        raise UnknownOperators(
            f"{type(model).__name__}: every operator must be known to fvcore or free, but {', '.join(unknown)} "
            "is neither. If it costs nothing worth counting, name it in the search space's `free_operators`",
            unknown,
        )
    owned = [[p for p in module.parameters(recurse=False) if p.requires_grad] for module in model.modules()]
    tensors = {id(p): p for own in owned for p in own}  # a shared tensor counts once
    return Cost(
        flops=int(sum(by_operator.values())),
        macs=int(sum(by_operator[name] for name in MULTIPLY_ADDS)),
        parameters=sum(p.numel() for p in tensors.values()),
        layers=sum(any(p.dim() >= 2 for p in own) for own in owned),
        tensors=len(tensors),
        modules=sum(bool(own) for own in owned),
    )


def _zeros(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[torch.Tensor]:
    example = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(0))
    return (torch.zeros(1, *input_shape, dtype=example.dtype, device=example.device),)


def _trace(model: nn.Module, arguments: tuple[torch.Tensor, ...]) -> FlopCountAnalysis:
    """fvcore's analysis of one forward pass."""
    analysis = FlopCountAnalysis(model, arguments)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    try:
        with torch.no_grad(), forked_generators():
            analysis.total()
    except Exception as error:  # whatever the network itself raises on such an input
        shapes = ", ".join(str(tuple(x.shape)) for x in arguments)
        raise BudgetError(
            f"{type(model).__name__}: must accept an input of shape {shapes}, but: {told(error)}"
        ) from error
    return analysis


class CostCounter(Generic[A]):
    """Counts the candidates of one search space, each kind of part only once.

    Args:
        space: if it has ``parts``, the cost of a network is their sum, which equals that of the whole network;
            otherwise every network is built and traced, once for each key.
        limits: peak memory, latency and what int8 takes are found only where these ask for them, for it takes longer.
        latencies: a table of the latencies known so far; by default none are.
    """

    def __init__(
        self, space: SearchSpace[A], limits: Limits | None = None, latencies: LatencyTable[A] | None = None
    ) -> None:
        self.space = space
        wanted = [name for name in ON_DEMAND if getattr(limits or Limits(), name) != Range()]
        self.latencies = (latencies or LatencyTable(space)) if "latency" in wanted else None
        self._on_demand = {name: self._finder(name) for name in wanted}
        self._free = free_operators(space)
        self._parts = space.parts if isinstance(space, HasParts) else None
        self._layers = space.layers if isinstance(space, HasLayers) else None
        self._kinds: dict[Hashable, Multilinear] = {}
        self._known: dict[Hashable, Counts] = {}

    def cost(self, architecture: A) -> Cost:
        """The cost of one candidate.

        Raises:
            BudgetError: an operator is unknown, or the counts of a part are not linear in its widths.
        """
        if self._parts is None:
            key = architecture.key
            counts = self._known.get(key) or self._remember(key, _counts(self._whole(architecture)))
        else:
            known = self._known  # this line is most of a search's counting: it is written to be fast
            rows = [known.get((p.kind, p.widths)) or self._new(p) for p in self._parts(architecture)]
            counts = tuple(map(sum, zip(_NOTHING, *rows, strict=True)))
        return self._completed(Cost(*counts), architecture)

    def whole(self, architecture: A) -> Cost:
        """The cost of one candidate from a trace of the whole network: slow, but what one line of fvcore confirms."""
        return self._completed(self._whole(architecture), architecture)

    def _whole(self, architecture: A) -> Cost:
        with forked_generators():  # building draws weights; counting must not move anyone's generator
            model = self.space.build(architecture)
        try:
            return _count(model, input_shape_of(self.space, architecture), self._free)
        except BudgetError as error:
            raise BudgetError(f"{self.space.name}, {architecture.key}: {error}") from error

    def _completed(self, cost: Cost, architecture: A) -> Cost:
        """The cost ``added`` together with depth, which does not add up over parts, and what is found on demand."""
        if self._layers is not None:
            cost = replace(cost, layers=self._layers(architecture))
        found: dict[str, Any] = {name: find(architecture) for name, find in self._on_demand.items()}
        return replace(cost, **found) if found else cost

    def _finder(self, name: str) -> Callable[[A], int | None]:
        """What finds the cost ``name``, one of ``ON_DEMAND``, of an architecture."""
        match name:
            case "memory":
                return PeakMemory(self.space)
            case "int8_memory":
                return PeakMemory(self.space, int8_memory_profile)
            case "int8_size":
                return Int8Size(self.space)
        return self._latency

    def _latency(self, architecture: A) -> int | None:
        """Look the latency up in the table, which whoever holds this counter may exchange at any time."""
        return None if self.latencies is None else self.latencies.microseconds(architecture)

    def _new(self, part: Part) -> Counts:
        return self._remember((part.kind, part.widths), self._kind(part)(part.widths))

    def _remember(self, key: Hashable, counts: Counts) -> Counts:
        if len(self._known) >= MEMO:
            self._known.clear()
        self._known[key] = counts
        return counts

    def _kind(self, part: Part) -> Multilinear:
        """The formula for parts of the kind of ``part``, checked on the first such part that is met."""
        formula = self._kinds.get(part.kind)
        if formula is None:
            formula = Multilinear.fitted(part.kind, part.widths, partial(self._measure, part))
            if formula is None:
                raise BudgetError(
                    f"{self.space.name}, part {part.kind}: every count must be linear in each of its widths, "
                    f"but at {part.widths} it is not. Move what is not linear into the part's kind, or split the part"
                )
            self._kinds[part.kind] = formula
        return formula

    def _measure(self, part: Part, widths: tuple[int, ...]) -> Counts:
        with forked_generators():
            module, input_shape = part.make(*widths)
        try:
            return _counts(_count(module, tuple(input_shape), self._free))
        except BudgetError as error:
            raise BudgetError(f"{self.space.name}, part {part.kind} at widths {widths}: {error}") from error


def _counts(cost: Cost) -> Counts:
    return tuple(getattr(cost, name) for name in COUNTED)
