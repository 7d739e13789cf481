"""Counts what a network costs, and compares it with limits. The only file that knows fvcore.

FLOPs are what ``fvcore.nn.FlopCountAnalysis(model.eval(), x).total()`` says: a multiply-add is 1, batch norm 2 per
element, adaptive average pooling 1 per element of its input, ReLU 0. A trace takes milliseconds, so candidates of a
space that names its parts are counted by formula: every count of a part is linear in each of its widths, so traces at
the corners of a box, two values for each width, determine it for all widths, exactly and in whole numbers.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from itertools import product
from operator import mul
from typing import Generic

import numpy as np
import torch
from torch import nn

from vkdnw_search.contracts import A, HasFreeOperators, HasLayers, HasParts, SearchSpace
from vkdnw_search.errors import BudgetError
from vkdnw_search.records import Cost, Part

with warnings.catch_warnings():  # on import, fvcore compiles losses that nobody here uses, in a way torch deprecates
    warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
    from fvcore.nn import FlopCountAnalysis

__all__ = ["CostCounter", "Limits", "Range", "count", "free_operators"]

MULTIPLY_ADDS = ("conv", "linear", "addmm")
"""fvcore's names for convolutions and for the two forms in which a linear layer is traced."""

CORNERS = (8, 16)
"""The two values of each width that a kind of part is measured at: small, so fast; divisible by usual group sizes."""

MEMO = 2**16
"""Parts, or whole networks in spaces without parts, whose counts are remembered; some 30 MB."""

_Counts = tuple[int, ...]  # the fields of Cost, in their order
_NOTHING: _Counts = (0,) * len(fields(Cost))


def free_operators(space: object) -> frozenset[str]:
    """The operators unknown to fvcore that ``space`` declares free; none if it declares none."""
    return frozenset(space.free_operators) if isinstance(space, HasFreeOperators) else frozenset()


def count(model: nn.Module, input_shape: Sequence[int], *, free_operators: Iterable[str] = ()) -> Cost:
    """What ``model`` costs for one input in evaluation mode; ``model`` itself is left as it is.

    ``layers`` is the number of modules that own a weight of two or more axes.

    Args:
        model: takes a batch of inputs.
        input_shape: of one input without the batch, e.g. (3, 224, 224).
        free_operators: operators unknown to fvcore that cost nothing worth counting, named as fvcore names them.

    Raises:
        BudgetError: the network cannot be traced, or has an operator that is neither known nor declared free.
    """
    return _count(copy.deepcopy(model), tuple(input_shape), frozenset(free_operators))


def _count(model: nn.Module, input_shape: tuple[int, ...], free_operators: frozenset[str]) -> Cost:
    """The same for a model that nobody else holds, so that it need not be copied."""
    analysis = _trace(model.eval(), input_shape)
    by_operator = analysis.by_operator()
    unknown = sorted(set(analysis.unsupported_ops()) - free_operators)
    if unknown:
        raise BudgetError(
            f"{type(model).__name__}: every operator must be known to fvcore or free, but {', '.join(unknown)} "
            "is neither. If it costs nothing worth counting, name it in the search space's `free_operators`"
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


def _trace(model: nn.Module, input_shape: tuple[int, ...]) -> FlopCountAnalysis:
    """fvcore's analysis of one forward pass."""
    example = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(0))
    x = torch.zeros(1, *input_shape, dtype=example.dtype, device=example.device)
    analysis = FlopCountAnalysis(model, x)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    try:
        with torch.no_grad():
            analysis.total()
    except Exception as error:  # whatever the network itself raises on such an input
        raise BudgetError(f"{type(model).__name__}: must accept an input of shape {tuple(x.shape)}: {error}") from error
    return analysis


class CostCounter(Generic[A]):
    """Counts the candidates of one search space, each kind of part only once.

    Args:
        space: if it has ``parts``, the cost of a network is their sum, which equals that of the whole network;
            otherwise every network is built and traced, once for each key.
    """

    def __init__(self, space: SearchSpace[A]) -> None:
        self.space = space
        self._free = free_operators(space)
        self._parts = space.parts if isinstance(space, HasParts) else None
        self._layers = space.layers if isinstance(space, HasLayers) else None
        self._kinds: dict[Hashable, _Multilinear] = {}
        self._known: dict[Hashable, _Counts] = {}

    def cost(self, architecture: A) -> Cost:
        """The cost of one candidate.

        Raises:
            BudgetError: an operator is unknown, or the counts of a part are not linear in its widths.
        """
        if self._parts is None:
            key = architecture.key
            counts = self._known.get(key) or self._remember(key, astuple(self._whole(architecture)))
        else:
            known = self._known  # this line is most of a search's counting: it is written to be fast
            rows = [known.get((p.kind, p.widths)) or self._new(p) for p in self._parts(architecture)]
            counts = tuple(map(sum, zip(_NOTHING, *rows, strict=True)))
        return self._with_layers(Cost(*counts), architecture)

    def whole(self, architecture: A) -> Cost:
        """The same from a trace of the whole network: slow, but what one line of fvcore can confirm."""
        return self._with_layers(self._whole(architecture), architecture)

    def _whole(self, architecture: A) -> Cost:
        with torch.random.fork_rng(devices=[]):  # building draws weights; counting must not move anyone's generator
            model = self.space.build(architecture)
        try:
            return _count(model, tuple(self.space.input_shape), self._free)
        except BudgetError as error:
            raise BudgetError(f"{self.space.name}, {architecture.key}: {error}") from error

    def _with_layers(self, cost: Cost, architecture: A) -> Cost:
        return cost if self._layers is None else replace(cost, layers=self._layers(architecture))

    def _new(self, part: Part) -> _Counts:
        return self._remember((part.kind, part.widths), self._kind(part)(part.widths))

    def _remember(self, key: Hashable, counts: _Counts) -> _Counts:
        if len(self._known) >= MEMO:
            self._known.clear()
        self._known[key] = counts
        return counts

    def _kind(self, part: Part) -> _Multilinear:
        """The formula of ``part.kind``, checked on the first part that is met of it."""
        formula = self._kinds.get(part.kind)
        if formula is None:
            corners = [self._measure(part, corner) for corner in product(CORNERS, repeat=len(part.widths))]
            formula = _Multilinear(part.kind, corners)
            if formula(part.widths) != self._measure(part, part.widths):
                raise BudgetError(
                    f"{self.space.name}, part {part.kind}: every count must be linear in each of its widths, "
                    f"but at {part.widths} it is not. Move what is not linear into the part's kind, or split the part"
                )
            self._kinds[part.kind] = formula
        return formula

    def _measure(self, part: Part, widths: tuple[int, ...]) -> _Counts:
        with torch.random.fork_rng(devices=[]):
            module, input_shape = part.make(*widths)
        try:
            return astuple(_count(module, tuple(input_shape), self._free))
        except BudgetError as error:
            raise BudgetError(f"{self.space.name}, part {part.kind} at widths {widths}: {error}") from error


