"""Every shipped space of networks for images takes any channels, and images that are not square."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from search_spaces.autoformer import AutoFormer
from search_spaces.nasbench201 import NasBench201
from search_spaces.resolution import ImageSpace
from tests.support.generated_source import assert_same_network, load_network
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.cost.latency import LatencyTable
from vkdnw_search.cost.peak_memory import PeakMemory
from vkdnw_search.errors import ScoreError, SpaceError
from vkdnw_search.optimizers.variation import random_genome
from vkdnw_search.proxies.probing import image_shape
from vkdnw_search.recipe.recipe import load_recipe
from vkdnw_search.recipe.registry import find, shipped
from vkdnw_search.testing import check_search_space

SMALL: dict[str, dict[str, Any]] = {
    "autoformer": {"patch": 16},
    "mobilenet": {"max_width": 64, "last_width": 64},
    "nasbench201": {"channels": 4, "cells": 1},
    "resnet": {"max_width": 64},
    "transnas_macro": {"channels": 4},
    "transnas_micro": {"channels": 4},
}
"""Options that keep networks small."""

slow = pytest.mark.slow  # counts of many kinds of parts take seconds

SHAPES = [(1, [32, 64]), (4, [64, 32]), *(pytest.param(*shape, marks=slow) for shape in ((4, [32, 64]), (1, [64, 32])))]

shapes = pytest.mark.parametrize(("channels", "sides"), SHAPES, ids=str)
IMAGE_SPACES = shipped("spaces")

spaces = pytest.mark.parametrize("name", IMAGE_SPACES)
few_parts = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=slow) if n in ("mobilenet", "resnet", "stages") else n for n in IMAGE_SPACES]
)


def of_shape(name: str, channels: int, resolution: Any) -> Any:
    """The space of that name for such images, with ten classes."""
    options = {"num_classes": 10, "channels_in": channels, "resolution": resolution}
    return find("spaces", name)(**SMALL.get(name, {}), **options)


def random_architectures(space: Any, count: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [space.decode(random_genome(space.genes, rng)) for _ in range(count)]


@spaces
@shapes
def test_what_is_counted_is_what_fvcore_counts_for_the_whole_network(name: str, channels: int, sides: Any) -> None:
    from fvcore.nn import FlopCountAnalysis  # after vkdnw_search.cost.counter, which silences a warning of its import

    space = of_shape(name, channels, sides)
    assert space.input_shape == (channels, *sides)
    counter = CostCounter(space)
    for architecture in random_architectures(space, 1):
        model = space.build(architecture).eval()
        x = torch.zeros(1, channels, *sides)
        analysis = FlopCountAnalysis(model, x)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        cost = counter.cost(architecture)
        assert cost.flops == analysis.total()
        assert cost.parameters == sum(p.numel() for p in model.parameters())
        assert cost == counter.whole(architecture)
        with torch.no_grad():
            assert model(x.expand(2, -1, -1, -1)).shape == (2, 10)


@few_parts
def test_the_chain_of_a_network_for_other_images_has_the_peak_memory_of_the_whole(name: str) -> None:
    space = of_shape(name, 4, [32, 64])
    memory = PeakMemory(space)
    for architecture in random_architectures(space, 2):
        assert memory(architecture) == memory.whole(architecture)


@spaces
def test_the_source_is_the_network_of_the_spaces_images(name: str) -> None:
    space = of_shape(name, 1, [32, 64])
    (architecture,) = random_architectures(space, 1)
    network = load_network(space.source(architecture))
    assert_same_network(space.build(architecture), network(), torch.randn(2, 1, 32, 64))
    assert network(num_classes=7, channels_in=4).eval()(torch.randn(2, 4, 32, 64)).shape == (2, 7)


@spaces
def test_channels_are_three_and_images_square_unless_a_recipe_says_otherwise(name: str) -> None:
    space = find("spaces", name)()
    assert isinstance(space, ImageSpace) and space.channels_in == 3
    assert space.input_shape == (3, space.resolution, space.resolution)
    (architecture,) = random_architectures(space, 1)
    (other,) = random_architectures(of_shape(name, 1, [32, 64]), 1)
    if name not in SMALL:
        assert other.key == architecture.key  # a text names no images


@spaces
def test_height_and_width_alike_are_a_square(name: str) -> None:
    square, sides = of_shape(name, 3, 32), of_shape(name, 3, [32, 32])
    (architecture,) = random_architectures(square, 1)
    assert square.parts(architecture) == sides.parts(architecture)
    assert square.source(architecture) == sides.source(architecture)


def test_the_latency_of_such_a_network_is_measured() -> None:
    space = of_shape("nasbench201", 4, [32, 64])
    assert LatencyTable(space).seconds(random_architectures(space, 1)[0]) > 0


@pytest.mark.parametrize("sides", [[32], [32, 30], [32, 32, 32], [32, True], ["32", 32], [32, 2048]])
def test_sides_that_are_none_are_refused_in_words(sides: Any) -> None:
    words = "resolution: must be a whole number from 4 to 1024, a multiple of 4 or a list of 2 such, but is "
    with pytest.raises(SpaceError, match=words):
        NasBench201(resolution=sides)


@pytest.mark.parametrize("sides", ["48x96", " 48 × 96", "48,96"])
def test_sides_written_as_a_text_are_told_how_they_are_spelled(sides: str) -> None:
    with pytest.raises(SpaceError, match=r"Did you mean \[48, 96\]\?"):
        NasBench201(resolution=sides)  # type: ignore[arg-type]
    with pytest.raises(SpaceError, match=r"or a list of 2 such, but is '48x97'$"):
        NasBench201(resolution="48x97")  # type: ignore[arg-type]


def test_both_sides_are_multiples_of_a_patch() -> None:
    assert AutoFormer(resolution=(32, 64), patch=32).input_shape == (3, 32, 64)
    with pytest.raises(SpaceError, match=r"resolution: must be a multiple of the patch, 16, but is \(32, 40\)"):
        AutoFormer(resolution=(32, 40))


def test_a_recipe_says_channels_and_sides_and_one_of_before_is_read_as_ever() -> None:
    recipe = load_recipe({"space": {"use": "nasbench201", "channels_in": 1, "resolution": [28, 32]}, "score": "naswot"})
    assert recipe.build_space() == NasBench201(channels_in=1, resolution=(28, 32))
    again = load_recipe(recipe.resolved())
    assert again == recipe and not again.difference(recipe)
    stored = {"use": "nasbench201", "num_classes": 10, "resolution": 32, "channels": 16, "cells": 5, "residual": False}
    assert not load_recipe({"space": stored}).difference(load_recipe({"space": "nasbench201"}))


def test_a_score_takes_images_of_the_space_unless_a_number_or_two_are_given() -> None:
    assert image_shape((4, 32, 64), None) == (4, 32, 64)
    assert image_shape((4, 32, 64), 16) == (4, 16, 16)
    assert image_shape((4, 32, 64), (16, 32)) == (4, 16, 32)
    assert image_shape((4, 100), 16) == (4, 16)
    with pytest.raises(ScoreError, match=r"resolution: must be one number for inputs of shape \(4, 100\), but is"):
        image_shape((4, 100), (16, 32))


@slow
@spaces
def test_every_space_keeps_its_contract_for_grey_images_that_are_not_square(name: str) -> None:
    check_search_space(of_shape(name, 1, [32, 48]), samples=8)
