"""Does the sketch change the ranking for other outputs than one label? The default score against the exact matrix.

    python tests/benchmarks/likelihood_sketch.py --json FILE

For each task, 100 small random networks that differ in depth, widths, kernels, skips, normalisation and activation.
Both estimates see the same inputs, weights and chosen scalars, so that they differ by the sketch alone. Also: how many
forward passes the time of a score is, for a network of ordinary size.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from scipy import stats
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import arguments, conclude, ratio
from vkdnw_search.contracts import Likelihood, Probe
from vkdnw_search.determinism import one_thread
from vkdnw_search.proxies.vkdnw import VkdnwSingle

NETWORKS = 100
SIDE = 6
"""Height and width of the images of those networks: the exact matrix of dense outputs takes a pass for each of them."""
ACTIVATIONS = (nn.ReLU, nn.SiLU, nn.Tanh, nn.GELU)


@dataclass(frozen=True)
class Task:
    """What the outputs of the networks are: ``channels`` numbers, for each input or at every position."""

    likelihood: Likelihood
    channels: int
    dense: bool


TASKS = {
    "categorical": Task("categorical", 10, dense=False),
    "dense categorical": Task("categorical", 4, dense=True),
    "gaussian": Task("gaussian", 10, dense=False),
    "dense gaussian": Task("gaussian", 3, dense=True),
    "bernoulli": Task("bernoulli", 10, dense=False),
    "dense bernoulli": Task("bernoulli", 2, dense=True),
}


class Block(nn.Module):
    """A convolution with what may stand around it: a normalisation, an activation, a shortcut."""

    def __init__(self, inputs: int, outputs: int, rng: random.Random, norm: str, skip: str) -> None:
        super().__init__()
        kernel = rng.choice((1, 3, 5))
        groups = 2 if rng.random() < 0.25 and inputs % 2 == 0 and outputs % 2 == 0 else 1
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=norm == "none")
        norms = {"batch": nn.BatchNorm2d(outputs), "group": nn.GroupNorm(2, outputs), "none": nn.Identity()}
        self.norm = norms[norm]
        self.activation = rng.choice(ACTIVATIONS)()
        self.shortcut: nn.Module | None = None
        if skip == "projected" or (skip == "identity" and inputs == outputs):
            self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, C, H, W) → (N, C', H, W)."""
        y = self.activation(self.norm(self.conv(x)))
        return y if self.shortcut is None else y + self.shortcut(x)


def network(seed: int, task: Task) -> nn.Module:
    """A random network for ``task``."""
    rng = random.Random(seed)
    norm, skip = rng.choice(("batch", "batch", "group", "none")), rng.choice(("none", "identity", "projected"))
    depth = rng.randint(2, 12)
    widths = [3]
    for _ in range(depth):
        widths.append(widths[-1] if len(widths) > 1 and rng.random() < 0.6 else rng.choice((4, 6, 8, 12, 16, 24)))
    blocks = [Block(a, b, rng, norm, skip) for a, b in pairwise(widths)]
    if task.dense:
        return nn.Sequential(*blocks, nn.Conv2d(widths[-1], task.channels, rng.choice((1, 3)), padding="same"))
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], task.channels)]
    return nn.Sequential(*blocks, *head)


def entropy(seed: int, task: Task, proxy: VkdnwSingle) -> float:
    """The entropy of one network by ``proxy``."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = network(seed, task)
    probe = Probe((3, SIDE, SIDE), task.channels, seed=0, likelihood=task.likelihood)
    return proxy(model, probe).terms["entropy"]


def agreement(task: Task, sketched: VkdnwSingle) -> float:
    """Spearman's ρ of sketched with exact entropies."""
    exact = replace(sketched, directions="all")
    pairs = [(entropy(seed, task, sketched), entropy(seed, task, exact)) for seed in range(NETWORKS)]
    return float(stats.spearmanr(*zip(*pairs, strict=True)).statistic)


def forwards(task: Task, proxy: VkdnwSingle, *, side: int = 32) -> float:
    """The time of a score in forward passes of the same inputs."""
    torch.manual_seed(0)
    layers = [[nn.Conv2d(a, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()] for a in (3, *[32] * 7)]
    flat = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, task.channels)]
    head = [nn.Conv2d(32, task.channels, 1)] if task.dense else flat
    model = nn.Sequential(*(module for layer in layers for module in layer), *head).eval()
    images = torch.randn(proxy.images, 3, side, side).contiguous(memory_format=torch.channels_last)
    probe = Probe((3, side, side), task.channels, seed=0, likelihood=task.likelihood)
    with torch.no_grad():
        return ratio(lambda: proxy(model, probe), lambda: model(images), repeats=5)


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--directions", type=int, default=VkdnwSingle().directions)
    parser.add_argument("--task", choices=TASKS, nargs="+", default=list(TASKS), help="default: all")
    options = parser.parse_args()
    proxy = replace(VkdnwSingle(), directions=options.directions)
    found = {}
    with one_thread():
        for name in options.task:
            rho, cost = agreement(TASKS[name], proxy), forwards(TASKS[name], proxy)
            found[name] = {"spearman": rho, "forwards": cost}
            print(
                f"{name:18} ρ {rho:.4f} over {NETWORKS} networks, a score takes {cost:.1f} forward passes", flush=True
            )
    conclude({"networks": NETWORKS, "directions": options.directions, "tasks": found}, options.json)


if __name__ == "__main__":
    main()
