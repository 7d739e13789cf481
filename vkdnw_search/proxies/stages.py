"""The successive features of a network: what its stem, cells or residual units give, in order of execution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import torch
from torch import nn

from vkdnw_search.contracts import HasStages
from vkdnw_search.errors import ScoreError
from vkdnw_search.proxies.probing import in_fast_layout

__all__ = ["find_stages", "stage_features"]

_Layer = nn.modules.conv._ConvNd | nn.Linear


def stage_features(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Collect the outputs of the stages of ``model`` in one forward pass of ``x``, each of shape (N, C, …), with
    their graph.

    The stages are those the network names (:class:`vkdnw_search.contracts.HasStages`), otherwise those found by
    :func:`find_stages`.

    Raises:
        ScoreError: if there are fewer than two.
    """
    if isinstance(model, HasStages):
        features = _outputs(model, x, model.stages())
    else:
        # A network wrapped in modules of its own class shows its stages only once those are unwrapped.
        for depth in range(3):
            features = _outputs(model, x, list(find_stages(model, unwrap=depth)))
            if len(features) >= 2:
                break
    if len(features) < 2:
        raise ScoreError(
            f"stages of {type(model).__name__}: at least 2 are needed, but {len(features)} were found; give the "
            "network a method stages() that returns the submodules whose outputs are its successive features"
        )
    return features


def find_stages(model: nn.Module, *, unwrap: int = 0) -> Iterator[nn.Module]:
    """Find the submodules that look like stages.

    Containers (``Sequential``, ``ModuleList``, ``ModuleDict``) are opened, down to

    * a module of a class of its own that has submodules: a cell, a unit, a convolution with its batch norm;
    * a ``Sequential`` of leaves that holds a convolution or linear layer: a stem, a last convolution;
    * a convolution or linear layer that stands alone.

    So activations, normalisations and poolings between stages are none. In NAS-Bench-201 this gives the stem, the
    cells and the reductions, in the MobileNetV2 space the stem, every unit, and the last convolution: the features
    that AZ-NAS compares; and the classifier, which :func:`stage_features` leaves out. ``unwrap`` opens that many
    levels of classes of their own as well.
    """
    for child in model.children():
        inside = list(child.children())
        if not inside:
            if isinstance(child, _Layer):
                yield child
        elif isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from find_stages(child, unwrap=unwrap)
        elif isinstance(child, nn.Sequential):
            if any(list(module.children()) for module in inside):
                yield from find_stages(child, unwrap=unwrap)
            elif any(isinstance(module, _Layer) for module in inside):
                yield child
        elif unwrap > 0:
            yield from find_stages(child, unwrap=unwrap - 1)
        else:
            yield child


def _outputs(model: nn.Module, x: torch.Tensor, stages: Sequence[nn.Module]) -> list[torch.Tensor]:
    """The outputs of ``stages`` with as many axes as ``x``, in order of execution, without the logits."""
    return in_fast_layout(lambda images: _recorded(model, images, stages), x)


def _recorded(model: nn.Module, x: torch.Tensor, stages: Sequence[nn.Module]) -> list[torch.Tensor]:
    features: list[torch.Tensor] = []

    def record(_module: nn.Module, _inputs: object, output: object) -> object:
        if not isinstance(output, torch.Tensor) or output.ndim != x.ndim:
            return None
        features.append(output)
        return output.clone()  # what follows may work in place, and must not change the feature

    with ExitStack() as hooks:
        for stage in stages:
            hooks.callback(stage.register_forward_hook(record).remove)
        logits = model(x)
    if features and features[-1].shape == logits.shape and bool((features[-1] == logits).all()):
        features.pop()
    return features
