"""Several proxies in one: sums of their ranks, or of the logarithms of their ranks, among all candidates seen."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self, TypeVar

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import nn

from vkdnw_search.contracts import AnyProxy, HasCostScore, HasFastWay, HasRequirements, Probe
from vkdnw_search.errors import ScoreError, nearest
from vkdnw_search.options import check_options, strict_options
from vkdnw_search.proxies.az_nas import AzNasTerms
from vkdnw_search.proxies.jacov import Jacov
from vkdnw_search.proxies.plain import draws_weights, must_be_proxy, score_with
from vkdnw_search.proxies.probing import Images, Resolution
from vkdnw_search.proxies.size import Flops
from vkdnw_search.proxies.te_nas import TeNasTerms
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.records import Cost, Score

__all__ = ["LogRankSum", "RankSum", "make_az_nas", "make_te_nas", "Reference", "make_vkdnw_agg", "term_of"]

T = TypeVar("T")

Reference = Annotated[
    int, Interval(ge=0, le=10**6), "number of the first candidates among which ranks are taken; 0: all that are seen"
]


@dataclass(frozen=True, kw_only=True)
class RankSum:
    """Σ_j w_j rank_j / n over terms j, more is better.

    rank_j is the rank of a candidate by term j among the n candidates seen: n for the best, 1 for the worst, average
    ranks for ties. So the fitness of a candidate depends on the others and may change as they come, which is what
    ``HasRelativeFitness`` is for. Scored by itself a candidate is the best of one; the value of its score is 0.

    Attributes:
        proxies: name → proxy. Each is computed once per network; on a fresh copy of it, unless all of them draw
            weights anew. Its value becomes the term ``name``; its own terms keep their names.
        terms: which of all these terms are ranked; empty: the names in ``proxies``.
        weights: w_j ≥ 0 of each term, in their order; empty: 1 for each.
        reference: ranks are taken among so many candidates, the first seen; 0: among all. The first candidates of a
            search are random, so that a fixed reference keeps fitness what it was when later ones crowd together.
    """

    proxies: Mapping[str, AnyProxy]
    terms: tuple[str, ...] = ()
    weights: tuple[Annotated[float, Ge(0)], ...] = ()
    reference: Reference = 0

    _objects: ClassVar[tuple[str, ...]] = ("proxies",)

    def __post_init__(self) -> None:
        check_options(self, ScoreError, objects=self._objects)
        if not self.proxies:
            raise ScoreError(f"{type(self).__name__}, proxies: there must be at least one")
        for proxy in self.proxies.values():
            must_be_proxy(proxy)
        if self.weights and len(self.weights) != len(self.ranked):
            raise ScoreError(
                f"{type(self).__name__}, weights: must be one number for each of {', '.join(self.ranked)}, but are "
                f"{self.weights}"
            )

    @property
    def draws_weights(self) -> bool:
        """Whether every proxy draws the weights anew, or looks at the cost alone."""
        return all(draws_weights(proxy) for proxy in self.proxies.values())

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """Compute all terms of all proxies; ``fitness`` decides which count.

        Raises:
            ScoreError: if two proxies give different values under one name.
        """
        terms: dict[str, float] = {}
        copied = not self.draws_weights
        for name, proxy in self.proxies.items():
            score = _score(proxy, model, probe, copied=copied)
            for term, value in {name: score.value, **score.terms}.items():
                if terms.setdefault(term, value) != value:
                    raise ScoreError(f"{type(self).__name__}: the term {term!r} has two values; rename proxy {name!r}")
        return Score(value=0.0, terms=terms)

    def require(self, num_classes: int, cost: Callable[[], Cost | None]) -> None:
        """Raise a ScoreError if one of the proxies cannot score the networks of a run."""
        for proxy in self.proxies.values():
            if isinstance(proxy, HasRequirements):
                proxy.require(num_classes, cost)

    def check_fast_way(self, model: nn.Module, probe: Probe) -> str:
        """What differs between the fast ways of the proxies and the literal ones, in words; empty if nothing does."""
        found = {
            name: proxy.check_fast_way(copy.deepcopy(model), probe)
            for name, proxy in self.proxies.items()
            if isinstance(proxy, HasFastWay)
        }
        return "; ".join(f"{name}: {what}" for name, what in found.items() if what)

    def careful(self) -> Self:
        """The same sum of proxies that rely on no fast way unchecked."""
        careful = {name: p.careful() if isinstance(p, HasFastWay) else p for name, p in self.proxies.items()}
        return replace(self, proxies=careful)

    def fitness(self, scores: Sequence[Score]) -> NDArray[np.float64]:
        """The sum of each of ``scores`` among them all. Shape (n,); O(n log n) for each term.

        Raises:
            ScoreError: if a score lacks a term.
        """
        return self.combined({name: np.array([term_of(score.terms, name) for score in scores]) for name in self.needed})

    @property
    def ranked(self) -> tuple[str, ...]:
        """The names of the terms that are ranked."""
        return self.terms or tuple(self.proxies)

    @property
    def needed(self) -> tuple[str, ...]:
        """The names of the terms that fitness depends on."""
        return self.ranked

    def combined(self, terms: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """The fitness of n candidates whose terms are given as columns, name → (n,). Shape (n,).

        Raises:
            ScoreError: if a term is missing.
        """
        columns = {name: term_of(terms, name) for name in self.ranked}
        worths = [self._worth(self._share(name, column)) for name, column in columns.items()]
        weights = self._weights(terms)
        return sum((w * worth for w, worth in zip(weights, worths, strict=True)), start=np.zeros(len(worths[0])))

    def _weights(self, terms: Mapping[str, NDArray[np.float64]]) -> Sequence[float]:
        """The weight of each ranked term."""
        return self.weights or (1.0,) * len(self.ranked)

    def _share(self, name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """How high each of the ``values`` of a term is among them, (n,), above 0: rank / n."""
        return _shares(values, self.reference)

    def _worth(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        """What one term adds to the sum, (n,), the share itself."""
        return share


@dataclass(frozen=True, kw_only=True)
class LogRankSum(RankSum):
    """Σ_j w_j ln(rank_j / n) ≤ 0 over terms j, more is better (AZ-NAS, arXiv 2403.19232; VKDNW, arXiv 2502.04975).

    Unlike the sum of ranks it punishes a low rank by one term more than it rewards a high rank by another. Otherwise
    as :class:`RankSum`.
    """

    def _worth(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        """ln(rank / n)."""
        return np.log(share)


@strict_options(ScoreError)
def make_az_nas(*, images: Images = 64, resolution: Resolution = None) -> LogRankSum:
    """AZ-NAS: log-ranks of expressivity, progressivity, trainability and FLOPs. No labels."""
    return LogRankSum(
        proxies={"flops": Flops(), "features": AzNasTerms(images=images, resolution=resolution)},
        terms=("expressivity", "progressivity", "trainability", "flops"),
    )


@strict_options(ScoreError)
def make_te_nas(*, images: Images = 64, resolution: Resolution = None) -> RankSum:
    """TE-NAS: ranks (not their logarithms) of −condition number of the NTK and number of linear regions. No labels."""
    return RankSum(
        proxies={"te_nas": TeNasTerms(images=images, resolution=resolution)},
        terms=("ntk_condition", "linear_regions"),
    )


@strict_options(ScoreError)
def make_vkdnw_agg(*, images: Images = 64, resolution: Resolution = None) -> LogRankSum:
    """VKDNW_agg as published: log-ranks of VKDNW_single, Jacov, expressivity, trainability and FLOPs. No labels.

    VKDNW_single is taken with its defaults (128 tensors, calibrated batch norm), and with 64 images at least: with two
    classes it needs ``images=128``.
    """
    return LogRankSum(
        proxies={
            "vkdnw_single": VkdnwSingle(images=max(images, 64), resolution=resolution),
            "jacov": Jacov(images=images, resolution=resolution),
            "features": AzNasTerms(images=images, resolution=resolution),
            "flops": Flops(),
        },
        terms=("vkdnw_single", "jacov", "expressivity", "trainability", "flops"),
    )


def _shares(values: NDArray[np.float64], reference: int) -> NDArray[np.float64]:
    """rank / n of each of ``values``, (m,), among the first ``reference`` of them, or all; above 0.

    The rank of a value is the mean place that it would take among the n of the reference, 1/2 at least. Beyond their
    largest it is n + ln(1 + excess / s), s the distance of their largest to their median, so that a search still tells
    networks apart which are all better than any random one; that adds little, as one term shall not outvote the others.
    """
    if not reference or reference >= len(values):
        return rankdata(values, method="average") / max(len(values), 1)
    known = np.sort(values[:reference])
    below, to = (np.searchsorted(known, values, side=side) for side in ("left", "right"))
    rank = np.minimum(below + (to - below + 1) / 2, reference)
    beyond, spread = values > known[-1], known[-1] - np.median(known)
    if spread > 0:
        rank[beyond] = reference + np.log1p((values[beyond] - known[-1]) / spread)
    share: NDArray[np.float64] = rank / reference
    return share


def _score(proxy: AnyProxy, model: nn.Module, probe: Probe, *, copied: bool) -> Score:
    if probe.cost and isinstance(proxy, HasCostScore):
        return proxy.score_cost(probe.cost)
    return score_with(proxy, copy.deepcopy(model) if copied else model, probe)


def term_of(terms: Mapping[str, T], name: str) -> T:
    """The term ``name``. Raises ScoreError if it is missing."""
    if name not in terms:
        raise ScoreError(
            f"sum of ranks: every score must have the term {name!r}, but one has only "
            f"{', '.join(sorted(terms)) or 'none'}.{nearest(name, terms)}"
        )
    return terms[name]
