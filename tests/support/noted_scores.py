"""Proxies that note each network they score, to be named in a recipe. Importable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from torch import nn

from vkdnw_search.contracts import Probe, Proxy
from vkdnw_search.determinism import seed_from
from vkdnw_search.errors import DegenerateNetwork
from vkdnw_search.proxies.aggregate import LogRankSum
from vkdnw_search.proxies.size import Flops
from vkdnw_search.recipe import registry
from vkdnw_search.records import Cost, Score

SCORED: list[tuple[int, int]] = []
"""FLOPs and seed of every network that was scored in this process."""

AUDITED: list[str] = [""]
"""The last is what an audit finds."""


@dataclass(frozen=True, kw_only=True)
class Noted:
    """The number of tensors, and a number in [0, 1) that depends on size and seed."""

    factor: int = 1

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        assert probe.cost is not None
        SCORED.append((probe.cost.flops, probe.seed))
        chance = seed_from(probe.cost.flops, probe.seed) % 9973 / 9973
        if chance < 0.05:
            raise DegenerateNetwork("chance")
        value = self.factor * probe.cost.tensors + chance
        return Score(value, chance / 10, {"tensors": probe.cost.tensors, "chance": chance})


@dataclass(frozen=True, kw_only=True)
class NotedSize:
    """The same by size alone, so that no network is built."""

    factor: int = 1

    def score_cost(self, cost: Cost) -> Score:
        SCORED.append((cost.flops, 0))
        chance = seed_from(cost.flops, cost.parameters) % 9973 / 9973
        return Score(self.factor * cost.tensors + chance, chance / 10, {"tensors": cost.tensors, "chance": chance})

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        assert probe.cost is not None
        return self.score_cost(probe.cost)


@dataclass(frozen=True, kw_only=True)
class NotedFast(Noted):
    """The same, with a fast way that is as right as the test says."""

    def check_fast_way(self, model: nn.Module, probe: Probe) -> str:
        return AUDITED[-1]

    def careful(self) -> Proxy:
        return Noted(factor=self.factor)


def noted_ranks(*, reference: int = 0) -> LogRankSum:
    """Log-ranks of FLOPs and of what is noted."""
    proxies: dict[str, Any] = {"flops": Flops(), "noted": NotedSize()}
    return LogRankSum(proxies=proxies, reference=reference)


def join(patch: pytest.MonkeyPatch) -> None:
    """Let recipes name these proxies: noted, noted_size, noted_fast and noted_ranks. Nothing is noted yet."""
    named = {"noted": Noted, "noted_size": NotedSize, "noted_fast": NotedFast, "noted_ranks": noted_ranks}
    for name, factory in named.items():
        patch.setitem(registry._joined["proxies"], name, factory)
    SCORED.clear()
