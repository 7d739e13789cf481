"""A sum of logarithms, of sizes and of ranks; a rank counts as far as its order of networks can be repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from vkdnw_search.errors import ScoreError
from vkdnw_search.fisher.information import Selection
from vkdnw_search.options import strict_options
from vkdnw_search.proxies.aggregate import LogRankSum, Reference, term_of
from vkdnw_search.proxies.jacov import Jacov
from vkdnw_search.proxies.probing import Images, Resolution
from vkdnw_search.proxies.repeated import Repeated, reliability
from vkdnw_search.proxies.size import Flops, Parameters
from vkdnw_search.proxies.vkdnw import Layers, VkdnwSingle

__all__ = ["Consensus", "make_consensus"]


@dataclass(frozen=True, kw_only=True)
class Consensus(LogRankSum):
    """Σ_j w_j r_j² ln(rank_j / n) + Σ_s w_s ln(size_s / its largest) over terms j and sizes s, more is better.

    r_j is how far a term can be repeated. A term that orders the networks of a space by chance would decide between
    them all the same, as every term has as many high ranks to give. r_j is its reliability among the candidates that
    are ranked (:func:`vkdnw_search.proxies.repeated.reliability`), 1 for terms without repetitions. A size counts by
    itself: among networks of nearly one size it hardly matters which is larger, but their ranks are as far apart as
    ever. Otherwise as :class:`LogRankSum`.

    Attributes:
        repetitions: term → the names of its repetitions among all terms.
        sizes: the terms that are sizes, above 0. The largest is that of the candidates among which ranks are taken.
    """

    repetitions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: tuple[str, ...] = ()

    _objects: ClassVar[tuple[str, ...]] = ("proxies", "repetitions")

    def __post_init__(self) -> None:
        super().__post_init__()
        for option, names in (("repetitions", self.repetitions), ("sizes", self.sizes)):
            if unknown := sorted(set(names) - set(self.ranked)):
                raise ScoreError(
                    f"{type(self).__name__}, {option}: must be of {', '.join(self.ranked)}, but name {unknown[0]!r}"
                )

    @property
    def needed(self) -> tuple[str, ...]:
        """The names of the terms that are ranked, and of repetitions."""
        return *self.ranked, *(name for names in self.repetitions.values() for name in names)

    def _share(self, name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rank / n, or of a size its share of the largest among those that are ranked, (n,), above 0."""
        if name not in self.sizes:
            return super()._share(name, values)
        sizes = np.maximum(values, 1)
        share: NDArray[np.float64] = sizes / np.max(sizes[: self.reference or None], initial=1)
        return share

    def _weights(self, terms: Mapping[str, NDArray[np.float64]]) -> Sequence[float]:
        """w_j r_j² of each ranked term."""
        last = self.reference or None
        reliable = {
            name: reliability([term_of(terms, repetition)[:last] for repetition in names])
            for name, names in self.repetitions.items()
        }
        return [w * reliable.get(name, 1.0) ** 2 for name, w in zip(self.ranked, super()._weights(terms), strict=True)]


@strict_options(ScoreError)
def make_consensus(
    *,
    images: Images = 64,
    resolution: Resolution = None,
    parameters: Annotated[int, Interval(ge=2, le=65536), "tensors a scalar is taken of, at most (vkdnw_single)"] = 128,
    selection: Annotated[Selection, "which tensors, where there are more (vkdnw_single)"] = "first",
    directions: Annotated[int, Interval(ge=1, le=100_000), "directions in class space (vkdnw_single)"] = 2,
    draws: Annotated[int, Interval(ge=1, le=1024), "choices of the scalars (vkdnw_single)"] = 8,
    layers: Annotated[Layers, "what ℵ counts (vkdnw_single)"] = "tensors",
    jacov_images: Annotated[int, Interval(ge=2, le=4096), "number of random images of Jacov, each of two times"] = 64,
    reference: Reference = 0,
) -> Consensus:
    """½ ln FLOPs + ¼ ln parameters + log-ranks of VKDNW_single and of Jacov as far as it can be repeated. No labels.

    It is our own. A network is held to be good where size, the evenness of its Fisher spectrum and the decorrelation of
    its input gradients agree; none of them is trusted alone. Jacov orders the cells of NAS-Bench-201 well and is chance
    among MobileNets of a good kind, which its reliability tells without a label (docs/known-accuracies.md).
    """
    spectrum = VkdnwSingle(
        images=images,
        resolution=resolution,
        parameters=parameters,
        selection=selection,
        directions=directions,
        draws=draws,
        layers=layers,
    )
    jacov = Repeated(name="jacov", proxy=Jacov(images=jacov_images, resolution=resolution))
    return Consensus(
        proxies={"flops": Flops(), "vkdnw_single": spectrum, "jacov": jacov, "parameters": Parameters()},
        weights=(0.5, 1, 1, 0.25),
        repetitions={"jacov": jacov.terms},
        sizes=("flops", "parameters"),
        reference=reference,
    )
