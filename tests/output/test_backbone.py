"""The backbone of an exported network gives the feature maps that the whole network has within."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.autoformer import AutoFormer
from search_spaces.nasbench201 import NasBench201
from search_spaces.resolution import ImageSpace
from search_spaces.stages import Stages
from tests.support.generated_source import load
from vkdnw_search import export
from vkdnw_search.commands.export import run_export
from vkdnw_search.errors import ExportError
from vkdnw_search.optimizers.variation import random_genome
from vkdnw_search.output.backbone import layout_of, with_backbone
from vkdnw_search.recipe.registry import find, shipped
from vkdnw_search.runs.result import unvisited
from vkdnw_search.source_rules import defined_by, must_import_torch_alone

SMALL: dict[str, dict[str, Any]] = {
    "mobilenet": {"max_width": 64, "last_width": 512},
    "nasbench201": {"channels": 4, "cells": 2},
    "resnet": {"max_width": 32, "small_images": True},
}

WITH_STAGES = [name for name in shipped("spaces") if name != "autoformer"]

LEFT_OUT = {"transnas_macro": {"head"}, "transnas_micro": {"head"}}
"""What follows the features, where it is called otherwise than in most spaces."""

LEAST_SIZES = {"transnas_macro": 2}
"""The fewest sizes of features, where it is not three: one module that halves behind the stem is enough there."""

spaces = pytest.mark.parametrize("name", WITH_STAGES)


def some(name: str, seed: int = 0) -> tuple[ImageSpace, Any]:
    """The space of that name, of grey images of 32 × 64, and a random architecture of it."""
    space = find("spaces", name)(**SMALL.get(name, {}), num_classes=10, channels_in=1, resolution=(32, 64))
    return space, space.decode(random_genome(space.genes, np.random.default_rng(seed)))


def backbone_class(space: Any, architecture: Any) -> Any:
    """``Backbone`` and ``Network`` of the source that is exported."""
    source = with_backbone(space.source(architecture), layout_of(space.build(architecture), space.input_shape))
    must_import_torch_alone(source, space.name, architecture.key)
    return defined_by(source)


def by_hooks(network: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """The last output of a stage at each size, but for a last 1×1 convolution, by hooks on the whole network."""
    outputs: list[torch.Tensor] = []
    stages = [stage for stage in network.stages() if stage is not getattr(network, "last", None)]
    hooks = [stage.register_forward_hook(lambda *call: outputs.append(call[-1])) for stage in stages]
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    return list({y.shape[2:]: y for y in outputs}.values())  # the last of each size stays


@spaces
def test_features_are_those_within_the_network_and_its_weights_load(name: str) -> None:
    space, architecture = some(name)
    defined = backbone_class(space, architecture)
    network, backbone = defined["Network"](num_classes=3).eval(), defined["Backbone"]().eval()
    missing, left_out = backbone.load_state_dict(network.state_dict(), strict=False)
    assert missing == [] and {key.partition(".")[0] for key in left_out} <= LEFT_OUT.get(name, {"last", "classifier"})
    assert backbone.state_dict().keys() | set(left_out) == network.state_dict().keys()
    info = backbone.feature_info
    for sides in ((32, 64), (64, 32)):
        x = torch.randn(2, 1, *sides)
        features = backbone(x)
        assert len(features) == len(by_hooks(network, x)) >= LEAST_SIZES.get(name, 3)
        assert all(map(torch.equal, features, by_hooks(network, x)))
        assert [y.shape[1] for y in features] == info.channels()
        assert [(-(-sides[0] // r), -(-sides[1] // r)) for r in info.reduction()] == [
            tuple(y.shape[2:]) for y in features
        ]
    assert [dict(network.named_modules())[name] for name in info.module_name()]
    assert info.reduction() == sorted(set(info.reduction()))


@spaces
def test_some_of_the_features_are_those_of_all_and_need_fewer_modules(name: str) -> None:
    space, architecture = some(name, seed=1)
    made = backbone_class(space, architecture)["Backbone"]
    whole, part, last = made().eval(), made(out_indices=(1, 0)).eval(), made(out_indices=(-1,)).eval()
    for other in (part, last):
        assert other.load_state_dict(whole.state_dict(), strict=False).missing_keys == []
    x = torch.randn(2, 1, 32, 64)
    features = whole(x)
    assert all(map(torch.equal, part(x), features[:2])) and len(part(x)) == 2
    assert [feature["index"] for feature in part.feature_info] == [0, 1]
    assert torch.equal(last(x)[0], features[-1]) and last.feature_info == whole.feature_info[-1:]
    count = [sum(p.numel() for p in model.parameters()) for model in (part, last, whole)]
    assert count[0] < count[1] == count[2]
    assert len(part.stages()) < len(whole.stages())
    part(x)[1].sum().backward()
    assert all(p.grad is not None for p in part.parameters())  # none is left idle
    many = len(features)
    for missing in ((9,), (0, -many - 1), ()):
        with pytest.raises(
            ValueError, match=rf"maps 0 to {many - 1}, or -{many} to -1 from the end, at least one, but"
        ):
            made(out_indices=missing)


def test_the_features_of_mobilenetv2_are_those_that_timm_gives() -> None:
    """Of timm's ``mobilenetv2_100`` with ``features_only=True``: channels 16, 24, 32, 96 and 320."""
    space = Stages()
    model = space.build(space.parse(space.references["mobilenetv2"]))
    features = layout_of(model, space.input_shape).features
    assert [feature.channels for feature in features] == [16, 24, 32, 96, 320]
    assert [feature.reduction for feature in features] == [2, 4, 8, 16, 32]


