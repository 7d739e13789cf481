"""The source of a network → that of its backbone: feature maps at each reduction, for detection and segmentation.

The interface is that of timm's ``features_only=True``: the last feature map at each reduction (height of the image by
height of the map), ``out_indices`` to choose among them, ``feature_info`` to tell what they are. The class ``Backbone``
extends ``Network``, so that the names of parameters are the same, and trained weights load.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from vkdnw_search.contracts import HasStages
from vkdnw_search.errors import ExportError

NOMINAL = 64
"""Reductions are found on images of sides that are multiples of this, in which no stride rounds."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature map that a backbone gives.

    Attributes:
        module: name of the stage that gives it.
        channels: of the map.
        reduction: height of the image by height of the map, and width by width.
    """

    module: str
    channels: int
    reduction: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How the backbone of a network is made of it.

    Attributes:
        stages: names of the modules to run in order, each on what the one before gives.
        head: names of the network's modules that are no part of the backbone.
        features: what it gives, from the largest map to the smallest.
    """

    stages: tuple[str, ...]
    head: tuple[str, ...]
    features: tuple[Feature, ...]


def layout_of(model: nn.Module, input_shape: Sequence[int]) -> Layout:
    """Find the backbone of ``model``, a network that names its stages (:class:`vkdnw_search.contracts.HasStages`).

    A last 1×1 convolution that stands apart from the other stages serves the classifier, and is left out with it.

    Raises:
        ExportError: the network names no stages, or they give no feature maps.
    """
    if not isinstance(model, HasStages):
        raise ExportError(
            f"--backbone: the network must name its stages, but {type(model).__name__} has no method stages(). Give it "
            "one that returns the submodules whose outputs are the successive feature maps"
        )
    names = {id(module): name for name, module in model.named_modules()}
    stages = [names[id(stage)] for stage in model.stages()]
    if len(stages) > 1 and "." not in stages[-1] and _is_pointwise(model.get_submodule(stages[-1])):
        stages.pop()
    children = [name for name, _ in model.named_children()]
    head = [name for name in children if not any(f"{stage}.".startswith(f"{name}.") for stage in stages)]
    return Layout(tuple(stages), tuple(head), tuple(_features(model, stages, input_shape)))


def stage_outputs(model: nn.Module, stages: Sequence[str], images: Tensor) -> list[Tensor]:
    """What the modules of these names give in a pass of ``model``, in the order of the names."""
    found: dict[str, Tensor] = {}
    with ExitStack() as hooks, torch.no_grad():
        for name in stages:
            hook = model.get_submodule(name).register_forward_hook(partial(_keep, found, name))
            hooks.callback(hook.remove)
        model(images)
    return [found[name] for name in stages]


def with_backbone(source: str, layout: Layout) -> str:
    """``source``, which defines ``Network``, and the class ``Backbone`` after it."""
    imported = re.search(r"^import torch$", source, re.MULTILINE)
    return _SOURCE.format(
        source=source.rstrip(),
        imports="" if imported else "import torch  # noqa: E402\n\n",
        stages="".join(f'        "{name}",\n' for name in layout.stages),
        head="".join(f'"{name}", ' for name in layout.head).rstrip(),
        rows="".join(f'        ("{f.module}", {f.channels}, {f.reduction}),\n' for f in layout.features),
        table=_table(layout.features),
    )


def _keep(found: dict[str, Tensor], name: str, _module: object, _inputs: object, output: Tensor) -> None:
    found[name] = output.clone()  # what follows may work in place


def _is_pointwise(stage: nn.Module) -> bool:
    """Whether a stage is one 1×1 convolution, with what stands around it."""
    convolutions = [module for module in stage.modules() if isinstance(module, nn.modules.conv._ConvNd)]
    return len(convolutions) == 1 and set(convolutions[0].kernel_size) == {1}


