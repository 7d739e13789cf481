"""One forward pass of a network under taps, which leaves the network as it was and may be held to a limit of memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vkdnw_search.fisher.checkpoints import without_checkpoints
from vkdnw_search.fisher.inputs import Inputs
from vkdnw_search.fisher.module_state import restored
from vkdnw_search.fisher.rules import RULES
from vkdnw_search.fisher.taps import Statistics, Taps


class OverMemory(Exception):  # no error: the batch is split
    """The graph of a pass grew over the limit."""


def logits_of(model: nn.Module, inputs: Inputs, taps: Taps) -> Tensor:
    """All outputs for ``inputs`` in one row a sample, (N, O), with a graph where gradients are enabled."""
    return flat(outputs_of(model, inputs, taps))


def outputs_of(model: nn.Module, inputs: Inputs, taps: Taps, *, memory: int | None = None) -> Tensor | Sequence[Tensor]:
    """What the network returns for ``inputs``, with a graph where gradients are enabled.

    Raises:
        OverMemory: the graph keeps more than ``memory`` bytes.
    """
    with restored(model), without_checkpoints(), _limit(model, memory), taps:
        outputs: Tensor | Sequence[Tensor] = inputs.passed_to(model)
    return outputs


def flat(outputs: Tensor | Sequence[Tensor]) -> Tensor:
    """Outputs (N, …), or several such, as (N, O)."""
    if isinstance(outputs, Tensor):
        return outputs if outputs.dim() == 2 else outputs.flatten(1)
    return torch.cat([head.flatten(1) for head in outputs], dim=1)


@torch.no_grad()
def statistics_of(model: nn.Module, inputs: Inputs, *, calibrate: bool) -> list[Statistics]:
    """Batch-norm statistics over the whole batch, in the order of calls, from a pass that keeps no graph."""
    taps = Taps((), RULES, samples=len(inputs), calibrate=calibrate)
    logits_of(model, inputs, taps)
    return taps.statistics


@contextmanager
def _limit(model: nn.Module, memory: int | None) -> Iterator[None]:
    """Raise OverMemory as soon as the graph keeps more than ``memory`` bytes besides the weights."""
    if memory is None:
        yield
        return
    known = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = 0

    def pack(tensor: Tensor) -> tuple[Tensor, int]:
        nonlocal kept
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            known.add(storage.data_ptr())
            kept += storage.nbytes()
            if kept > memory:
                raise OverMemory
        return tensor.detach(), tensor._version  # a result that its own graph kept would never be freed

    with torch.autograd.graph.saved_tensors_hooks(pack, _unpack):
        yield


def _unpack(kept: tuple[Tensor, int]) -> Tensor:
    """What was packed, if it still holds the same numbers: where there are hooks autograd does not look itself."""
    tensor, version = kept
    if tensor._version != version:
        raise RuntimeError("a tensor that is needed for derivatives was changed by an operation in place")
    return tensor
