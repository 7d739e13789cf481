"""What stands for the labels of a data set, and the loss of outputs under it: −ln p(target | outputs), averaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vkdnw_search.contracts import Likelihood
from vkdnw_search.errors import ScoreError
from vkdnw_search.fisher.likelihood import resolved

__all__ = ["loss_of", "random_targets"]


def random_targets(
    outputs: Tensor,
    classes: int,
    likelihood: Likelihood | Sequence[Likelihood],
    *,
    samples: int | None = None,
    generator: torch.Generator,
) -> Tensor:
    """Draw targets: a uniform class at every position, numbers ~ N(0, 1), or yes and no with even odds.

    Args:
        outputs: (n, C, …) for classes, otherwise (n, …): what the shape of the targets is read from.
        classes: C.
        likelihood: of the outputs.
        samples: how many to draw targets for; n by default.
        generator: on the CPU.

    Returns:
        (samples, …): a class for each position, or a number for each output; on the device of ``outputs``.
    """
    kind, count = resolved(_one(likelihood), outputs.shape), len(outputs) if samples is None else samples
    if kind == "categorical":
        return torch.randint(classes, (count, *outputs.shape[2:]), generator=generator).to(outputs.device)
    shape = (count, *outputs.shape[1:])
    drawn = torch.randn(shape, generator=generator) if kind == "gaussian" else _coins(shape, generator)
    return drawn.to(outputs)


def loss_of(outputs: Tensor, targets: Tensor, likelihood: Likelihood | Sequence[Likelihood]) -> Tensor:
    """The mean cross-entropy, squared error or binary cross-entropy. ``targets``: as ``random_targets`` gives them."""
    kind = resolved(_one(likelihood), outputs.shape)
    if kind == "gaussian":
        return F.mse_loss(outputs, targets)
    if kind == "bernoulli":
        return F.binary_cross_entropy_with_logits(outputs, targets)
    return F.cross_entropy(outputs, targets)


def _coins(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return torch.randint(2, tuple(shape), generator=generator)


def _one(likelihood: Likelihood | Sequence[Likelihood]) -> Likelihood:
    if isinstance(likelihood, str):
        return likelihood
    raise ScoreError(
        f"score: a proxy of a loss needs one output, but there are {len(likelihood)}. Choose one with output=… "
        "(--output …), or a proxy that takes several, such as vkdnw_single"
    )
