"""One network trained: the recipe of vkdnw_search/output/templates/train.py, for a minute or two of one core.

SGD with Nesterov momentum, linear warm-up and half a cosine to 0, label smoothing, weight decay on every tensor,
PyTorch's own initialization. The accuracy is that of the final weights on all test images. On one thread the same
structure, seed and settings give the same figures.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.mobilenet import MobileNet
from search_spaces.mobilenet_structure import parse
from tests.benchmarks.trained.fast_layers import sped_up
from tests.benchmarks.trained.images import Images
from vkdnw_search.determinism import one_thread, seed_from

TEST_BATCH = 250


@dataclass(frozen=True)
class Settings:
    """How a network is trained."""

    batch: int = 64
    steps: int = 800
    warm_up: int = 80
    peak: float = 0.1  # learning rate: the published 0.4 for 256 images, for 64
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1

    @classmethod
    def of(cls, steps: int) -> Settings:
        """The settings of a training of so many steps, a tenth of them to warm up."""
        return cls(steps=steps, warm_up=steps // 10)

    def rate(self, step: int) -> float:
        """Learning rate of a step, from 0: linear warm-up, then half a cosine to 0 at the last step."""
        if step < self.warm_up:
            return self.peak * (step + 1) / self.warm_up
        share = (step - self.warm_up + 1) / max(self.steps - self.warm_up, 1)
        return self.peak * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class Outcome:
    """What one training gave.

    Attributes:
        accuracy: percent of the test images that the final weights label right.
        test_loss: mean cross-entropy of the test images, without smoothing.
        train_loss: mean smoothed loss of the last tenth of the steps. A training that diverged has losses of NaN.
        seconds: wall-clock time, which depends on what else the machine does.
        cpu_seconds: time on the processor.
    """

    accuracy: float
    test_loss: float
    train_loss: float
    seconds: float
    cpu_seconds: float


def train(key: str, seed: int, images: Images, *, space: MobileNet, settings: Settings) -> Outcome:
    """Train the structure ``key`` of ``space``, and test it. Networks share no random numbers, nor do seeds."""
    started, started_cpu = time.perf_counter(), time.process_time()
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_from(seed, key, "weights"))
        model = sped_up(space.build(parse(key)))
        generator = torch.Generator().manual_seed(seed_from(seed, key, "images"))
        losses = _fitted(model, images, generator, space.resolution, settings)
        accuracy, test_loss = _tested(model, images, space.resolution)
    late = losses[-max(len(losses) // 10, 1) :]
    return Outcome(
        accuracy,
        test_loss,
        sum(late) / len(late),
        time.perf_counter() - started,
        time.process_time() - started_cpu,
    )


def _fitted(
    model: nn.Module, images: Images, generator: torch.Generator, resolution: int, settings: Settings
) -> list[float]:
    """All steps. Returns the loss of each."""
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=0.0,
        momentum=settings.momentum,
        nesterov=True,
        weight_decay=settings.weight_decay,
        foreach=True,
    )
    batches = images.training_batches(
        batch=settings.batch, steps=settings.steps, resolution=resolution, generator=generator
    )
    losses = []
    model.train()
    for step, (x, labels) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step)
        loss = functional.cross_entropy(model(_last(x)), labels, label_smoothing=settings.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def _tested(model: nn.Module, images: Images, resolution: int) -> tuple[float, float]:
    """Accuracy in percent and mean cross-entropy of the test images."""
    model.eval()
    right, loss, count = 0, 0.0, 0
    for x, labels in images.test_batches(batch=TEST_BATCH, resolution=resolution):
        logits = model(_last(x))
        right += int((logits.argmax(dim=1) == labels).sum())
        loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
        count += len(labels)
    return 100 * right / count, loss / count


def _last(x: Tensor) -> Tensor:
    """Channels last in memory, in which a processor is several times faster."""
    return x.contiguous(memory_format=torch.channels_last)
