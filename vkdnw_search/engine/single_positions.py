"""Convolutions that see a single position: what a network loses on images that are too small for its strides.

Of a kernel that pads a map of 1×1 only the middle weight meets anything but padding. Such layers cost parameters and
count in scores, and learn no more than a kernel of 1×1 does.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import nn

from vkdnw_search.contracts import Architecture, SearchSpace, input_shape_of
from vkdnw_search.determinism import forked_generators

_Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d


@dataclass(frozen=True, slots=True)
class SinglePositions:
    """How many convolutions of a network see a single position.

    Attributes:
        alone: number of those with a kernel above 1×1 whose input has one position.
        kernels: number of all with a kernel above 1×1.
        input_shape: of the image that they were counted for, without the batch.
    """

    alone: int
    kernels: int
    input_shape: tuple[int, ...]

    def in_words(self) -> str:
        """What the strides do to the image, and what helps."""
        return (
            f"images of {'×'.join(map(str, self.input_shape))} are 1×1 before {self.alone} of {self.kernels} "
            "convolutions wider than 1×1, of which only the middle weight is used there: search for larger images "
            "(space.resolution) or with fewer strides"
        )


def single_positions(model: nn.Module, input_shape: Sequence[int]) -> SinglePositions:
    """Count the convolutions of ``model`` that see a single position of one image of ``input_shape``, (C, H, W).

    A layer that is called twice counts twice. ``model`` is set to evaluation.
    """
    seen: list[bool] = []

    def look(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        axes = len(layer.kernel_size)  # type: ignore[arg-type]  # a convolution, whose kernel is a tuple
        seen.append(all(side == 1 for side in inputs[0].shape[-axes:]))

    with ExitStack() as hooks, torch.no_grad(), forked_generators():
        for layer in model.modules():
            if isinstance(layer, _Conv) and max(layer.kernel_size) > 1:
                hooks.callback(layer.register_forward_pre_hook(look).remove)
        model.eval()(torch.zeros(1, *input_shape))
    return SinglePositions(sum(seen), len(seen), tuple(input_shape))


def in_network(space: SearchSpace[Architecture], architecture: Architecture) -> SinglePositions | None:
    """The same of a network of ``space``, for its own images; None if it has none, or cannot be looked at.

    What is asked for advice must not end a run.
    """
    try:
        with forked_generators():
            model = space.build(architecture)
        found = single_positions(model, input_shape_of(space, architecture))
    except Exception:
        return None
    return found if found.alone else None