def test_the_exported_backbone_is_checked_and_describes_itself(tmp_path: Path) -> None:
    space, architecture = some("nasbench201")
    path = export(unvisited(space, architecture), tmp_path / "backbone.py", backbone=True)
    module = load(path)
    lines = [line.split() for line in module.Backbone.__doc__.splitlines()]
    for number, feature in enumerate(module.Backbone().feature_info):
        row = [str(number), feature["module"], str(feature["num_chs"]), str(feature["reduction"])]
        assert row in lines
    assert "strict=False" in module.Backbone.__doc__
    assert module.Network(num_classes=7).eval()(torch.zeros(2, 1, 32, 64)).shape == (2, 7)
    assert (tmp_path / "backbone.json").exists() and not (tmp_path / "train.py").exists()


@pytest.mark.slow
@spaces
def test_the_backbone_of_every_space_is_exported(name: str, tmp_path: Path) -> None:
    space, architecture = some(name, seed=2)
    path = export(unvisited(space, architecture), tmp_path / "backbone.py", backbone=True)
    assert len(load(path).Backbone()(torch.zeros(2, 1, 32, 64))) >= LEAST_SIZES.get(name, 3)


class Branched(NasBench201):
    """Networks whose first stage is given something other than the image."""

    def source(self, architecture: Any) -> str:
        return super().source(architecture).replace("self.stem(x)", "self.stem(x + x)")

    def build(self, architecture: Any) -> nn.Module:
        model: Any = super().build(architecture)
        model.forward = lambda x: model.classifier(model.body(model.stem(x + x)))
        return model  # type: ignore[no-any-return]


def test_a_network_whose_stages_are_no_chain_is_refused(tmp_path: Path) -> None:
    space = Branched(channels=4, cells=1, resolution=16)
    found = unvisited(space, space.decode((1, 2, 3, 1, 3, 1)))
    with pytest.raises(ExportError, match="its backbone gives other features than the network has within"):
        export(found, tmp_path / "backbone.py", backbone=True)
    assert not list(tmp_path.iterdir())


def test_a_network_without_stages_is_refused_in_words(tmp_path: Path) -> None:
    space = AutoFormer(resolution=32, num_classes=10)
    found = unvisited(space, space.decode((0,) * len(space.genes)))
    with pytest.raises(ExportError, match="must name its stages, but VisionTransformer has no method stages"):
        export(found, tmp_path / "backbone.py", backbone=True)
    assert not list(tmp_path.iterdir())


class Flat(nn.Module):
    """Takes images of 8 × 12 alone, and reduces height and width by different factors."""

    def __init__(self, stride: tuple[int, int] = (2, 2)) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, stride, padding=1)
        self.classifier = nn.Linear(5 * (8 // stride[0]) * (12 // stride[1]), 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.down(self.stem(x)).flatten(1))  # type: ignore[no-any-return]

    def stages(self) -> list[nn.Module]:
        return [self.stem, self.down]


def test_a_network_for_one_size_has_a_backbone_but_not_one_that_reduces_its_sides_differently() -> None:
    layout = layout_of(Flat(), (3, 8, 12))
    assert [(f.module, f.channels, f.reduction) for f in layout.features] == [("stem", 4, 1), ("down", 5, 2)]
    assert layout.head == ("classifier",)
    with pytest.raises(ExportError, match="must reduce height and width alike, but down makes"):
        layout_of(Flat((2, 1)), (3, 8, 12))


def test_the_command_writes_a_backbone_and_only_as_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["macro", "--text", "01020122", "--backbone"]
    run_export([*words, "--channels-in", "4", "--to", str(tmp_path / "b.py")])
    assert [y.shape[1] for y in load(tmp_path / "b.py").Backbone()(torch.zeros(2, 4, 32, 32))] == [32, 64, 128, 256]
    with pytest.raises(SystemExit):
        run_export([*words, "--format", "onnx"])
    assert "--backbone: is for --format python" in capsys.readouterr().err
