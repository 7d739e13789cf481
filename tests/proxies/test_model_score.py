from __future__ import annotations

import copy
import math
import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.support.foreign_kinds import Fixed, Pruned
from tests.support.networks import NETWORKS, Residual
from tests.support.oracles import fisher_matrix
from vkdnw_search import score
from vkdnw_search.contracts import Probe
from vkdnw_search.errors import DegenerateNetwork, ScoreError
from vkdnw_search.fisher.information import FisherPass, choose_scalars
from vkdnw_search.proxies.saliency import SynFlow
from vkdnw_search.proxies.size import Flops, TrainableLayers
from vkdnw_search.proxies.vkdnw import VkdnwSingle, count_layers
from vkdnw_search.records import Cost

SMALL = VkdnwSingle(images=24, directions="all", resolution=None)


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_has_a_score_between_its_layers_and_its_bound(name: str) -> None:
    make, shape = NETWORKS[name]
    model = make()
    value = score(model, shape, proxy=SMALL)
    layers = count_layers(model, "tensors")
    assert layers <= value.value <= layers + math.log(9)
    assert value.value == value.terms["trainable_layers"] + value.terms["entropy"]
    assert value.standard_error > 0


def test_the_score_is_a_function_of_the_seed_alone() -> None:
    model = Residual()
    first = score(model, (3, 8, 8), proxy=SMALL, seed=1)
    torch.manual_seed(99)
    assert score(model, (3, 8, 8), proxy=SMALL, seed=1) == first
    assert score(model, (3, 8, 8), proxy=SMALL, seed=2).value != first.value


@pytest.mark.parametrize("fails", [False, True], ids=["returning", "raising"])
def test_the_users_network_and_random_state_are_as_they_were(fails: bool) -> None:
    model = Residual().train()
    model.stem.weight.requires_grad_(False)
    model.fc.weight.grad = torch.ones_like(model.fc.weight)
    calls: list[int] = []
    model.norm.register_forward_hook(lambda *_: calls.append(1))
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    proxy = VkdnwSingle(images=1, directions=1) if fails else SMALL
    if fails:
        with pytest.raises(ScoreError, match="images × directions must be at least"):
            score(model, (3, 8, 8), proxy=proxy)
    else:
        score(model, (3, 8, 8), proxy=proxy)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training and not model.stem.weight.requires_grad and model.a.weight.requires_grad
    assert torch.equal(model.fc.weight.grad, torch.ones_like(model.fc.weight)) and model.a.weight.grad is None
    assert len(model.norm._forward_hooks) == 1
    assert torch.equal(state, torch.get_rng_state())


def test_frozen_tensors_do_not_count() -> None:
    model = Residual()
    model.stem.weight.requires_grad_(False)
    assert score(model, (3, 8, 8), proxy=SMALL).terms["trainable_layers"] == count_layers(Residual(), "tensors") - 1


def test_a_network_whose_layers_see_the_samples_in_another_order_is_found_and_differentiated_literally() -> None:
    class Swapped(nn.Module):
        """Its hidden layer sees the third sample before the second."""

        def __init__(self) -> None:
            super().__init__()
            self.embed, self.hidden, self.head = nn.Linear(48, 6), nn.Linear(6, 6), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            order = [0, 2, 1, *range(3, len(x))] if len(x) > 2 else list(range(len(x)))
            return self.head(torch.tanh(self.hidden(torch.tanh(self.embed(x.flatten(1)))[order]))[order])

    model, images = Swapped().double(), torch.randn(16, 3, 4, 4, dtype=torch.float64)
    chosen = choose_scalars(model, parameters=99, draws=3, generator=torch.Generator().manual_seed(0))
    truth = [fisher_matrix(model, images, [(s.name, s.indices[draw]) for s in chosen]) for draw in range(3)]
    for check in (True, False):
        found = FisherPass(check=check).checked_rows(model, images, chosen, generator=torch.Generator().manual_seed(1))
        matrices = found.rows.mT @ found.rows / 16
        assert torch.allclose(matrices, torch.stack(truth), rtol=1e-9, atol=1e-15) == check
        assert found.wrong == (("hidden.weight", "hidden.bias") if check else ())


