"""Weights are a function of the seed, whatever the constructor drew or left undrawn."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from search_spaces.mobilenet import MobileNet
from vkdnw_search.proxies import initialization
from vkdnw_search.proxies.initialization import draws_all, initialize, without_weights
from vkdnw_search.proxies.vkdnw import VkdnwSingle

KINDS = [
    lambda: nn.Linear(8, 8),
    lambda: nn.Conv2d(8, 8, 3),
    lambda: nn.ConvTranspose1d(8, 8, 3),
    lambda: nn.Conv3d(8, 8, 1, groups=2),
]


def draws(make: object) -> bool:
    """Whether a constructor moves the global generator."""
    before = torch.get_rng_state()
    make()  # type: ignore[operator]
    return not torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("make", KINDS)
def test_constructors_draw_nothing_inside_and_as_ever_before_and_after(make: object) -> None:
    assert draws(make)
    with without_weights():
        assert not draws(make)
    assert draws(make)


def test_constructors_draw_again_after_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), without_weights():
        _ = 1 / 0
    assert draws(KINDS[0])


def test_a_network_constructed_without_weights_is_initialized_to_the_same_as_one_with() -> None:
    space = MobileNet(resolution=32, num_classes=10, last_width=64)
    architecture = space.decode(tuple(len(gene.choices) // 3 for gene in space.genes))
    whole = space.build(architecture)
    with without_weights():
        bare = space.build(architecture)
    for model in (whole, bare):
        initialize(model, seed=5)
    others = bare.state_dict()
    assert all(torch.equal(tensor, others[name]) for name, tensor in whole.state_dict().items())


def test_weights_computed_from_others_are_not_drawn_and_stay() -> None:
    model = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    before = model.weight.clone()
    initialize(model, seed=5)
    assert torch.equal(model.weight, before) and not draws_all(model)
    assert draws_all(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 4)))


def test_another_thread_draws_meanwhile_and_two_take_turns() -> None:
    inside, done = threading.Event(), threading.Event()
    elsewhere: list[bool] = []

    def other() -> None:
        inside.wait(10)
        elsewhere.append(nn.Linear(2000, 1).weight.abs().max().item() > 0)  # drawn: U(−1/√2000, 1/√2000)
        elsewhere.append(nn.Linear(2000, 1).weight.std().item() > 0)
        done.set()
        with without_weights():  # waits until the first has left
            elsewhere.append(draws(KINDS[0]))

    thread = threading.Thread(target=other)
    thread.start()
    with without_weights():
        inside.set()
        assert done.wait(10)
        assert len(elsewhere) == 2
    thread.join(10)
    assert elsewhere == [True, True, False]
    assert draws(KINDS[0])


def test_only_a_score_that_draws_weights_itself_does_without_those_of_the_constructor() -> None:
    assert VkdnwSingle().draws_weights
    assert not VkdnwSingle(initialization="as_built").draws_weights


def test_kept_numbers_are_those_of_a_generator_and_so_are_those_that_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initialization, "MOST_KEPT", 2)
    monkeypatch.setattr(initialization, "BLOCK", 64)
    initialization._kept.cache_clear()
    generator = torch.Generator().manual_seed(9)
    drawn = torch.cat([torch.empty(64).normal_(generator=generator) for _ in range(5)])
    for _ in range(2):  # from a generator, then from what is kept
        model = nn.Sequential(nn.Linear(8, 4, bias=False), nn.Conv2d(1, 8, 3), nn.Linear(8, 25))  # 32, 72, 200
        initialize(model, seed=9)
        weights = [parameter for parameter in model.parameters() if parameter.dim() > 1]
        found = torch.cat([w.flatten() / (2 / w[0].numel()) ** 0.5 for w in weights])
        torch.testing.assert_close(found, drawn[:304])
    initialization._kept.cache_clear()


def test_initializing_a_network_leaves_the_kept_numbers_as_they_are() -> None:
    first, second = nn.Linear(30, 30), nn.Linear(30, 30)
    initialize(first, seed=2)
    with torch.no_grad():
        first.weight.zero_()
    initialize(second, seed=2)
    assert second.weight.std().item() == pytest.approx((2 / 30) ** 0.5, rel=0.1)
