"""Networks that compute something again in their backward pass have the derivatives of the same without it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointFunction, checkpoint

from tests.support.recomputing_networks import Checkpointed, Reversible
from vkdnw_search import score
from vkdnw_search.errors import ScoreError
from vkdnw_search.fisher.checkpoints import without_checkpoints
from vkdnw_search.fisher.information import FisherPass, choose_scalars
from vkdnw_search.proxies.jacov import Jacov
from vkdnw_search.proxies.vkdnw import VkdnwSingle

SMALL = VkdnwSingle(images=16, parameters=20)
PAIRS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "reentrant checkpoint": (lambda: Checkpointed(True), lambda: Checkpointed(None)),
    "checkpoint": (lambda: Checkpointed(False), lambda: Checkpointed(None)),
    "reversible, returns derivatives": (lambda: Reversible("returns"), lambda: Reversible("plain")),
    "reversible, leaves derivatives": (lambda: Reversible("leaves"), lambda: Reversible("plain")),
}


def rows(model: nn.Module, *, calibrate: bool) -> Tensor:
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    chosen = choose_scalars(model, parameters=99, draws=3, generator=torch.Generator())
    fisher = FisherPass(directions=2, calibrate=calibrate, check=True)
    found = fisher.checked_rows(model, images, chosen, generator=torch.Generator().manual_seed(1))
    assert found.wrong == ()
    return found.rows


@pytest.mark.parametrize("calibrate", [True, False], ids=["calibrated", "initial"])
@pytest.mark.parametrize("name", PAIRS)
def test_rows_are_those_of_the_same_network_that_computes_nothing_again(name: str, calibrate: bool) -> None:
    models = []
    for make in PAIRS[name]:
        torch.manual_seed(0)
        models.append(make().double().eval())
    ours, theirs = (rows(model, calibrate=calibrate) for model in models)
    assert theirs.norm() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_a_score_leaves_no_derivative_behind(name: str) -> None:
    torch.manual_seed(0)
    model = PAIRS[name][0]()
    model.get_parameter("fc.bias").grad = torch.ones(4)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = score(model, (3, 8, 8), proxy=SMALL)
    torch.manual_seed(0)
    assert found.value == pytest.approx(score(PAIRS[name][1](), (3, 8, 8), proxy=SMALL).value, rel=1e-4)
    assert {key for key, parameter in model.named_parameters() if parameter.grad is not None} == {"fc.bias"}
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_gradients_that_were_there_are_put_back() -> None:
    model = Reversible("leaves").double().eval()
    weight = model.get_parameter("stem.weight")
    weight.grad = kept = torch.ones_like(weight)
    rows(model, calibrate=True)
    assert weight.grad is kept and torch.equal(kept, torch.ones_like(weight))
    assert all(p.grad is None for p in model.parameters() if p is not weight)


def test_a_batch_norm_used_twice_by_a_reversible_network_is_refused_unless_statistics_are_fixed() -> None:
    model = Reversible("leaves", shared=True)
    with pytest.raises(ScoreError, match=r"must use each batch norm once .* batch_norm='initial'"):
        score(model, (3, 8, 8), proxy=SMALL)
    initial = VkdnwSingle(images=16, parameters=20, batch_norm="initial")
    torch.manual_seed(0)
    found = score(Reversible("leaves", shared=True), (3, 8, 8), proxy=initial)
    torch.manual_seed(0)
    assert found.value == pytest.approx(score(Reversible("plain", shared=True), (3, 8, 8), proxy=initial).value)


def test_a_function_that_cannot_be_differentiated_is_named() -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, layer):  # type: ignore[no-untyped-def]
            return layer(x)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.hidden, self.fc = nn.Conv2d(3, 4, 8), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(Broken.apply(self.stem(x).flatten(1), self.hidden))

    with pytest.raises(ScoreError, match=r"its autograd function Broken raises NotImplementedError"):
        score(Network(), (3, 8, 8), proxy=SMALL)


def test_other_scores_take_checkpointed_networks_too() -> None:
    values = []
    for reentrant in (True, False, None):
        torch.manual_seed(0)
        values.append(score(Checkpointed(reentrant), (3, 8, 8), proxy=Jacov(images=8)).value)
    assert values[0] == values[1] == values[2]


def test_checkpoints_work_as_ever_elsewhere_and_afterwards() -> None:
    runs: list[str] = []
    original = CheckpointFunction.apply

    def part(x: Tensor) -> Tensor:
        runs.append(threading.current_thread().name)
        return x.sin().sin()

    def train() -> None:
        for reentrant in (True, False):
            checkpoint(part, torch.ones(2, requires_grad=True), use_reentrant=reentrant).sum().backward()

    with without_checkpoints():
        other = threading.Thread(target=train, name="other")
        other.start()
        other.join()
        assert runs == ["other"] * 4, "each forward, and each again in its backward"
        with without_checkpoints():
            checkpoint(part, torch.ones(2, requires_grad=True), use_reentrant=False).sum().backward()
        assert len(runs) == 5
    train()
    assert len(runs) == 9 and CheckpointFunction.apply == original
