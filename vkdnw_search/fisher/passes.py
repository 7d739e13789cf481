"""One forward pass of a network under taps, which leaves the network as it was and may be held to a limit of memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vkdnw_search.fisher.checkpoints import without_checkpoints
from vkdnw_search.fisher.module_state import restored
from vkdnw_search.fisher.rules import RULES
from vkdnw_search.fisher.taps import Statistics, Taps, mark


class OverMemory(Exception):  # no error: the batch is split
    """The graph of a pass grew over the limit."""


def logits_of(model: nn.Module, images: Tensor, taps: Taps, *, memory: int | None = None) -> Tensor:
    """The logits of ``images``, (N, C), with a graph where gradients are enabled.

    Raises:
        OverMemory: the graph keeps more than ``memory`` bytes.
    """
    mark(images, batch=True)
    with restored(model), without_checkpoints(), _limit(model, memory), taps:
        logits: Tensor = model(images)
    return logits


@torch.no_grad()
def statistics_of(model: nn.Module, images: Tensor, *, calibrate: bool) -> list[Statistics]:
    """Batch-norm statistics over the whole batch, in the order of calls, from a pass that keeps no graph."""
    taps = Taps((), RULES, samples=len(images), calibrate=calibrate)
    logits_of(model, images, taps)
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
