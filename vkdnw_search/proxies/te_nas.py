"""TE-NAS: condition of the neural tangent kernel, and number of linear regions (Chen et al., ICLR 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Interval
from torch import nn

from vkdnw_search.contracts import Probe
from vkdnw_search.errors import DegenerateNetwork, ScoreError, told
from vkdnw_search.options import check_options
from vkdnw_search.proxies.probing import ImageProxy, Weights, gradients, in_fast_layout, prepared, random_images, scored
from vkdnw_search.proxies.rectifiers import activation_codes
from vkdnw_search.records import Score

__all__ = ["LinearRegions", "NtkCondition", "TeNasTerms"]

RegionImages = Annotated[int, Interval(ge=2, le=100_000), "number of random images whose regions are counted"]
RegionSide = Annotated[int, Interval(ge=1, le=1024), "side of those images in pixels"]


@dataclass(frozen=True, kw_only=True)
class NtkCondition(ImageProxy):
    """−κ of the neural tangent kernel, more is better (arXiv 2102.11535).

    κ = λ_max / λ_min of Θ = J Jᵀ (N, N), with the rows of J the gradients of Σ_c z_c of each image with respect to
    all weights, in training mode, where the images of a batch act on one another. No labels; published with real
    images, here they are Gaussian. Costs ``images`` backward passes of the whole batch: the slowest of all baselines.
    """

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, which is initialised anew."""
        with prepared(model, probe, self.initialization):
            return scored(ntk_condition=-_condition(model, self.inputs(probe)))


@dataclass(frozen=True, kw_only=True)
class LinearRegions:
    """Number of linear regions that random images fall into, more is better (arXiv 2102.11535).

    That is the number of different activation codes, at most the number of images. Training mode, no labels. The
    images are tiny (3 × 3), as in the released code, which also makes the networks thin for this count. A network of
    full width mostly tells all images apart; then the term is the same for all, and TE-NAS ranks by its kernel.
    """

    region_images: RegionImages = 1000
    region_side: RegionSide = 3
    initialization: Weights = "kaiming_normal"

    def __post_init__(self) -> None:
        check_options(self, ScoreError)

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, which is initialised anew."""
        with prepared(model, probe, self.initialization):
            return scored(linear_regions=float(_regions(model, probe, self.region_images, self.region_side)))


@dataclass(frozen=True, kw_only=True)
class TeNasTerms(ImageProxy):
    """Both terms of TE-NAS, ranked together by ``vkdnw_search.proxies.aggregate.make_te_nas``; the value is −κ."""

    region_images: RegionImages = 1000
    region_side: RegionSide = 3

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """The score of ``model``, which is initialised anew."""
        with prepared(model, probe, self.initialization):
            regions = _regions(model, probe, self.region_images, self.region_side)
            condition = _condition(model, self.inputs(probe))
        return scored(ntk_condition=-condition, linear_regions=float(regions))


def _condition(model: nn.Module, x: torch.Tensor) -> float:
    """The condition number κ of the kernel of N images."""
    weights = [p for p in model.parameters() if p.requires_grad]
    outputs = in_fast_layout(model, x).flatten(1).sum(dim=1)  # (N,)
    rows = [torch.cat([g.flatten() for g in gradients(z, weights, retain_graph=True)]) for z in outputs]
    kernel = _gram(torch.stack(rows))
    if not bool(torch.isfinite(kernel).all()):
        raise DegenerateNetwork("te_nas: some gradients are not finite")
    values = torch.linalg.eigvalsh(kernel)  # (N,), ascending
    smallest, largest = float(values[0]), float(values[-1])
    if smallest <= largest * len(x) * torch.finfo(torch.float32).eps ** 2:
        raise DegenerateNetwork("te_nas: the neural tangent kernel is singular")
    return largest / smallest


def _gram(J: torch.Tensor) -> torch.Tensor:
    """The Gram matrix J Jᵀ in float64, (N, N), without a float64 copy of J, which has a column for every weight."""
    return torch.stack([part.double() @ part.double().T for part in torch.split(J, 2**18, dim=1)]).sum(dim=0)


def _regions(model: nn.Module, probe: Probe, images: int, side: int) -> int:
    x = random_images(probe, images, resolution=side, index=1)
    try:
        codes = [np.packbits(code.cpu().numpy(), axis=1) for code in activation_codes(model, x)]
    except (RuntimeError, ValueError) as error:
        raise ScoreError(
            f"te_nas, region_side: the network must accept {side} × {side} images; {told(error)}"
        ) from error
    return len(np.unique(np.concatenate(codes, axis=1), axis=0))
