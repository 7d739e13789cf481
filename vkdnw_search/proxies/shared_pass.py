"""Jacov and the terms of AZ-NAS together, for sums of ranks: the forward pass is the costly part they share."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from vkdnw_search.contracts import Probe
from vkdnw_search.proxies.az_nas import mean_trainability, smallest_step, stage_entropies
from vkdnw_search.proxies.jacov import decorrelation
from vkdnw_search.proxies.probing import ImageProxy, gradients, prepared, scored
from vkdnw_search.proxies.stages import stage_features
from vkdnw_search.records import Score
from vkdnw_search.seeding import seed_from

__all__ = ["SharedPass"]


@dataclass(frozen=True, kw_only=True)
class SharedPass(ImageProxy):
    """Jacov, expressivity, progressivity and trainability from one forward and two backward passes. No labels.

    Each is the number that :class:`vkdnw_search.proxies.jacov.Jacov` and :mod:`vkdnw_search.proxies.az_nas` give by
    themselves, for they draw the same weights and images. The value is Jacov's.
    """

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, which is initialised anew."""
        with prepared(model, probe, self.initialization):
            x = self.inputs(probe).requires_grad_()
            features, logits = stage_features(model, x)
            entropies = stage_entropies(features)
            (J,) = gradients(logits.sum(), [x], retain_graph=True)
            trainability = mean_trainability(features, seed=seed_from(probe.seed, "rademacher"))
        return scored(
            jacov=decorrelation(J),
            expressivity=sum(entropies),
            progressivity=smallest_step(entropies),
            trainability=trainability,
        )
