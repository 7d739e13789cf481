"""The on-off pattern of a network's activations, seen where they are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from vkdnw_search.errors import DegenerateNetwork
from vkdnw_search.proxies.probing import in_fast_layout

__all__ = ["CallRecorder", "activation_codes"]

RECTIFIERS: frozenset[Callable[..., Any]] = frozenset(
    {
        torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_, F.relu, F.relu_, F.relu6,
        F.hardtanh, F.hardtanh_,  # what nn.ReLU6 calls
        F.leaky_relu, F.leaky_relu_, F.rrelu, F.rrelu_, F.prelu, torch.prelu, F.elu, F.elu_, F.celu, F.selu,
        F.gelu, F.silu, F.mish, F.hardswish,
    }
)  # fmt: skip
"""The functions that let through what is above 0 and hold back what is below, as modules, functions or methods."""


class CallRecorder(TorchFunctionMode):
    """While active, hands the first argument of every call of some torch functions to ``see``, before the call.

    It sees a function however it is called: by a module, as a function, as a method, in place.
    """

    def __init__(self, functions: frozenset[Callable[..., Any]], see: Callable[[torch.Tensor], None]) -> None:
        super().__init__()
        self._functions = functions
        self._see = see

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Called by PyTorch for every torch function; calls made inside ``func`` do not come here."""
        if func in self._functions:
            self._see(args[0] if args else (kwargs or {})["input"])
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def activation_codes(model: nn.Module, x: torch.Tensor) -> Iterator[torch.Tensor]:
    """For each activation of a forward pass of ``x``, which of its inputs are above 0. Bool, shapes (N, units).

    Raises:
        DegenerateNetwork: if values are not finite, or the network has no activation that can be on or off.
    """
    codes, logits = in_fast_layout(lambda images: _codes(model, images), x)
    if not bool(torch.isfinite(logits).all()):
        raise DegenerateNetwork("the logits are not finite, so neither are the activations they come from")
    if not codes:
        raise DegenerateNetwork("the network has no ReLU or other activation that is on above 0 and off below")
    yield from codes


def _codes(model: nn.Module, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    codes: list[torch.Tensor] = []
    with CallRecorder(RECTIFIERS, lambda inputs: codes.append((inputs > 0).flatten(1))):
        logits = model(x)
    return codes, logits
