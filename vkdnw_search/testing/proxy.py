"""check_proxy: does a proxy keep its contract?"""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from vkdnw_search.contracts import HasCostScore, HasRelativeFitness, HasUpperBound, Probe
from vkdnw_search.cost.counter import count
from vkdnw_search.determinism import device_of, forked_generators, seed_from
from vkdnw_search.errors import DegenerateNetwork
from vkdnw_search.proxies.plain import name_of, score_with
from vkdnw_search.records import Cost, Score
from vkdnw_search.testing.findings import Findings, global_random_state, said

INPUT_SHAPE, CLASSES = (3, 16, 16), 10
FREE = ("aten::add",)


def check_proxy(proxy: Any, seed: int = 0) -> None:
    """Hold ``proxy`` to :class:`vkdnw_search.contracts.Proxy` on three small residual networks.

    Looks for: scores that are not a function of network and seed, or not finite, global random generators that were
    moved, a bound that a score exceeds, a score by cost that differs from the score of the network, relative fitness
    of a wrong shape, and proxies that cannot be pickled.

    Args:
        proxy: an instance, or a plain function of the network.
        seed: of the networks and probes.

    Raises:
        ConformanceError: with a sentence for each kind of fault.
    """
    findings = Findings(f"the proxy {name_of(proxy)}")
    with findings.no_error("pickle", "pickle: the proxy must survive the way to a worker process", _PICKLE):
        copy = pickle.loads(pickle.dumps(proxy))
        scores = [_check_network(proxy, copy, number, seed, findings) for number in range(len(NETWORKS))]
        _check_fitness(proxy, [score for score in scores if score is not None], findings)
    findings.report()


_PICKLE = "Make it a frozen dataclass of plain options, defined in a module, and build everything else when called"


def _check_network(proxy: Any, copy: Any, number: int, seed: int, findings: Findings) -> Score | None:
    """Score one network twice. Returns the score."""
    where = f"{name_of(proxy)}(network {number + 1} of {len(NETWORKS)}, seed {seed})"
    probe, model = _probe(number, seed, proxy), _network(number, seed)
    before = global_random_state()
    try:
        score = score_with(proxy, model, probe)
    except DegenerateNetwork as error:
        findings.add(
            "degenerate", f"{where}: must score a sound residual network, but raised DegenerateNetwork: {error}"
        )
        return None
    except Exception as error:
        findings.add("raises", f"{where}: must give a score, but raised {said(error)}")
        return None
    findings.require(
        global_random_state() == before,
        "global",
        f"{where}: must leave the global random generators of random, numpy and torch as they were, but moved one. "
        "Draw from torch.Generator().manual_seed(probe.seed), or within determinism.forked_generators(seed)",
    )
    _check_values(score, where, findings)
    with forked_generators(seed_from(seed, "elsewhere")):  # whatever else is drawn in between
        again = score_with(copy, _network(number, seed), probe)
    findings.require(
        (again.value, dict(again.terms)) == (score.value, dict(score.terms)),
        "repeat",
        f"{where}: must be a function of network and seed alone, but a copy of the proxy, asked again, says "
        f"{again.value!r} after {score.value!r}. Take all randomness from probe.seed, and keep nothing between calls",
    )
    _check_cost(proxy, score, probe.cost, where, findings)
    return score


def _check_values(score: Score, where: str, findings: Findings) -> None:
    terms = {"value": score.value, **score.terms}
    bad = {
        name: value for name, value in terms.items() if not isinstance(value, int | float) or not math.isfinite(value)
    }
    findings.require(
        not bad,
        "finite",
        f"{where}: value and terms must be finite numbers, but are not: {bad}. Raise DegenerateNetwork for a network "
        "without a usable score",
    )


def _check_cost(proxy: Any, score: Score, cost: Cost | None, where: str, findings: Findings) -> None:
    """What a proxy says from the cost alone must go with what it says from the network."""
    if cost is None:
        return
    if isinstance(proxy, HasUpperBound):
        bound = proxy.upper_bound(cost)
        findings.require(
            score.value <= bound,
            "bound",
            f"{where}: upper_bound must not be below any score of a network with this cost, but is {bound!r} and the "
            f"score {score.value!r}. Raise the bound: a search leaves out what it says cannot survive",
        )
    if isinstance(proxy, HasCostScore):
        told = proxy.score_cost(cost).value
        findings.require(
            told == score.value,
            "cost score",
            f"{where}: score_cost must say what scoring the network says, {score.value!r}, but says {told!r}",
        )


def _check_fitness(proxy: Any, scores: Sequence[Score], findings: Findings) -> None:
    if not isinstance(proxy, HasRelativeFitness) or not scores:
        return
    fitness = np.asarray(proxy.fitness(scores))
    findings.require(
        fitness.shape == (len(scores),) and bool(np.isfinite(fitness).all()),
        "fitness",
        f"fitness: must give one finite number for each of {len(scores)} scores, but gives {fitness.tolist()}",
    )


class _Unit(nn.Module):
    """A residual unit: convolution, batch norm, shortcut, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.conv(x)) + x)


NETWORKS = ((8, 1), (8, 2), (12, 2))
"""Channels, and units in each of two stages."""


def _network(number: int, seed: int) -> nn.Module:
    """A small residual network of two stages, the same each time."""
    channels, units = NETWORKS[number]
    wide = 2 * channels
    with forked_generators(seed_from(seed, number)):
        return nn.Sequential(
            nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()),
            *(_Unit(channels) for _ in range(units)),
            nn.Sequential(nn.Conv2d(channels, wide, 3, 2, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()),
            *(_Unit(wide) for _ in range(units)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(wide, CLASSES),
        )


def _probe(number: int, seed: int, proxy: Any) -> Probe:
    cost = count(_network(number, seed), INPUT_SHAPE, free_operators=FREE)
    return Probe(INPUT_SHAPE, CLASSES, seed_from(seed, number, "probe"), device_of(proxy), cost)
