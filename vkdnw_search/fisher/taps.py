"""Per-sample derivatives of single weights, read off one ordinary backward pass.

The derivative of Σ_n v_nᵀ z_n by one weight, sample by sample, needs only the input of the weight's layer and the
gradient at the layer's output: for a convolution it is one channel of the output gradient times one shifted channel
of the input. :class:`Taps` is a ``TorchFunctionMode``: it watches every torch function the network calls, whatever
module calls it, and where a chosen parameter is an argument of a function it has a rule for, it hooks the function's
output. Weight gradients are never computed. A parameter that is used in any other way is reported in
:attr:`Taps.literal`, for the caller to differentiate literally.

The same mode holds batch-norm statistics constant: nothing is ever written to the network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Contract = Callable[[Tensor], Tensor]
"""Gradient at a function's output (N, …) → derivatives (N, D)."""


@dataclass(frozen=True, eq=False)
class Scalars:
    """The D chosen weights of one parameter tensor.

    Attributes:
        name: of the parameter in the network.
        parameter: the tensor.
        indices: D index tuples into it.
    """

    name: str
    parameter: Tensor
    indices: tuple[tuple[int, ...], ...]


class Statistics(NamedTuple):
    """Mean and (biased) variance of a batch-norm layer's input, each (C,)."""

    mean: Tensor
    variance: Tensor


class Taps(TorchFunctionMode):
    """Records the derivatives of chosen weights during a backward pass over what was run inside it.

    Args:
        chosen: the weights; derivatives come out in this order.
        rules: torch function → the function that runs in its place and taps its parameters.
        samples: N, the length of the first axis of inputs and outputs.
        calibrate: normalise each batch norm by its own input's statistics, held constant, in place of its
            running statistics.
        statistics: what an earlier pass measured, in the order of calls, to be used again; None measures.
        literal: ids of parameters that keep their own place in the graph and are not tapped.
    """

    def __init__(
        self,
        chosen: Sequence[Scalars],
        rules: Mapping[Callable[..., Any], Callable[..., Tensor]],
        *,
        samples: int,
        calibrate: bool,
        statistics: Sequence[Statistics] | None = None,
        literal: Collection[int] = (),
    ) -> None:
        super().__init__()
        self._rules = rules
        self.samples = samples
        self.calibrate = calibrate
        self.given = iter(statistics) if statistics is not None else None
        self.statistics: list[Statistics] = []
        self.literal = set(literal)
        self.anchors: list[Tensor] = []
        self._place = {id(scalars.parameter): (place, scalars) for place, scalars in enumerate(chosen)}
        self._sums: list[Tensor | None] = [None] * len(chosen)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        rule = self._rules.get(func)
        if rule is not None:
            return rule(self, *args, **kwargs)
        result = func(*args, **kwargs)
        if isinstance(result, Tensor | tuple | list) and not isinstance(result, torch.Size):
            self.literal.update(id(tensor) for tensor in _tensors((args, kwargs)) if id(tensor) in self._place)
        return result

    def collect(self) -> list[Tensor | None]:
        """Derivatives (N, D) of each chosen parameter since the last call; None where nothing reached it."""
        sums, self._sums = self._sums, [None] * len(self._sums)
        return sums

    def untapped(self, *parameters: Tensor | None) -> None:
        """Leave these parameters to be differentiated literally."""
        self.literal.update(id(parameter) for parameter in parameters if parameter is not None)

    def constant(self, parameter: Tensor | None) -> Tensor | None:
        """The parameter without its place in the graph, unless it is to be differentiated literally."""
        return None if parameter is None else self.weight(parameter)

    def weight(self, parameter: Tensor) -> Tensor:
        """The same of a parameter that is there; a weight computed from others keeps its place in the graph."""
        return parameter if id(parameter) in self.literal or not parameter.is_leaf else parameter.detach()

    def scalars(self, parameter: Tensor | None) -> Scalars | None:
        """What is chosen of ``parameter``, if it is tapped."""
        if parameter is None or id(parameter) in self.literal:
            return None
        place = self._place.get(id(parameter))
        return place[1] if place else None

    def attach(self, output: Tensor, *taps: tuple[Scalars | None, Callable[[Scalars], Contract]]) -> Tensor:
        """``output`` with a hook that adds up the derivatives of each chosen parameter of ``taps``."""
        wanted = [(scalars, rule(scalars)) for scalars, rule in taps if scalars is not None]
        if not wanted or not torch.is_grad_enabled():  # the network itself may switch gradients off for a part
            return output
        if not output.requires_grad:
            anchor = torch.zeros((), dtype=output.dtype, device=output.device, requires_grad=True)
            self.anchors.append(anchor)
            output = output + anchor

        def hook(gradient: Tensor) -> None:
            for scalars, contract in wanted:
                place = self._place[id(scalars.parameter)][0]
                derivatives, before = contract(gradient.detach()), self._sums[place]
                self._sums[place] = derivatives if before is None else before + derivatives

        output.register_hook(hook)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return output


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
