"""What a score costs, as a multiple of a plain forward pass of the same batch, and against the literal way.

python tests/benchmarks/score_cost.py --json FILE
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from search_spaces.mobilenet import MobileNet
from search_spaces.nasbench201 import NasBench201
from tests.benchmarks.measuring import finish, in_own_process, peak_bytes, ratio, seconds, table
from tests.support.oracles import literal_jacobian
from vkdnw_search.contracts import Probe
from vkdnw_search.proxies.initialization import initialize
from vkdnw_search.proxies.vkdnw import VkdnwSingle

CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"
ZENNET_600M = (
    "SuperConvK3BNRELU(3,24,2,1)SuperResIDWE1K7(24,48,2,48,1)SuperResIDWE2K7(48,72,2,72,1)"
    "SuperResIDWE6K7(72,96,2,88,5)SuperResIDWE4K7(96,192,2,168,5)SuperConvK1BNRELU(192,2048,1,1)"
)
"""A published network of 600M FLOPs (ZenNAS, arXiv 2102.01063)."""


def network(name: str, classes: int) -> tuple[nn.Module, int]:
    """A network in evaluation mode, and the resolution it is scored at."""
    space: Any = NasBench201(num_classes=classes) if name == "nasbench201" else MobileNet(num_classes=classes)
    model = space.build(space.parse(CELL if name == "nasbench201" else ZENNET_600M)).eval()
    initialize(model, seed=0)
    return model, 32 if name == "nasbench201" else 64


def ratios(name: str, classes: int, threads: int) -> tuple[float, float]:
    """The default score in plain forward passes of the same 64 images; those in both memory layouts."""
    torch.set_num_threads(threads)
    model, resolution = network(name, classes)
    proxy = VkdnwSingle(resolution=resolution)
    images = torch.randn(proxy.images, 3, resolution, resolution)
    last = images.contiguous(memory_format=torch.channels_last)
    probe = Probe((3, resolution, resolution), classes, seed=0)
    with torch.no_grad():
        units = [lambda: model(images), lambda: model(last)]
        plain, channels_last = (ratio(lambda: proxy(model, probe), unit) for unit in units)
    return plain, channels_last


def by_classes(name: str, few: int, many: int) -> float:
    """Time of the default score with ``many`` classes over that with ``few``, one thread."""
    torch.set_num_threads(1)
    scoring = []
    for classes in (many, few):
        model, resolution = network(name, classes)
        probe = Probe((3, resolution, resolution), classes, seed=0)
        scoring.append(partial(VkdnwSingle(resolution=resolution), model, probe))
    return ratio(*scoring)


def passes(model: nn.Module, images: torch.Tensor, directions: torch.Tensor) -> None:
    """One forward and a backward pass for each direction, of activations alone: the least that a sketch can do."""
    x = images.detach().requires_grad_()
    logits = model.requires_grad_(False)(x)
    for place, direction in enumerate(directions):
        torch.autograd.grad((logits * direction).sum(), x, retain_graph=place + 1 < len(directions))


def ours(classes: int) -> tuple[float, int, float]:
    """Seconds and peak bytes of the default score of the NAS-Bench-201 network, and seconds of the least it can do."""
    torch.set_num_threads(1)
    model, resolution = network("nasbench201", classes)
    probe = Probe((3, resolution, resolution), classes, seed=0)
    before = peak_bytes()
    VkdnwSingle()(model, probe)
    held = peak_bytes() - before  # of one score, as of one Jacobian
    score = seconds(lambda: VkdnwSingle()(model, probe))
    images = torch.randn(VkdnwSingle().images, 3, resolution, resolution).contiguous(memory_format=torch.channels_last)
    directions = torch.randn(2, len(images), classes)
    return score, held, seconds(lambda: passes(model, images, directions))


def literal(classes: int) -> tuple[float, int]:
    """The same of the per-sample Jacobian of the same tensors by all logits, ``vmap(jacrev)``, for the same batch."""
    torch.set_num_threads(1)
    model, resolution = network("nasbench201", classes)
    batch = torch.randn(VkdnwSingle().images, 3, resolution, resolution)
    before, started = peak_bytes(), time.perf_counter()
    literal_jacobian(model, batch, tensors=VkdnwSingle().parameters)
    return time.perf_counter() - started, peak_bytes() - before


def main() -> None:
    """Measure and print."""
    rows: list[list[object]] = []
    figures: dict[str, Any] = {"ratio_to_forward": {}, "by_classes": {}, "against_literal": {}}
    for name, classes in (("nasbench201", 10), ("nasbench201", 100), ("mobilenet", 10), ("mobilenet", 1000)):
        one, two = (ratios(name, classes, threads) for threads in (1, 2))
        rows.append([name, classes, 32 if name == "nasbench201" else 64, *one, *two])
        figures["ratio_to_forward"][f"{name}, {classes} classes"] = {"1 thread": one, "2 threads": two}
    print("Default score, in plain forward passes of the same 64 images (with those images channels last):\n")
    print(table(["space", "classes", "px", "1 thread", "(last)", "2 threads", "(last)"], rows))
    rows = []
    for name, few, many in (("nasbench201", 10, 100), ("mobilenet", 10, 1000)):
        figures["by_classes"][f"{name}, {many} over {few}"] = grown = by_classes(name, few, many)
        rows.append([name, f"{many} over {few}", grown])
    print("\nThe same score with many classes over that with few, one thread:\n")
    print(table(["space", "classes", "time"], rows))
    rows = []
    for classes in (10, 100):
        fast, fast_bytes, least = in_own_process(ours, classes)
        slow, slow_bytes = in_own_process(literal, classes)
        rows.append([classes, slow / fast, slow / least, slow_bytes / fast_bytes, fast_bytes / 1e6, slow_bytes / 1e6])
        figures["against_literal"][f"{classes} classes"] = {
            "time": slow / fast,
            "time_over_passes": slow / least,
            "memory": slow_bytes / fast_bytes,
        }
    print("\nLiteral per-sample Jacobian (vmap(jacrev)) over the default score, NAS-Bench-201, the same 64 images, one")
    print("thread, and over one forward and two backward passes of activations alone; at 100 classes it needs 13 GB:\n")
    head = ["classes", "times slower", "(over the passes)", "times the memory", "ours, MB", "literal, MB"]
    print(table(head, rows))
    finish(figures, __doc__ or "")


if __name__ == "__main__":
    main()
