"""activation_memory: against counts by hand; a chain against its whole network."""

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.autoformer import AutoFormer
from search_spaces.macro import Macro
from search_spaces.mobilenet import MobileNet
from search_spaces.nasbench201 import NasBench201
from search_spaces.resnet import ResNet
from search_spaces.stages import Stages
from vkdnw_search.choices import Choice, space_of
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.cost.limits import Limits, Range
from vkdnw_search.cost.peak_memory import PeakMemory, memory_profile
from vkdnw_search.optimizers.variation import random_genome

FLOAT = 4


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(2, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.narrow(self.wide(x))


def peak(model: nn.Module, shape: tuple[int, ...]) -> int:
    return max(memory_profile(model.eval(), shape))


def test_a_chain_keeps_the_input_and_output_of_one_layer():
    assert peak(nn.Sequential(nn.Linear(16, 64), nn.Linear(64, 8)), (16,)) == FLOAT * (16 + 64)


def test_a_shortcut_keeps_its_input_until_the_addition():
    """2 channels of 4×4 in, 8 within, 2 out: all of them live in the second convolution."""
    assert peak(Residual(), (2, 4, 4)) == FLOAT * 16 * (2 + 8 + 2)


def test_views_and_results_in_place_take_nothing():
    layers = nn.Conv2d(1, 4, 1), nn.Flatten(), nn.Linear(64, 2)
    assert peak(nn.Sequential(*layers), (1, 4, 4)) == FLOAT * (16 + 64)
    assert peak(nn.Sequential(layers[0], nn.ReLU(inplace=True), *layers[1:]), (1, 4, 4)) == FLOAT * (16 + 64)
    assert peak(nn.Sequential(layers[0], nn.ReLU(), *layers[1:]), (1, 4, 4)) == FLOAT * (64 + 64)
    assert peak(nn.Identity(), (1, 4, 4)) == FLOAT * 16


SPACES = [
    NasBench201(cells=2),
    MobileNet(resolution=64),
    ResNet(resolution=64),
    Stages(resolution=64),
    Macro(),
    AutoFormer(resolution=64),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_the_peak_of_a_chain_is_that_of_its_whole_network(space):
    rng, memory = np.random.default_rng(0), PeakMemory(space)
    corners = [tuple(0 for _ in space.genes), tuple(len(gene.choices) - 1 for gene in space.genes)]
    for genome in [*corners, *(random_genome(space.genes, rng) for _ in range(4))]:
        architecture = space.decode(genome)
        assert memory(architecture) == memory.whole(architecture) > 0


def test_the_meta_device_gives_what_real_numbers_give():
    space = MobileNet(resolution=32, last_width=64)
    architecture = space.decode(tuple(len(gene.choices) // 2 for gene in space.genes))
    assert PeakMemory(space)(architecture) == peak(space.build(architecture), space.input_shape)


def looking(num_classes: int) -> nn.Module:
    width, depth = Choice("width", 4, 8), 2
    rates = [float(rate) for rate in torch.linspace(0, 0.1, depth).numpy()]
    return nn.Sequential(nn.Flatten(), nn.Linear(48, width), *map(nn.Dropout, rates), nn.Linear(width, num_classes))


def test_a_constructor_that_looks_at_its_numbers_is_traced_in_earnest():
    space = space_of(looking, input_shape=(3, 4, 4), num_classes=3)
    assert PeakMemory(space)(space.parse("width=8")) == FLOAT * (48 + 8)


def test_memory_is_found_only_where_a_limit_asks_for_it():
    space = NasBench201(cells=1)
    architecture = space.decode((3,) * 6)
    cost = CostCounter(space, Limits(flops=Range(maximum=1))).cost(architecture)
    assert cost.memory is None and cost.latency is None
    limits = Limits(memory=Range(maximum=1000))
    cost = CostCounter(space, limits).cost(architecture)
    assert cost.memory == PeakMemory(space)(architecture)
    assert limits.reason(cost).startswith("memory ") and " kB is above the limit 1 kB (by" in limits.reason(cost)
