"""What holds for every proxy that the project installs."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import pickle
import tomllib
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import nn

from vkdnw_search.contracts import DrawsWeights, Probe
from vkdnw_search.errors import DegenerateNetwork
from vkdnw_search.proxies.initialization import without_weights

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PROXIES: dict[str, str] = PROJECT["entry-points"]["vkdnw_search.proxies"]
BASELINES = (
    "flops parameters trainable_layers grad_norm grasp snip synflow jacov naswot zen gradsign zico te_nas az_nas "
    "expressivity progressivity trainability"
)
every = pytest.mark.parametrize("name", PROXIES)


def load(name: str) -> Any:
    module, _, attribute = PROXIES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def proxy(name: str) -> Any:
    """With few images, unless it needs many."""
    make = load(name)
    few = "images" in inspect.signature(make).parameters and name not in {"vkdnw_single", "consensus"}
    return make(images=6) if few else make()


class Unit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)) + x)


def network(classes: int = 1000) -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
    down = nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
    return nn.Sequential(
        stem, Unit(8), down, Unit(12), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(12, classes)
    )


def probe(seed: int = 0, classes: int = 1000) -> Probe:
    return Probe(input_shape=(3, 8, 8), num_classes=classes, seed=seed)


def test_the_baselines_of_the_field_are_installed():
    assert set(BASELINES.split()) <= set(PROXIES)


@every
def test_a_score_is_finite_and_a_function_of_the_seed_alone(name):
    first = proxy(name)(network(), probe())
    torch.randn(7)  # whatever else draws random numbers in between
    again = proxy(name)(network(), probe())
    assert math.isfinite(first.value) and all(map(math.isfinite, first.terms.values()))
    assert first.terms and again.terms == first.terms and again.value == first.value


@every
def test_a_score_that_draws_weights_needs_none_and_is_that_of_a_network_of_its_own(name):
    """What several such scores may be given in turn: a network without weights, then one that others have looked at."""
    mine = proxy(name)
    if not (isinstance(mine, DrawsWeights) and mine.draws_weights):
        pytest.skip("it keeps the weights of the network, and sees it as it came")
    alone = mine(network(), probe())
    with without_weights():
        shared = network()
    for weight in shared.parameters():
        nn.init.constant_(weight, math.nan)
    assert mine(shared, probe()) == alone
    for other in (proxy(n) for n in PROXIES):
        if isinstance(other, DrawsWeights) and other.draws_weights:
            other(shared, probe(seed=1))
    assert mine(shared, probe()) == alone


@every
def test_the_global_random_stream_is_left_alone(name):
    model = network()
    state = torch.random.get_rng_state()
    proxy(name)(model, probe())
    assert torch.equal(torch.random.get_rng_state(), state)


@every
def test_a_proxy_survives_the_way_to_another_process(name):
    one = proxy(name)
    assert pickle.loads(pickle.dumps(one)) == one


@every
def test_options_are_keyword_only_with_a_default_and_a_description(name):
    make = load(name)
    hints = get_type_hints(make, include_extras=True)
    for option in inspect.signature(make).parameters.values():
        assert option.kind is option.KEYWORD_ONLY and option.default is not option.empty
        assert any(isinstance(part, str) for part in get_args(hints[option.name])[1:]), option.name


@every
def test_instances_are_frozen(name):
    one = proxy(name)
    field = next(iter(dataclasses.fields(one)), None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, field.name if field else "anything", 1)


@every
def test_values_that_overflow_are_a_degenerate_network_not_a_number(name):
    if name in {"flops", "parameters", "trainable_layers"}:
        pytest.skip("does not look at values")

    class Overflow(nn.Module):
        def forward(self, x):
            return x * 1e30 * 1e30 * 1e300

    model = network(10)
    model[2].append(Overflow())
    model[2].append(nn.Conv2d(12, 12, 1))
    with pytest.raises(DegenerateNetwork):
        proxy(name)(model, probe(classes=10))
