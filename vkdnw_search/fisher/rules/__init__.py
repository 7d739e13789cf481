"""For each torch function with weights: what the derivative by one of them is, given the gradient at its output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vkdnw_search.fisher.rules.bare_parameters import add, expand, mul
from vkdnw_search.fisher.rules.convolution import convolution_rule
from vkdnw_search.fisher.rules.linear import linear_rule
from vkdnw_search.fisher.rules.normalisation import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from vkdnw_search.fisher.rules.pooling import average_pool

RULES: dict[Callable[..., Any], Callable[..., Any]] = {
    F.linear: linear_rule,
    F.batch_norm: batch_norm,
    F.layer_norm: layer_norm,
    F.rms_norm: rms_norm,
    F.group_norm: group_norm,
    F.instance_norm: instance_norm,
    **dict.fromkeys((torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__), add),
    **dict.fromkeys((torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__), mul),
    Tensor.expand: expand,
    F.avg_pool2d: average_pool,
    **{getattr(F, f"conv{d}d"): convolution_rule(d) for d in (1, 2, 3)},
    **{getattr(F, f"conv_transpose{d}d"): convolution_rule(d, transposed=True) for d in (1, 2, 3)},
}
