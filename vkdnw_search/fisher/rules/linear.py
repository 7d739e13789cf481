"""Linear layers, over whatever lies between samples and channels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vkdnw_search.fisher.rules.contractions import pick
from vkdnw_search.fisher.taps import Contract, Scalars, Taps


def linear_rule(taps: Taps, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y[n, …, o] = Σ w[o, i] x[n, …, i]."""
    if input.dim() < 2 or not taps.has_samples_first(input, weight, bias, channels=-1):
        taps.untapped(weight, bias)
        return F.linear(input, weight, bias)
    output = F.linear(input, taps.weight(weight), taps.constant(bias))

    def of_weight(scalars: Scalars) -> Contract:
        rows, columns = (pick(side) for side in zip(*scalars.indices, strict=True))

        def contract(gradient: Tensor) -> Tensor:
            product = gradient[..., rows] * input[..., columns]
            return product.reshape(product.shape[0], -1, product.shape[-1]).sum(dim=1)

        return contract

    def of_bias(scalars: Scalars) -> Contract:
        rows = pick([index[0] for index in scalars.indices])
        return lambda gradient: gradient[..., rows].reshape(len(gradient), -1, len(scalars.indices)).sum(dim=1)

    return taps.attach(output, (taps.scalars(weight), of_weight), (taps.scalars(bias), of_bias), kept=(input,))
