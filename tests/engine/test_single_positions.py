"""Convolutions that see a single position: which they are, what they lose, and where a user reads of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.support.quick import Quick
from vkdnw_search import search
from vkdnw_search.engine.doctor import examine, page
from vkdnw_search.engine.single_positions import in_network, single_positions
from vkdnw_search.recipe.recipe import load_recipe

TINY = ["space={use: nasbench201, channels: 4, cells: 1}", "score={use: flops}", "limits={}", "executor=inline"]


def halving(times: int) -> nn.Module:
    """Convolutions of stride 2, with a kernel of 1×1 and pooling among them, as classifiers end."""
    convs = [nn.Conv2d(2, 2, 3, stride=2, padding=1) for _ in range(times)]
    return nn.Sequential(nn.Conv2d(2, 2, 1), *convs, nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 2, 1), nn.Flatten())


@pytest.mark.parametrize(("side", "alone"), [(8, 1), (9, 0), (4, 2), (1, 4), (16, 0)])
def test_the_layers_behind_a_map_of_one_position_are_counted(side: int, alone: int) -> None:
    """8 → 4 → 2 → 1 → 1: the fourth sees one position, and kernels of 1×1 lose nothing."""
    found = single_positions(halving(4), (2, side, side))
    assert (found.alone, found.kernels, found.input_shape) == (alone, 4, (2, side, side))


def test_a_map_of_one_row_is_no_single_position() -> None:
    assert single_positions(halving(3), (2, 1, 64)).alone == 0


def test_such_layers_use_the_middle_weight_of_each_kernel_alone() -> None:
    model = halving(4)
    model(torch.randn(3, 2, 8, 8)).square().sum().backward()
    kernels = [layer.weight.grad for layer in model if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]
    used = [int(grad.abs().sum(dim=(0, 1)).count_nonzero()) for grad in kernels if grad is not None]
    assert used == [9, 9, 4, 1], "the third sees 2×2 positions"


def test_a_network_that_cannot_be_looked_at_ends_no_run() -> None:
    class Broken:
        input_shape = (3, 8, 8)

        def build(self, architecture: object) -> nn.Module:
            raise RuntimeError("no")

    assert in_network(Broken(), None) is None  # type: ignore[arg-type, type-var]


def test_images_that_are_too_small_are_told_before_a_run_and_after_it() -> None:
    words = [*TINY, "stop.evaluations=3"]
    told = page(examine(load_recipe("nb201", [*words, "space.resolution=4"])), evaluations=3)
    assert "images       too small for " in told and "images of 3×4×4 are 1×1 before " in told
    assert "too small" not in page(examine(load_recipe("nb201", [*words, "space.resolution=16"])), evaluations=3)
    for resolution, warned in (("4", True), ("16", False)):
        result = search("nb201", [*words, f"space.resolution={resolution}"], proxy=Quick())
        assert result.judgement is not None
        assert any("the winner's images of 3×" in warning for warning in result.judgement.warnings) == warned
