"""The published numbers of NAS-Bench-201 that measured ones stand beside: VKDNW, arXiv 2502.04975, Table 1.

Kendall's τ, Spearman's ρ and nDCG@1000 over the 9,445 networks without dead edges; means over five seeds whose
standard deviations are below 0.02. NaN where the paper gives no number.
"""

from __future__ import annotations

from math import nan
from typing import NamedTuple

__all__ = ["TRAINING", "Published", "published_row"]

TRAINING = 1024
"""Networks whose accuracy the model-driven rows were trained on."""


class Published(NamedTuple):
    """The figures that the paper gives for one method on one data set."""

    kendall: float
    spearman: float
    ndcg: float


_COLUMNS = ("cifar10", "cifar100", "imagenet16")

_TABLE_1: dict[str, tuple[float, ...]] = {
    "flops": (0.623, 0.799, 0.745, 0.586, 0.763, 0.576, 0.545, 0.718, 0.403),
    "grad_norm": (0.328, 0.438, 0.509, 0.341, 0.451, 0.278, 0.310, 0.418, 0.265),
    "grasp": (0.352, 0.505, 0.518, 0.349, 0.498, 0.284, 0.359, 0.502, 0.281),
    "snip": (0.431, 0.591, 0.513, 0.440, 0.597, 0.286, 0.389, 0.521, 0.286),
    "synflow": (0.561, 0.758, 0.709, 0.553, 0.750, 0.594, 0.531, 0.719, 0.511),
    "jacov": (0.616, 0.800, 0.540, 0.639, 0.820, 0.402, 0.602, 0.779, 0.356),
    "naswot": (0.571, 0.762, 0.607, 0.607, 0.799, 0.475, 0.605, 0.794, 0.490),
    "zen": (0.102, 0.103, 0.120, 0.079, 0.072, 0.115, 0.091, 0.109, 0.073),
    "gradsign": (nan, 0.765, nan, nan, 0.793, nan, nan, 0.783, nan),
    "zico": (0.607, 0.802, 0.751, 0.614, 0.809, 0.607, 0.587, 0.779, 0.523),
    "te_nas": (0.536, 0.722, 0.602, 0.537, 0.723, 0.327, 0.523, 0.709, 0.330),
    "az_nas": (0.712, 0.892, 0.749, 0.696, 0.880, 0.549, 0.673, 0.859, 0.534),
    "trainable_layers": (0.626, 0.767, 0.671, 0.646, 0.787, 0.525, 0.623, 0.764, 0.497),
    "vkdnw_single": (0.618, 0.815, 0.751, 0.634, 0.829, 0.617, 0.622, 0.814, 0.608),
    "vkdnw_agg": (0.750, 0.919, 0.785, 0.753, 0.919, 0.636, 0.743, 0.906, 0.664),
    "GRAF": (0.820, 0.953, 0.935, 0.809, 0.948, 0.858, 0.796, 0.941, 0.828),
    "VKDNW_m": (0.647, 0.831, 0.750, 0.636, 0.821, 0.602, 0.611, 0.798, 0.575),
    "(VKDNW+ZCS)_m": (0.840, 0.963, 0.922, 0.834, 0.960, 0.884, 0.830, 0.958, 0.843),
    "(VKDNW+ZCS+GRAF)_m": (0.859, 0.971, 0.946, 0.847, 0.966, 0.895, 0.842, 0.963, 0.867),
}


def published_row(*, space: str, method: str, column: str) -> Published | None:
    """Look up what the paper gives for a method on a data set; None if it gives nothing.

    Args:
        space: name of the search space; the table is of ``nasbench201``.
        method: name of a proxy, or of a model-driven row as the paper writes it.
        column: ``cifar10``, ``cifar100`` or ``imagenet16``.
    """
    if space != "nasbench201" or method not in _TABLE_1 or column not in _COLUMNS:
        return None
    first = 3 * _COLUMNS.index(column)
    return Published(*_TABLE_1[method][first : first + 3])