class _Multilinear:
    """The functions, linear in each of n widths, through given counts at the 2ⁿ corners of ``CORNERS``.

    A count is Σ c_S Π_{i ∈ S} w_i over all subsets S of the widths. On one axis with values a, b at l, h:
    (h − l) · f(w) = (h·a − l·b) + (b − a)·w, so coefficients times ``scale`` = (h − l)ⁿ are whole numbers; what they
    have in common is divided out, which mostly leaves a scale of 1.
    """

    def __init__(self, kind: Hashable, corners: Sequence[_Counts]) -> None:
        low, high = CORNERS
        n = len(corners).bit_length() - 1
        table = np.array(corners, dtype=object).reshape((2,) * n + (-1,))  # an axis for each width, then the counts
        for axis in range(n):
            a, b = np.moveaxis(table, axis, 0)
            table = np.stack([high * a - low * b, b - a], axis)
        common = math.gcd((high - low) ** n, *table.flat)
        self.kind = kind
        self.scale = (high - low) ** n // common
        rows: list[list[int]] = (table // common).reshape(2**n, -1).T.tolist()  # (counts, 2ⁿ)
        self.coefficients = [row if any(row[1:]) else row[:1] for row in rows]  # half of the counts are constant

    def __call__(self, widths: tuple[int, ...]) -> _Counts:
        """The counts at ``widths``."""
        monomials = [1]
        for width in widths:
            monomials = [m * power for m in monomials for power in (1, width)]
        scaled = [sum(map(mul, row, monomials)) for row in self.coefficients]
        if self.scale == 1:
            return tuple(scaled)
        if any(value % self.scale for value in scaled):
            raise BudgetError(f"part {self.kind}: counts must be whole numbers, but at widths {widths} they are not")
        return tuple(value // self.scale for value in scaled)


@dataclass(frozen=True, slots=True)
class Range:
    """What a quantity may be: ``minimum`` ≤ x ≤ ``maximum``; ``None`` is no bound.

    Raises:
        BudgetError: a bound is not positive, or the minimum is above the maximum.
    """

    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        for name in ("minimum", "maximum"):
            bound = getattr(self, name)
            if bound is not None and not 0 < bound < math.inf:
                raise BudgetError(f"{name}: must be a positive number, but is {bound!r}. Leave it out for no limit")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise BudgetError(f"minimum: must not be above the maximum {self.maximum:g}, but is {self.minimum:g}")

    def violation(self, value: float) -> float:
        """The share by which ``value`` is outside: (x − maximum) / maximum, (minimum − x) / minimum, or 0."""
        broken = self._broken(value)
        return abs(value - broken[1]) / broken[1] if broken else 0.0

    def reason(self, value: float) -> str:
        """How ``value`` is outside, as in "812.3M is above the limit 600M (by 35 %)", or an empty string."""
        broken = self._broken(value)
        if broken is None:
            return ""
        side, bound = broken
        percent = 100 * self.violation(value)
        shown, limit = _short(value), _short(bound)
        if shown == limit:  # rounded to the same: show all digits
            shown, limit = f"{value:,.0f}", f"{bound:,.0f}"
        return f"{shown} is {side} the limit {limit} (by {percent:{'.0f' if percent >= 10 else '.2g'}} %)"

    def _broken(self, value: float) -> tuple[str, float] | None:
        """On which side ``value`` is outside, and the bound there."""
        if self.maximum is not None and value > self.maximum:
            return "above", self.maximum
        if self.minimum is not None and value < self.minimum:
            return "below", self.minimum
        return None


def _short(value: float) -> str:
    """Four digits at most and a unit: 812.3M, 600M, 1.25G, 14."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:g}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Which networks are feasible, by the fields of a cost; by default all."""

    flops: Range = Range()
    macs: Range = Range()
    parameters: Range = Range()
    layers: Range = Range()

    def violation(self, cost: Cost) -> float:
        """The sum over all limits of the share by which each is exceeded; 0 for a feasible network."""
        return sum((limit.violation(value) for _, limit, value in self._each(cost)), 0.0)

    def reason(self, cost: Cost) -> str:
        """Every limit that is violated, in words, separated by semicolons; empty for a feasible network."""
        return "; ".join(f"{name} {why}" for name, limit, value in self._each(cost) if (why := limit.reason(value)))

    def _each(self, cost: Cost) -> Iterator[tuple[str, Range, int]]:
        for field in fields(self):
            yield field.name, getattr(self, field.name), getattr(cost, field.name)
