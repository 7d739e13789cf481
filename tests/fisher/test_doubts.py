"""Fast derivatives are checked where they may be wrong, and only there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.support.networks import NETWORKS
from vkdnw_search.errors import ScoreError
from vkdnw_search.fisher.information import FisherPass, Rows, choose_scalars


def checked(model: nn.Module, images: Tensor, **options: object) -> Rows:
    chosen = choose_scalars(model, parameters=99, draws=3, generator=torch.Generator())
    fisher = FisherPass(directions=1, check=True, **options)  # type: ignore[arg-type]
    return fisher.checked_rows(model, images, chosen, generator=torch.Generator().manual_seed(1))


def passes(model: nn.Module, images: Tensor) -> int:
    """The number of forward passes that the rows take, without a check."""
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    chosen = choose_scalars(model, parameters=99, draws=1, generator=torch.Generator())
    FisherPass(directions=1).rows(model, images, chosen, generator=torch.Generator().manual_seed(1))
    return len(calls)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_check_finds_nothing_wrong_with_any_of_the_networks(name: str) -> None:
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    model = make().eval()
    assert checked(model, torch.randn(6, *shape)).wrong == ()


def test_a_network_that_shows_where_its_samples_are_is_run_once() -> None:
    make, shape = NETWORKS["residual"]
    assert passes(make().eval(), torch.randn(6, *shape)) == 1
    strided = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AvgPool2d(3), nn.Flatten(), nn.Linear(4, 3)).eval()
    assert passes(strided, torch.randn(8, 3, 8, 8)) == 1, "images may be as wide as the batch is long"


def test_a_network_with_as_many_tokens_as_samples_is_run_once_more_for_one_sample() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.mlp, self.head = nn.Conv2d(3, 5, 2, 2), nn.Linear(5, 5), nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.tanh(self.mlp(self.patch(x).flatten(2).transpose(1, 2))).square().mean(dim=1))

    assert passes(Tokens().eval(), torch.randn(4, 3, 4, 4)) == 2  # 4 tokens
    assert passes(Tokens().eval(), torch.randn(5, 3, 4, 4)) == 1


def test_derivatives_that_are_rounding_alone_are_not_called_wrong() -> None:
    class KeyBias(nn.Module):
        """Softmax takes a key's bias away again."""

        def __init__(self) -> None:
            super().__init__()
            self.patch, self.head = nn.Conv2d(3, 8, 2, 2), nn.Linear(8, 4)
            self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            x = self.patch(x).flatten(2).transpose(1, 2)
            attention = (self.query(x) @ self.key(x).transpose(1, 2)).softmax(dim=-1)
            return self.head((attention @ self.value(x)).mean(dim=1))

    torch.manual_seed(0)
    found = checked(KeyBias().eval(), torch.randn(6, 3, 8, 8))
    assert found.wrong == ()
    assert 0 < found.rows[..., 7].norm() < 1e-5 * found.rows.norm(), "the derivative by the key's bias"


class SavedAndChanged(nn.Module):
    """It cannot be trained: what the sigmoid gave is needed for its derivative, and changed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).sigmoid()
        x *= 2
        return self.fc(x.mean(dim=(2, 3)))


@pytest.mark.parametrize("memory", [None, 5_000])
def test_a_network_that_changes_what_derivatives_need_is_refused_whatever_the_memory(memory: int | None) -> None:
    with pytest.raises(RuntimeError, match=r"inplace operation|operation in place"):
        checked(SavedAndChanged().eval(), torch.randn(6, 3, 8, 8), memory=memory)


def test_a_memory_too_small_is_still_told_as_such() -> None:
    with pytest.raises(ScoreError, match=r"score\.memory"):
        checked(SavedAndChanged().eval(), torch.randn(6, 3, 8, 8), memory=10)
