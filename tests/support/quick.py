"""Proxies for tests of the engine: instant, or failing on purpose. Importable, so that workers can unpickle them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import nn

from vkdnw_search.contracts import Probe
from vkdnw_search.determinism import seed_from
from vkdnw_search.errors import DegenerateNetwork
from vkdnw_search.records import Cost, Score


def leave_out_the_end(patch: pytest.MonkeyPatch) -> None:
    """Neither check the export, nor the winner's trainability, nor measure it in other ways, nor write a report: tests
    of their own do, and each takes seconds."""
    patch.setattr("vkdnw_search.output.module._must_equal", lambda modules, check: None)
    patch.setattr("vkdnw_search.engine.gate.try_training", trained)
    patch.setattr("vkdnw_search.run.by_measures", lambda judgement, *_: judgement)
    patch.setattr("vkdnw_search.output.report.write_report", lambda *_, **__: None)


def trained(trial: object) -> str:
    """As if every network could be trained."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Quick:
    """ℵ plus a number in [0, 1) that is a function of the candidate's seed: ranks like VKDNW_single, costs nothing."""

    bounded: bool = True

    def score_cost(self, cost: Cost) -> Score:
        chance = (seed_from(cost.flops, cost.parameters) % 10_000) / 10_000
        return Score(cost.tensors + chance, 0.01, {"layers": cost.tensors, "chance": chance})

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        assert probe.cost is not None
        return self.score_cost(probe.cost)


@dataclass(frozen=True, kw_only=True)
class QuickWithBound(Quick):
    """The same, and it knows what it cannot exceed."""

    def upper_bound(self, cost: Cost) -> float:
        return cost.tensors + 1.0


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Appends its seed to a file for every network it scores."""

    file: str

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        with Path(self.file).open("a") as file:
            file.write(f"{probe.seed}\n")
        assert probe.cost is not None
        return Score(probe.cost.tensors)


@dataclass(frozen=True, kw_only=True)
class Failing:
    """Fails in one way for networks with fewer than 200 tensors, and scores the others."""

    how: str

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        assert probe.cost is not None
        if probe.cost.tensors >= 200:
            return Score(float(probe.cost.tensors))
        if self.how == "raises":
            raise RuntimeError("a bug in a proxy")
        if self.how == "degenerate":
            raise DegenerateNetwork("nothing reaches the output")
        return Score({"nan": math.nan, "inf": math.inf}[self.how])
