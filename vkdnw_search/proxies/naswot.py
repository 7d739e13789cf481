"""NASWOT: does the network give different images different activation patterns?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from vkdnw_search.contracts import Probe
from vkdnw_search.errors import DegenerateNetwork
from vkdnw_search.proxies.probing import ImageProxy, prepared, scored
from vkdnw_search.proxies.rectifiers import activation_codes
from vkdnw_search.records import Score

__all__ = ["Naswot"]


@dataclass(frozen=True, kw_only=True)
class Naswot(ImageProxy):
    """ln |det K_H|, more is better (Mellor et al., ICML 2021, arXiv 2006.04647).

    (K_H)_ij = number of activation units − Hamming distance of the codes of images i and j: which units are on.
    Training mode, no labels. Degenerate where two images have the same code, for then det K_H = 0.
    """

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, which is initialised anew."""
        with prepared(model, probe, self.initialization):
            K = sum(_agreements(code) for code in activation_codes(model, self.inputs(probe)))
        sign, logarithm = torch.linalg.slogdet(torch.as_tensor(K))
        if sign <= 0:
            raise DegenerateNetwork("naswot: the kernel of the activation codes is singular; some images look alike")
        return scored(naswot=float(logarithm))


def _agreements(code: torch.Tensor) -> torch.Tensor:
    """For each pair of images, the units that are on in both or off in both. Shape (N, N), float64.

    float32 counts exactly up to 2²⁴, more than one layer has.
    """
    on = code.float()
    off = 1 - on
    return (on @ on.T + off @ off.T).double()
