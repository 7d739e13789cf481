"""Proxies with a fast way that may be wrong, and a space of networks for which that of VKDNW is. Importable."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vkdnw_search.contracts import Probe
from vkdnw_search.errors import DegenerateNetwork, ScoreError
from vkdnw_search.records import Gene, Genome, Score


@dataclass(frozen=True)
class Width:
    width: int

    @property
    def key(self) -> str:
        return f"w{self.width}"


class Swapped(nn.Module):
    """Its hidden layer sees the third sample before the second, which no rule for a layer can see."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.hidden, self.head = nn.Linear(48, width), nn.Linear(width, width), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        order = [0, 2, 1, *range(3, len(x))] if len(x) > 2 else list(range(len(x)))
        return self.head(torch.tanh(self.hidden(torch.tanh(self.embed(x.flatten(1)))[order]))[order])


class Straight(Swapped):
    """The same with its samples in order."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(torch.tanh(self.embed(x.flatten(1))))))


class Widths:
    """Twelve networks of one kind."""

    name, input_shape, num_classes = "widths", (3, 4, 4), 4
    genes = (Gene("width", tuple(range(4, 16)), ordered=True),)
    free_operators = frozenset({"aten::tanh", "aten::index", "aten::slice", "aten::select", "aten::copy_"})

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def decode(self, genome: Genome) -> Width:
        return Width(self.genes[0].choices[genome[0]])  # type: ignore[arg-type]  # numbers

    def parse(self, text: str) -> Width:
        return Width(int(text[1:]))

    def build(self, architecture: Width) -> nn.Module:
        model: nn.Module = self.kind(architecture.width)
        return model

    def source(self, architecture: Width) -> str:
        raise NotImplementedError  # asked for by the protocol; nothing of this space is exported


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """The number of parameters; its fast way adds 1000 where it is wrong. Each comparison leaves a line in a file."""

    file: str
    wrong: bool = False
    degenerate: int = 0
    seconds: float = 0.0
    literal: bool = False
    alone: bool = False

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        parameters = float(sum(p.numel() for p in model.parameters()))
        return Score(parameters + 1000 * (self.wrong and not self.literal))

    def check_fast_way(self, model: nn.Module, probe: Probe) -> str:
        time.sleep(self.seconds)
        assert probe.cost is not None
        with Path(self.file).open("a") as file:
            file.write(f"{probe.seed} {probe.cost.parameters}\n")
        if len(self.checks()) <= self.degenerate:
            raise DegenerateNetwork("nothing reaches the output")
        return "a thousand too much" if self.wrong else ""

    def careful(self) -> Shortcut:
        if self.alone:
            raise ScoreError("Shortcut: has no way but the fast one")
        return replace(self, literal=True)

    def checks(self) -> list[str]:
        """The comparisons so far."""
        return Path(self.file).read_text().splitlines() if Path(self.file).exists() else []
