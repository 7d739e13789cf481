"""Networks that keep in evaluation mode what they computed from their weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vkdnw_search import score
from vkdnw_search.contracts import Probe
from vkdnw_search.errors import ScoreError
from vkdnw_search.fisher.module_state import keeps_tensors, restored
from vkdnw_search.proxies.vkdnw import VkdnwSingle

SMALL = VkdnwSingle(images=16, parameters=20)


class Biased(nn.Module):
    """Attention over tokens whose biases are looked up in a table of weights.

    Args:
        keeps: what is kept in evaluation mode: nothing, an entry of a dict that train() empties or not, an entry of a
            list within a dict, an attribute, a buffer; or an entry of a dict that belongs to no module.
    """

    elsewhere: dict[Any, Tensor]

    def __init__(self, keeps: str) -> None:
        super().__init__()
        self.keeps = keeps
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 4)
        self.biases = nn.Parameter(torch.linspace(-1, 1, 4))
        self.register_buffer("places", (torch.arange(4)[:, None] - torch.arange(4)).abs(), persistent=False)
        self.register_buffer("table", None, persistent=False)
        self.cache: dict[str, Any] = {"nested": []}
        self.attribute: Tensor | None = None

    def train(self, mode: bool = True) -> Biased:
        super().train(mode)
        if mode and self.keeps == "dict that train() empties":
            self.cache.clear()
        return self

    def bias(self) -> Tensor:
        if self.training or self.keeps == "nothing":
            return self.biases[self.places]
        if self.keeps == "list in a dict":
            if not self.cache["nested"]:
                self.cache["nested"].append(self.biases[self.places])
            return self.cache["nested"][0]
        if self.keeps in ("attribute", "buffer"):
            name = "table" if self.keeps == "buffer" else "attribute"
            if getattr(self, name) is None:
                setattr(self, name, self.biases[self.places])
            return getattr(self, name)
        cache: dict[Any, Any] = self.elsewhere if self.keeps == "dict elsewhere" else self.cache
        if "bias" not in cache:
            cache["bias"] = self.biases[self.places]
        return cache["bias"]

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return x + self.out((q @ k.transpose(1, 2) + self.bias()).softmax(dim=-1) @ v)


def network(keeps: str) -> nn.Module:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.blocks = nn.Conv2d(3, 4, 4, 4), nn.Sequential(Biased(keeps), Biased(keeps))
            self.head = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.blocks(self.stem(x).flatten(2).transpose(1, 2)).mean(dim=1))

    Biased.elsewhere = {}
    return Network()


KEPT = ("dict", "dict that train() empties", "list in a dict", "attribute", "buffer")


@pytest.mark.parametrize("keeps", KEPT)
def test_what_is_kept_between_passes_does_not_change_the_score(keeps: str) -> None:
    probe = Probe((3, 8, 8), 4, 0)
    for proxy in (SMALL, VkdnwSingle(images=16, parameters=20, check=True, initializations=2),
                  VkdnwSingle(images=16, parameters=20, memory=10_000)):  # fmt: skip
        assert proxy(network(keeps), probe) == proxy(network("nothing"), probe)
    assert score(network(keeps), (3, 8, 8), proxy=SMALL) == score(network("nothing"), (3, 8, 8), proxy=SMALL)


def test_what_train_empties_may_be_full_when_a_network_is_scored() -> None:
    model = network("dict that train() empties").eval()
    with torch.no_grad():
        model(torch.zeros(2, 3, 8, 8))
    assert score(model, (3, 8, 8), proxy=SMALL) == score(network("nothing"), (3, 8, 8), proxy=SMALL)


@pytest.mark.parametrize("keeps", ["dict", "list in a dict", "attribute"])
def test_what_a_network_kept_before_it_is_scored_is_refused_by_name(keeps: str) -> None:
    model = network(keeps).eval()
    with torch.no_grad():
        model(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ScoreError, match=r"^blocks\.0: must compute .* does not use biases and keeps a tensor in "):
        score(model, (3, 8, 8), proxy=SMALL)


def test_a_network_that_keeps_a_graph_is_refused_in_words() -> None:
    model = network("attribute").eval()
    model(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ScoreError, match=r"must be a network that can be copied .*empty that"):
        score(model, (3, 8, 8), proxy=SMALL)


def test_what_is_kept_outside_of_modules_is_refused_in_words() -> None:
    with pytest.raises(ScoreError, match="must compute what it needs from its weights in every pass"):
        VkdnwSingle(images=16, parameters=20, check=True)(network("dict elsewhere"), Probe((3, 8, 8), 4, 0))


def test_an_unused_weight_beside_a_constant_buffer_is_no_fault() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mask_token = nn.Parameter(torch.ones(3))  # for pretraining alone
            self.register_buffer("grid", torch.rand(48))
            self.fc = nn.Linear(48, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.flatten(1) * self.grid)

    assert score(Masked(), (3, 4, 4), proxy=SMALL).terms["trainable_layers"] == 3


def test_a_module_has_what_it_had() -> None:
    module: Any = nn.Conv2d(3, 3, 1)
    module.cache = {"a": [1, 2], "b": {3}}
    inner, keys = module.cache["a"], list(module.cache)
    weight = module.weight
    with restored(nn.Sequential(module)):
        module.cache["a"][:] = [2, 1, torch.ones(1)]
        module.cache["b"].add(4)
        module.cache["c"] = module.cache.pop("a")
        module.table = torch.ones(2)
        module.weight = nn.Parameter(torch.zeros(1))
        assert keeps_tensors(module) == ["cache", "table"]
    assert module.cache == {"a": [1, 2], "b": {3}} and list(module.cache) == keys
    assert module.cache["a"] is inner and module.weight is weight and not hasattr(module, "table")
    assert not keeps_tensors(module)
