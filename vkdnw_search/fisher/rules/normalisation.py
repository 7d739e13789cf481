"""Batch, layer, RMS, group and instance normalisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vkdnw_search.fisher.rules.bare_parameters import elementwise
from vkdnw_search.fisher.rules.contractions import channel_sum, over_places, pick
from vkdnw_search.fisher.taps import Contract, Scalars, Statistics, Taps


def batch_norm(
    taps: Taps,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x − μ) / √(σ² + ε) · γ + β per channel, with μ and σ² constant, so samples stay independent."""
    taps.has_samples_first(input, weight, bias, channels=1)
    weight_, bias_ = taps.constant(weight), taps.constant(bias)
    measured = taps.calibrate or running_mean is None or running_var is None
    if measured:
        with torch.no_grad():
            owner = running_mean if running_mean is not None else weight
            mean, variance = taps.statistics_for(owner, lambda: _measure(input))
    else:
        assert running_mean is not None and running_var is not None
        mean, variance = running_mean, running_var
    inverse = (variance + eps).rsqrt()
    scale = inverse if weight_ is None else inverse * weight_
    shift = -mean * scale if bias_ is None else bias_ - mean * scale
    over = (-1,) + (1,) * (input.dim() - 2)  # (C, 1, …)
    output = torch.addcmul(shift.view(over), input, scale.view(over))
    return _affine(taps, input, output, weight, bias, lambda x, c: (x - mean[c]) * inverse[c])


def _measure(input: Tensor) -> Statistics:
    """Over all axes but the channel's."""
    if input.device.type == "cpu" and input.dim() > 2:  # nine times faster there than var_mean
        return Statistics(*torch.batch_norm_update_stats(input, None, None, 0.0))
    axes = [axis for axis in range(input.dim()) if axis != 1]
    variance, mean = torch.var_mean(input, dim=axes, correction=0)
    return Statistics(mean, variance)


def _affine(
    taps: Taps,
    input: Tensor,
    output: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    normalised: Callable[[Tensor, Any], Tensor],
) -> Tensor:
    """Taps of γ and β in y[n, c, …] = x̂[n, c, …] γ[c] + β[c]; ``normalised(x, c)`` is x̂ with channels last."""

    def of_weight(scalars: Scalars) -> Contract:
        channels = pick([index[0] for index in scalars.indices])
        with torch.no_grad():
            x = normalised(input.detach()[:, channels].movedim(1, -1), channels).movedim(-1, 1)
        return lambda gradient: over_places(gradient[:, channels] * x)

    return taps.attach(output, (taps.scalars(weight), of_weight), (taps.scalars(bias), channel_sum))


def layer_norm(
    taps: Taps,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = x̂ ∘ γ + β, x̂ normalised over the last axes."""
    taps.has_samples_first(input, weight, bias, channels=-1)
    return elementwise(taps, F.layer_norm(input, normalized_shape, None, None, eps), weight, bias)


def rms_norm(
    taps: Taps,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """y = x̂ ∘ γ, x̂ = x / √mean(x²) over the last axes."""
    taps.has_samples_first(input, weight, channels=-1)
    return elementwise(taps, F.rms_norm(input, list(normalized_shape), None, eps), weight, None)


def group_norm(
    taps: Taps,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = x̂ γ + β per channel, x̂ normalised over groups of channels."""
    taps.has_samples_first(input, weight, bias, channels=1)
    return _per_channel(taps, F.group_norm(input, num_groups, None, None, eps), weight, bias)


def instance_norm(
    taps: Taps,
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """y = x̂ γ + β per channel, x̂ normalised over each channel of each sample (or by running statistics)."""
    taps.has_samples_first(input, weight, bias, channels=1)
    if use_input_stats:
        running_mean = running_var = None
    x = F.instance_norm(input, running_mean, running_var, None, None, use_input_stats, momentum, eps)
    return _per_channel(taps, x, weight, bias)


def _per_channel(taps: Taps, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """y[n, c, …] = x[n, c, …] γ[c] + β[c], as two broadcast steps."""
    over = (-1,) + (1,) * (x.dim() - 2)
    return elementwise(taps, x, weight, bias, over)