def _features(model: nn.Module, stages: Sequence[str], input_shape: Sequence[int]) -> list[Feature]:
    """The last map of each size, in order."""
    sides, maps = _maps(model.eval(), stages, input_shape)
    if any(not isinstance(m, Tensor) or m.ndim != 4 for m in maps):
        raise ExportError("--backbone: stages must give feature maps (N, C, H, W), but one gives something else")
    features = []
    for size, group in groupby(zip(stages, maps, strict=True), key=lambda pair: pair[1].shape[2:]):
        name, last = list(group)[-1]
        reductions = {round(side / other) for side, other in zip(sides, size, strict=True)}
        if len(reductions) > 1:
            raise ExportError(
                f"--backbone: a stage must reduce height and width alike, but {name} makes {tuple(size)} of {sides}"
            )
        features.append(Feature(name, last.shape[1], reductions.pop()))
    return features


def _maps(model: nn.Module, stages: Sequence[str], input_shape: Sequence[int]) -> tuple[tuple[int, ...], list[Any]]:
    """Sides of an input, nominal if the network takes such, and what the stages make of it."""
    channels, *sides = input_shape
    nominal = [-(-side // NOMINAL) * NOMINAL for side in sides]
    try:
        return tuple(nominal), stage_outputs(model, stages, torch.zeros(1, channels, *nominal))
    except RuntimeError:  # it takes images of its own size alone
        return tuple(sides), stage_outputs(model, stages, torch.zeros(1, channels, *sides))


def _table(features: Sequence[Feature]) -> str:
    width = max(len("module"), *(len(f.module) for f in features))
    rows = [f"{number:<8}{f.module:<{width}}{f.channels:>10}{f.reduction:>11}" for number, f in enumerate(features)]
    return "\n        ".join([f"{'index':<8}{'module':<{width}}{'channels':>10}{'reduction':>11}", *rows])


_SOURCE = '''{source}


{imports}class FeatureInfo(list):
    """What feature maps are, a dict for each; the methods give one of their facts for all."""

    def module_name(self) -> list[str]:
        return [feature["module"] for feature in self]

    def channels(self) -> list[int]:
        return [feature["num_chs"] for feature in self]

    def reduction(self) -> list[int]:
        return [feature["reduction"] for feature in self]


class Backbone(Network):
    """The feature maps of the network above, the last at each reduction, as timm's ``features_only=True`` gives them.

        {table}

    Trained weights of Network load, and those of its head are left out::

        missing, left_out = backbone.load_state_dict(torch.load("weights.pt"), strict=False)  # missing is empty

    Args:
        out_indices: which of the feature maps, counted from 0, or from the end if negative; None: all. Modules that
            none of them needs are left out.
        options: those of Network, but for the number of classes.
    """

    CHAIN = (  # modules, each of which is run on what the one before gives
{stages}    )
    HEAD = ({head})  # what Network has besides
    FEATURES = (
        # module, channels, reduction
{rows}    )

    def __init__(self, out_indices: tuple[int, ...] | None = None, **options: object) -> None:
        super().__init__(**options)
        every = range(len(self.FEATURES))
        wanted = every if out_indices is None else out_indices
        if not wanted or any(index not in range(-len(every), len(every)) for index in wanted):
            raise ValueError(
                f"out_indices: must be of the feature maps 0 to {{every[-1]}}, or -{{len(every)}} to -1 from the end, "
                f"at least one, but are {{out_indices}}"
            )
        chosen = sorted({{every[index] for index in wanted}})
        self.feature_info = FeatureInfo(
            dict(zip(("module", "num_chs", "reduction", "index"), (*self.FEATURES[index], index))) for index in chosen
        )
        needed = self.CHAIN.index(self.feature_info[-1]["module"]) + 1
        self.names = self.CHAIN[:needed]
        for name in (*self.CHAIN[needed:], *self.HEAD):
            parent, _, child = name.rpartition(".")
            delattr(self.get_submodule(parent), child)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(N, C, H, W) → a feature map (N, channels, H / reduction, W / reduction), rounded up, for each index."""
        given, features = self.feature_info.module_name(), []
        for name in self.names:
            x = self.get_submodule(name)(x)
            if name in given:
                features.append(x)
        return features

    def stages(self) -> list[torch.nn.Module]:
        """The modules whose outputs are the successive features."""
        return [self.get_submodule(name) for name in self.names]
'''
