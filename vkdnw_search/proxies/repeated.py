"""A score taken several times over: its mean, and how far the repetitions agree in ordering networks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Annotated

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray
from scipy import stats
from torch import nn

from vkdnw_search.contracts import AnyProxy, HasRequirements, Probe
from vkdnw_search.determinism import seed_from
from vkdnw_search.errors import ScoreError
from vkdnw_search.options import check_options
from vkdnw_search.proxies.plain import draws_weights, must_be_proxy, score_with
from vkdnw_search.records import Cost, Score

__all__ = ["Repeated", "reliability"]


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """The mean of a score over several random initializations and batches, higher is better.

    Each repetition is a term of its own, ``jacov_1`` and so on, so that :func:`reliability` can tell how much of the
    order of networks is their own and how much is chance. That needs no label.

    Attributes:
        name: what the terms are called, before their numbers.
        proxy: whose value is repeated; its terms are dropped.
        times: number of repetitions.
    """

    name: str
    proxy: AnyProxy
    times: Annotated[int, Interval(ge=2, le=1024)] = 2

    def __post_init__(self) -> None:
        check_options(self, ScoreError, objects=("proxy",))
        must_be_proxy(self.proxy)

    @property
    def terms(self) -> tuple[str, ...]:
        """The names of the repetitions."""
        return tuple(f"{self.name}_{number}" for number in range(1, self.times + 1))

    @property
    def draws_weights(self) -> bool:
        """Whether the proxy draws the weights of all convolutions and linear layers anew."""
        return draws_weights(self.proxy)

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """Score ``model`` with a seed of its own for each time, or copies of it where weights are not drawn anew."""
        values, copied = [], not self.draws_weights
        for term in self.terms:
            network = copy.deepcopy(model) if copied else model
            values.append(score_with(self.proxy, network, replace(probe, seed=seed_from(probe.seed, term))).value)
        return Score(value=fmean(values), terms=dict(zip(self.terms, values, strict=True)))

    def require(self, num_classes: int, cost: Callable[[], Cost | None]) -> None:
        """Raise a ScoreError if the proxy cannot score the networks of a run."""
        if isinstance(self.proxy, HasRequirements):
            self.proxy.require(num_classes, cost)


def reliability(repetitions: Sequence[NDArray[np.float64]]) -> float:
    """The share of the variance of the mean over k repetitions that is the networks' own, in [0, 1].

    Spearman–Brown (Brown 1910; Spearman 1910): k ρ / (1 + (k − 1) ρ), ρ the mean over pairs of repetitions of their
    rank correlation, 0 where it is negative. 0 for fewer than three networks, which tell nothing.

    Args:
        repetitions: k columns of n values each, one for each network.
    """
    k = len(repetitions)
    columns = np.stack([stats.rankdata(column) for column in repetitions])  # (k, n)
    varied = np.ptp(columns, axis=1) > 0 if columns.shape[1] else np.zeros(k, dtype=bool)
    if columns.shape[1] < 3 or not varied.all():
        return 0.0
    pairs = np.asarray(np.corrcoef(columns))[np.triu_indices(k, 1)]
    rho = max(0.0, float(pairs.mean()))
    return k * rho / (1 + (k - 1) * rho)