def test_a_network_without_logits_is_refused_in_words() -> None:
    with pytest.raises(ScoreError, match=r"must return outputs \(N, classes\) or \(N, …\).*returns \(3, 4\)"):
        score(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), Transposed()), (2, 2))
    with pytest.raises(ScoreError, match=r"must accept inputs of shape \(2, 4\)"):
        score(nn.Linear(3, 2), (4,))


class Transposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x]).T


def test_baselines_score_any_network_too() -> None:
    assert score(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (3, 2, 2), proxy=Flops()).value == 60


def test_a_score_is_the_same_where_gradients_are_switched_off() -> None:
    with torch.no_grad():
        off = score(Residual(), (3, 8, 8), proxy=SMALL)
    assert off == score(Residual(), (3, 8, 8), proxy=SMALL)


def test_what_counts_as_a_layer_is_an_option_and_depth_is_that_of_the_search_space() -> None:
    model = Residual()
    owned = [list(module.parameters(recurse=False)) for module in model.modules()]
    assert count_layers(model, "tensors") == sum(map(len, owned))
    assert count_layers(model, "modules") == sum(map(bool, owned))
    assert count_layers(model, "depth") == sum(any(p.dim() > 1 for p in own) for own in owned)
    probe = Probe((3, 8, 8), 10, 0, cost=Cost(flops=1, macs=1, parameters=1, layers=7, tensors=9, modules=8))
    for what, layers in {"depth": 7, "modules": count_layers(model, "modules")}.items():
        proxy = replace(SMALL, layers=what)
        value = proxy(copy.deepcopy(model), probe)
        assert value.terms["trainable_layers"] == layers
    assert replace(SMALL, layers="depth").upper_bound(probe.cost) == 7 + math.log(9)


def test_a_network_most_of_whose_weights_change_nothing_is_refused_by_their_names() -> None:
    proxy = VkdnwSingle(images=32, directions="all", draws=1)
    with pytest.raises(DegenerateNetwork, match=r"78 of 84 chosen weights change no logit \(blocks.1.weight, .* index"):
        score(Pruned(set_index=False), (3, 8, 8), proxy=proxy)
    assert score(Pruned(set_index=True), (3, 8, 8), proxy=proxy).terms["trainable_layers"] == 84


def test_a_network_whose_train_returns_nothing_is_scored_as_another() -> None:
    class Silent(Residual):
        def train(self, mode: bool = True) -> None:  # type: ignore[override]
            super().train(mode)

    torch.manual_seed(0)
    model = Silent()
    torch.manual_seed(0)
    free = ("aten::_convolution_mode", "aten::add_", "aten::mean")
    for proxy in (SMALL, SynFlow(), TrainableLayers(), Flops()):
        found, expected = (score(m, (3, 8, 8), proxy=proxy, free_operators=free) for m in (model, Residual()))
        assert found == expected


@pytest.mark.parametrize(
    ("model", "given", "accepted"),
    [
        (Fixed(3, 64), (3, 32, 32), "(3, 64, 64)"),
        (Fixed(1, 28), (3, 32, 32), "(1, 28, 28)"),
        (Fixed(4, 9), (3, 9, 9), "(4, 9, 9)"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(30), nn.Flatten(), nn.Linear(16, 5)),
            (3, 32, 32),
            "(3, 64, 64)",
        ),
        (nn.Sequential(nn.Flatten(), nn.Linear(147, 5)), (3, 32, 32), "(3, 7, 7)"),
        (nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3)), (3, 8, 8), "(7,)"),
    ],
)
def test_a_network_that_refuses_its_input_tells_one_that_it_accepts(
    model: nn.Module, given: tuple[int, ...], accepted: str
) -> None:
    with pytest.raises(
        ScoreError, match=rf"must accept .*, but: .*\. It accepts an input of shape {re.escape(accepted)}$"
    ):
        score(model, given)


def test_a_network_that_refuses_without_a_word_is_told_by_the_line_that_did() -> None:
    model = Fixed(3, 1000)  # larger than what is tried
    words = r"Fixed: must accept inputs of shape \(2, 3, 8, 8\), but: AssertionError in foreign_kinds.py, line \d+: "
    with pytest.raises(ScoreError, match=rf"^{words}assert x\.shape\[-1\] == self\.side$"):
        score(model, (3, 8, 8))
