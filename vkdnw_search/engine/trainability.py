"""Can this network be trained at all? A few steps on one random batch, before a winner is declared."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vkdnw_search.contracts import Architecture, Likelihood, SearchSpace, input_shape_of
from vkdnw_search.determinism import forked_generators, one_thread
from vkdnw_search.engine.tasks import is_lack_of_memory
from vkdnw_search.errors import ExecutionError, VkdnwSearchError, named
from vkdnw_search.fisher.likelihood import likelihood_of
from vkdnw_search.proxies.random_targets import loss_of, random_targets
from vkdnw_search.records import Cost, Genome

STEPS = 20
"""Number of steps at most: enough for any network that learns to lower the loss of the one batch it sees."""
BATCH = 8
LEARNING_RATE = 1e-3
OPENING = 3
"""Number of steps within which a gradient must reach every tensor: one behind a gate that starts at zero gets its
first in the
second step."""


COPIES = 5
"""Number of copies of each parameter that a trial holds: those of the network and a copy, a gradient, two moments of
Adam."""


@dataclass(frozen=True, slots=True)
class Trial:
    """All that a worker needs to try whether a network can be trained."""

    space: SearchSpace[Architecture]
    genome: Genome
    key: str
    seed: int


def try_training(trial: Trial) -> str:
    """Why the network of ``trial`` cannot be trained, in words; empty if it can. Runs in a worker, on one thread.

    Raises:
        ExecutionError: building or training it raised an unexpected exception; the message names the architecture.
    """
    space = trial.space
    try:
        with one_thread(), forked_generators(trial.seed):
            model = space.build(architecture := space.decode(trial.genome))
            shape = input_shape_of(space, architecture)
            faults = check(model, shape, space.num_classes, trial.seed, likelihood_of(space))
            return "; ".join(faults)
    except VkdnwSearchError:
        raise
    except Exception as error:
        if is_lack_of_memory(error):
            return lost_trial(trial, "it takes more memory than there is")
        raise ExecutionError(f"training {trial.key} for a few steps: {named(error)}") from error


def lost_trial(trial: Trial, reason: str) -> str:
    """The fault of a network whose trial was given up, for ``reason``."""
    return f"a few steps of training could not be tried: {reason}"


def too_large(cost: Cost) -> str:
    """Why a network of this cost is too large to be tried on this machine, in words; empty if it is not."""
    needed, there = 4 * COPIES * cost.parameters, _memory_of_the_machine() // 2
    if not there or needed <= there:
        return ""
    return (
        f"its {cost.parameters:,} parameters take some {needed / 2**30:.0f} GiB for a few steps of training, more than "
        f"half of this machine's memory ({there / 2**30:.0f} GiB), so that it was not tried"
    )


def _memory_of_the_machine() -> int:
    """Bytes of memory that this machine has; 0 where the platform does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0


def check(
    model: nn.Module, input_shape: Sequence[int], num_classes: int, seed: int, likelihood: Likelihood = "auto"
) -> list[str]:
    """Find what would keep ``model`` from being trained, each fault in words; an empty list if nothing would.

    A copy takes up to twenty steps of Adam on a batch of 8 random images with random labels, until its loss has fallen.
    A gradient must reach every trainable tensor, if not at once then as gates that start at zero open (that of a bias
    may be zero: a batch norm may take the bias away again), and loss and gradients must be finite.

    Args:
        model: with the weights that training would start from; it is left as it is.
        input_shape: of one image, without the batch.
        num_classes: number of logits.
        seed: of images, labels and whatever is random in the model.
        likelihood: of the outputs, which decides on labels and loss.
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(BATCH, *input_shape, generator=generator)
    labels: list[Tensor] = []

    def loss(outputs: Tensor) -> Tensor:
        if not labels:
            labels.append(random_targets(outputs, num_classes, likelihood, generator=generator))
        return loss_of(outputs, labels[0], likelihood)

    with forked_generators(seed), torch.enable_grad():
        return _faults(copy.deepcopy(model).cpu().train(), images, loss)


def _faults(model: nn.Module, images: Tensor, loss_of_outputs: Callable[[Tensor], Tensor]) -> list[str]:
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        return ["it has no trainable parameters"]
    optimizer = torch.optim.Adam(parameters.values(), lr=LEARNING_RATE)
    losses: list[float] = []
    unmoved = [name for name in parameters if not name.endswith("bias")]
    for step in range(STEPS + 1):
        loss = loss_of_outputs(model(images))
        losses.append(loss.item())
        if not loss.isfinite():
            return [f"its loss is {loss.item()} after {step} steps"]
        if min(losses) < losses[0] and (not unmoved or step >= OPENING):
            break
        if not loss.requires_grad:
            return ["no trainable parameter reaches its output"]
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        if faults := _gradient_faults(parameters, step):
            return faults
        unmoved = [name for name in unmoved if not bool(parameters[name].grad.any())]  # type: ignore[union-attr]
        optimizer.step()
    if unmoved:
        return [_unreached(unmoved)]
    best = min(losses[1:])
    if best < losses[0]:
        return []
    return [f"its loss does not fall: {losses[0]:.4f} at first, {best:.4f} at best in {STEPS} steps on one batch"]


def _gradient_faults(parameters: dict[str, nn.Parameter], step: int) -> list[str]:
    """Faults in words: tensors without a gradient, or with one that is not finite."""
    broken = [n for n, p in parameters.items() if p.grad is not None and not bool(p.grad.isfinite().all())]
    missing = [n for n, p in parameters.items() if p.grad is None]
    faults = [f"gradients are not finite after {step} steps in {_listed(broken)}"] if broken else []
    if missing:
        faults.append(_unreached(missing))
    return faults


def _unreached(names: Sequence[str]) -> str:
    return f"no gradient reaches {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
