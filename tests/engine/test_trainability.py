from __future__ import annotations

import math
import random

import pytest
import torch
from torch import Tensor, nn

from search_spaces.mobilenet import MobileNet
from search_spaces.nasbench201 import NasBench201
from vkdnw_search.engine.trainability import check

SHAPE = (3, 8, 8)


def network(*tail: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 5), *tail)


class Scaled(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by


class SideTracked(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(*network())
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        for name, module in self.named_children():
            x = x if name == "unused" else module(x)
        return x


class Gated(nn.Module):
    """A residual branch behind a gate that starts at zero (ReZero, arXiv 2003.04887)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch, self.fc = nn.Linear(192, 16), nn.Linear(16, 16), nn.Linear(16, 5)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x.flatten(1)))
        return self.fc(x + self.gate * self.branch(x))


def test_a_branch_behind_a_gate_that_starts_at_zero_can_be_trained() -> None:
    torch.manual_seed(0)
    assert check(Gated(), SHAPE, 5, 0) == []


def test_a_sound_network_has_no_faults_and_is_left_as_it_is() -> None:
    model = network(nn.BatchNorm1d(5)).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    assert check(model, SHAPE, 5, 0) == []
    assert not model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    "space", [NasBench201(cells=1), MobileNet(resolution=32, num_classes=10)], ids=lambda s: s.name
)
def test_networks_of_the_shipped_spaces_can_be_trained(space: NasBench201 | MobileNet) -> None:
    draw = random.Random(0)
    genome = tuple(
        3 if space.name == "nasbench201" else min(draw.randrange(len(gene.choices)), 1) for gene in space.genes
    )
    torch.manual_seed(0)
    model = space.build(space.decode(genome))  # type: ignore[arg-type]  # each space its own
    assert check(model, space.input_shape, space.num_classes, 0) == []


def test_what_no_gradient_reaches_is_named() -> None:
    assert check(SideTracked(), SHAPE, 5, 0) == ["no gradient reaches unused.weight, unused.bias"]
    dead = network()
    nn.init.constant_(dead[1].bias, -1e6)  # no unit of the hidden layer ever fires
    assert check(dead, SHAPE, 5, 0) == ["no gradient reaches 1.weight, 3.weight"]


def test_values_that_are_not_finite_are_named() -> None:
    assert check(network(Scaled(math.nan)), SHAPE, 5, 0) == ["its loss is nan after 0 steps"]


def test_a_network_whose_weights_cannot_lower_the_loss_is_named() -> None:
    (fault,) = check(network(Scaled(-1e-30)), SHAPE, 5, 0)
    assert fault.startswith(("its loss does not fall", "no gradient reaches"))


def test_a_network_without_weights_or_with_frozen_ones_is_named() -> None:
    assert check(nn.Flatten(), SHAPE, 192, 0) == ["it has no trainable parameters"]
    cut = network()
    cut.register_forward_hook(lambda module, inputs, output: output.detach())
    assert check(cut, SHAPE, 5, 0) == ["no trainable parameter reaches its output"]
