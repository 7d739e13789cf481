from __future__ import annotations

import pytest
import torch
from torch import nn

from vkdnw_search.contracts import HasCostScore, Probe
from vkdnw_search.proxies.size import Flops, Parameters, TrainableLayers
from vkdnw_search.records import Cost

COST = Cost(flops=1000, macs=900, parameters=50, layers=3, tensors=7, modules=4)
PROBE = Probe(input_shape=(3, 8, 8), num_classes=5, seed=0)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, stride=2, bias=False),  # 108 weights at 16 positions
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=4, padding=1),  # 36 weights at 16 positions, 4 biases
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),  # 20 weights, 5 biases
    )


def test_the_counts_of_a_small_network_are_those_made_by_hand():
    assert Flops()(network(), PROBE).value == 108 * 16 + 36 * 16 + 20
    assert Parameters()(network(), PROBE).value == 108 + 8 + 40 + 25
    assert TrainableLayers()(network(), PROBE).value == 1 + 2 + 2 + 2
    assert TrainableLayers(count="modules")(network(), PROBE).value == 4


def test_frozen_weights_do_not_count():
    model = network()
    model[0].weight.requires_grad_(False)
    assert Parameters()(model, PROBE).value == 8 + 40 + 25
    assert TrainableLayers()(model, PROBE).value == 6
    assert TrainableLayers(count="modules")(model, PROBE).value == 3


@pytest.mark.parametrize(
    ("proxy", "value"),
    [(Flops(), 1000), (Parameters(), 50), (TrainableLayers(), 7), (TrainableLayers(count="modules"), 4)],
)
def test_the_cost_alone_gives_the_score(proxy, value):
    assert isinstance(proxy, HasCostScore)
    score = proxy.score_cost(COST)
    assert score.value == value and list(score.terms.values()) == [value]


def test_flops_are_read_from_the_probe_where_the_engine_counted_them():
    assert Flops()(network(), Probe(input_shape=(3, 8, 8), num_classes=5, seed=0, cost=COST)).value == 1000


def test_counting_leaves_the_network_as_it_was():
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Flops()(model, PROBE)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
