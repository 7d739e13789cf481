"""Per-sample derivatives of single weights, read off one ordinary backward pass.

The derivative of Σ_n v_nᵀ z_n by one weight, sample by sample, needs only the input of the weight's layer and the
gradient at the layer's output: for a convolution it is one channel of the output gradient times one shifted channel
of the input. :class:`Taps` is a ``TorchFunctionMode``: it watches every torch function the network calls, whatever
module calls it, and where a chosen parameter is an argument of a function it has a rule for, it hooks the function's
output. Weight gradients are never computed. A parameter that is used in any other way, or in a way that a rule cannot
vouch for, is reported in :attr:`Taps.literal`, for the caller to differentiate literally.

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

    Attributes:
        statistics: what each batch norm was given, in the order of calls.
        owners: a tensor that belongs to that batch norm alone, in the same order; None where it has none.
        literal: ids of parameters whose derivatives must be computed literally.
        used: ids of chosen parameters that were an argument of any function.
        lengths: of the first axes of the inputs of the layers that use a chosen parameter, by its id.
        doubtful: ids of tapped parameters for which such an axis is as long as the samples are many, but for all that
            is known it may hold something else.
        hides: whether a weight was used where gradients are switched off, such as within an ``autograd.Function``.
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
        self.owners: list[Tensor | None] = []
        self.literal = set(literal)
        self.used: set[int] = set()
        self.lengths: dict[int, list[int]] = {}
        self.doubtful: set[int] = set()
        self.hides = False
        self.anchors: list[Tensor] = []
        self._place = {id(scalars.parameter): (place, scalars) for place, scalars in enumerate(chosen)}
        self._sums: list[Tensor | None] = [None] * len(chosen)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        rule = self._rules.get(func)
        result = func(*args, **kwargs) if rule is None else rule(self, *args, **kwargs)
        results = list(_tensors(result))
        if results:
            given = list(_tensors((args, kwargs)))
            chosen = {id(tensor) for tensor in given if id(tensor) in self._place}
            self.used |= chosen
            if rule is None:
                self.literal |= chosen
            self.hides |= not torch.is_grad_enabled() and any(t.requires_grad and t.is_leaf for t in given)
            if any(map(_is_of_samples, given)):
                for tensor in results:
                    mark(tensor)
        return result

    def statistics_for(self, owner: Tensor | None, measure: Callable[[], Statistics]) -> Statistics:
        """What the next batch norm takes for mean and variance: what an earlier pass measured, or measured now.

        Args:
            owner: a tensor that belongs to this batch norm alone, if it has one.
            measure: of its input.
        """
        found = next(self.given) if self.given is not None else measure()
        self.statistics.append(found)
        self.owners.append(owner)
        return found

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

    def has_samples_first(self, input: Tensor, *parameters: Tensor | None, channels: int | None = None) -> bool:
        """Whether the first axis of a layer's input holds the samples; if not, its parameters are not tapped.

        An axis of the right length may hold something else. It holds the samples for certain where the tensor was
        computed from them and no other axis can; else the parameters are doubtful.

        Args:
            input: of the layer.
            parameters: of the layer.
            channels: the axis whose length the parameters fix, if there is one: the samples cannot be there.
        """
        length = input.shape[0] if input.dim() else 0
        chosen = [id(parameter) for parameter in parameters if id(parameter) in self._place]
        for key in chosen:
            self.lengths.setdefault(key, []).append(length)
        if length != self.samples:
            self.untapped(*parameters)
            return False
        if self.samples > 1 and not self._is_certain(input, channels):
            self.doubtful.update(key for key in chosen if key not in self.literal)
        return True

    def _is_certain(self, input: Tensor, channels: int | None) -> bool:
        fixed = None if channels is None else channels % input.dim()
        others = (size for axis, size in enumerate(input.shape) if axis not in (0, fixed))
        return _is_batch(input) or (_is_of_samples(input) and all(size % self.samples for size in others))

    def attach(
        self,
        output: Tensor,
        *taps: tuple[Scalars | None, Callable[[Scalars], Contract]],
        kept: Sequence[Tensor] = (),
    ) -> Tensor:
        """``output`` with a hook that adds up the derivatives of each chosen parameter of ``taps``.

        Args:
            output: of a rule. What comes back is no view, whatever the rule gave: an operation in place on a view
                would make autograd forget the node that the hook is at.
            taps: what is chosen of each parameter, and how it contracts with the gradient.
            kept: tensors that the contractions read. Parameters whose layer finds one changed are not tapped.
        """
        if output._is_view():
            output = _NoView.apply(output)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        wanted = [(scalars, rule(scalars)) for scalars, rule in taps if scalars is not None]
        if not wanted or not torch.is_grad_enabled():  # the network itself may switch gradients off for a part
            return output
        if not output.requires_grad:
            anchor = torch.zeros((), dtype=output.dtype, device=output.device, requires_grad=True)
            self.anchors.append(anchor)
            output = output + anchor
        versions = [(tensor, tensor._version) for tensor in kept]

        def hook(gradient: Tensor) -> None:
            if any(tensor._version != version for tensor, version in versions):
                self.untapped(*(scalars.parameter for scalars, _ in wanted))
                return
            for scalars, contract in wanted:
                place = self._place[id(scalars.parameter)][0]
                derivatives, before = contract(gradient.detach()), self._sums[place]
                self._sums[place] = derivatives if before is None else before + derivatives

        output.register_hook(hook)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return output


class _NoView(torch.autograd.Function):
    """The same numbers at the same place in memory, but a tensor of its own to autograd.

    It takes the place of a copy. Nobody else has the view, and autograd needs no result of what made it, so that an
    operation in place on this tensor changes nothing that is needed.
    """

    @staticmethod
    def forward(ctx: Any, view: Tensor) -> Tensor:
        """A tensor that shares the memory of ``view`` and not its history (``detach`` would give a view again)."""
        return view.data

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """The gradient as it is."""
        return gradients[0]


_MARK = "_vkdnw_is_batch"
"""Attribute of tensors that were computed from the batch: False, or True for the batch itself."""


def mark(tensor: Tensor, *, batch: bool = False) -> None:
    """Remember that ``tensor`` was computed from the samples, or is the ``batch`` of them itself."""
    if not _is_of_samples(tensor):
        setattr(tensor, _MARK, batch)


def _is_of_samples(tensor: Tensor) -> bool:
    return hasattr(tensor, _MARK)


def _is_batch(tensor: Tensor) -> bool:
    return getattr(tensor, _MARK, False)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
