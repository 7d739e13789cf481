"""What a network of Once-for-all's MobileNetV3 space is worth, by the accuracy predictor that was published with it.

The weights are read from beside the project and are no part of it. The predictor was trained on accuracies of networks
whose weights come from the supernet, on 10,000 images that the supernet was not trained on: its percents are some six
points above those on the validation set, and order networks as those do (ρ .98).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search_spaces.ofa_mobilenetv3 import EXPANSIONS, KERNELS, SLOTS, OfaMobileNetV3, SubNetwork

DATA = Path(__file__).parents[3] / "shared" / "data"
WEIGHTS, TABLE = DATA / "ofa_mbv3_predictor.npz", DATA / "ofa_mbv3_imagenet.csv"

RESOLUTIONS = tuple(range(112, 225, 16))
"""Of the images, among which the predictor was trained."""

Layer = tuple[NDArray[np.float64], NDArray[np.float64]]  # weight (out, in), bias (out,)


@dataclass(frozen=True, eq=False)
class OfaSurrogate:
    """Accuracy in percent of any network of the space ``ofa_mobilenetv3``: an MLP on its choices, one-hot."""

    layers: tuple[Layer, ...]

    @classmethod
    def read(cls, path: Path = WEIGHTS) -> OfaSurrogate:
        """The predictor in a file of numpy, with arrays ``0.weight``, ``0.bias``, ``2.weight`` …."""
        with np.load(path) as file:
            numbers = sorted({int(name.partition(".")[0]) for name in file})
            read = {name: file[name].astype(np.float64) for name in file}
        return cls(tuple((read[f"{number}.weight"], read[f"{number}.bias"]) for number in numbers))

    def accuracies(self, networks: Sequence[SubNetwork], *, resolution: int = 224) -> NDArray[np.float64]:
        """Percent of each of n networks on images of ``resolution``, one of RESOLUTIONS. Shape (n,)."""
        x = np.stack([encoded(network, resolution) for network in networks])  # (n, 128)
        for number, (weight, bias) in enumerate(self.layers):
            x = x @ weight.T + bias
            if number + 1 < len(self.layers):
                x = np.maximum(x, 0)
        accuracies: NDArray[np.float64] = 100 * x[:, 0]
        return accuracies

    def of_keys(self, keys: Sequence[str]) -> dict[str, float]:
        """Key → accuracy in percent at 224 px."""
        space = OfaMobileNetV3()
        found = self.accuracies([space.parse(key) for key in keys])
        return dict(zip(keys, found.tolist(), strict=True))


def encoded(network: SubNetwork, resolution: int) -> NDArray[np.float64]:
    """One-hot kernels of 20 blocks, then expansions, then the resolution; zeros where a block is absent. (128,)."""
    kernels, expansions = np.zeros((2, len(network.stages), SLOTS, len(KERNELS)))
    for stage, blocks in enumerate(network.stages):
        for slot, (kernel, expansion) in enumerate(blocks):
            kernels[stage, slot, KERNELS.index(kernel)] = 1
            expansions[stage, slot, EXPANSIONS.index(expansion)] = 1
    sizes = np.array(RESOLUTIONS) == resolution
    if not sizes.any():
        raise ValueError(f"the surrogate's resolution must be one of {RESOLUTIONS}, but is {resolution}")
    return np.concatenate([kernels.ravel(), expansions.ravel(), sizes])
