"""A plug-in for the fault tests: a proxy that misbehaves for chosen candidates, as their costs have it, and an
optimizer that begins with a network without any operation."""

from __future__ import annotations

import math
import os
import signal
import time
from dataclasses import dataclass
from typing import Literal

from torch import nn

from vkdnw_search.contracts import Probe, Problem
from vkdnw_search.determinism import seed_from
from vkdnw_search.optimizers.algorithms import RandomSearch
from vkdnw_search.records import Genome, Score

FAULTS = {0: "hangs", 1: "exhausts", 2: "dies", 3: "nan", 4: "inf"}
"""What befalls a candidate whose hashed cost leaves this remainder."""
EVERY = 12
SALT = 45
"""Of the hash: with it, each fault is met among the first 60 candidates of the test, the slow ones seldom."""


def fault_of(flops: int, parameters: int) -> str:
    return FAULTS.get(seed_from(SALT, flops, parameters) % EVERY, "")


@dataclass(frozen=True, kw_only=True)
class Faulty:
    """The number of tensors; or one of five faults, or an exception."""

    mode: Literal["mixed", "raises"] = "mixed"

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        assert probe.cost is not None
        if self.mode == "raises":
            raise RuntimeError("a bug in a proxy")
        match fault_of(probe.cost.flops, probe.cost.parameters):
            case "hangs":
                time.sleep(3600)
            case "exhausts":
                hoard = []
                while True:
                    hoard.append(bytearray(b"x" * 2**22))
            case "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            case "nan":
                return Score(math.nan)
            case "inf":
                return Score(math.inf)
        return Score(float(probe.cost.tensors) + (probe.cost.flops % 1000) / 1000)


class NothingFirst(RandomSearch):
    """The network all of whose edges are ``none``, then others at random."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem, children=8)
        self._nothing: list[Genome] = [tuple(gene.choices.index("none") for gene in problem.space.genes)]

    def _propose(self) -> list[Genome]:
        first, self._nothing = self._nothing, []
        return first or super()._propose()


PROXIES = {"faulty": Faulty}
OPTIMIZERS = {"nothing_first": NothingFirst}
