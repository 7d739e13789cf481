"""Latencies timed in PyTorch on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from torch import nn

from vkdnw_search.contracts import Make
from vkdnw_search.determinism import forked_generators, one_thread
from vkdnw_search.latencies.repeated_runs import timed
from vkdnw_search.options import check_options
from vkdnw_search.records import Timing

__all__ = ["TorchLatency"]


@dataclass(frozen=True, kw_only=True)
class TorchLatency:
    """PyTorch on this machine, one thread of its CPU by default."""

    threads: Annotated[int, Interval(ge=1, le=1024), "threads of the CPU"] = 1
    batch: Annotated[int, Interval(ge=1, le=4096), "inputs at a time; the limit is on all of them together"] = 1
    channels_last: Annotated[bool, "lay images out with their channels innermost"] = False
    dtype: Annotated[Literal["float32", "bfloat16"], "the type of weights and activations"] = "float32"
    whole: Annotated[bool, "time each network whole, not by parts"] = False
    correction: Annotated[
        int, Interval(ge=0, le=1000), "whole networks that the sums of parts are fitted to; 0: none"
    ] = 0

    def __post_init__(self) -> None:
        check_options(self)

    def timing(self, name: str, make: Make) -> Timing:
        """The median seconds of a forward pass."""
        with forked_generators():  # building draws weights
            return self.of(*make())

    def of(self, model: nn.Module, input_shape: Sequence[int]) -> Timing:
        """The timing of ``model``, which is put in evaluation mode and converted, for inputs (batch, *input_shape)."""
        dtype = getattr(torch, self.dtype)
        x = torch.zeros(self.batch, *input_shape, dtype=dtype)
        model = model.eval().to(dtype)
        if self.channels_last and x.dim() == 4:
            x, model = x.to(memory_format=torch.channels_last), model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        with one_thread(), forked_generators(), torch.inference_mode():
            torch.set_num_threads(self.threads)  # which one_thread() takes back
            return timed(lambda: model(x))
