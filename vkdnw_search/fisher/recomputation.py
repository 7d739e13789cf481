"""Networks that compute something again in their backward pass, such as reversible ones: literal derivatives of those.

An ``autograd.Function`` whose backward runs layers again does so where no tap watches them, on batch norms that would
take other statistics, and may free what it needs after one backward pass, or write derivatives into ``.grad`` instead
of returning them. So every weight of such a network is differentiated as training would do it: one forward and one
``backward()`` for each sample and direction, under the batch-norm statistics of the forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from vkdnw_search.errors import ScoreError, named
from vkdnw_search.fisher.module_state import restored
from vkdnw_search.fisher.rules import RULES
from vkdnw_search.fisher.taps import Scalars, Statistics, Taps


def recomputing(logits: Tensor, taps: Taps) -> list[str]:
    """Names of the autograd functions that may run layers again to give the derivative of ``logits``.

    They are the functions of the network's own in the graph, if weights were used where gradients are switched off,
    as they are within a function.
    """
    return sorted(function.__name__ for function in _own_functions(logits)) if taps.hides else []


def _own_functions(*outputs: Tensor) -> set[type[torch.autograd.Function]]:
    """The autograd functions in the graph of ``outputs`` that are neither PyTorch's nor rules."""
    seen, found = set[object](), set[type[torch.autograd.Function]]()
    left: list[Any] = [output.grad_fn for output in outputs]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        left.extend(following for following, _ in node.next_functions)
        function = vars(type(node)).get("_forward_cls")  # where it is one that Python defines
        if function is not None and not _is_ours(function):
            found.add(function)
    return found


def _is_ours(function: type) -> bool:
    """Whether an autograd function is one of the rules, none of which computes anything again."""
    return function.__module__.startswith("vkdnw_search.fisher.")


def derivatives_by_backward(
    model: nn.Module, value: Tensor, taps: Taps, chosen: Sequence[Scalars], functions: Sequence[str]
) -> list[Tensor | None]:
    """The gradient of ``value`` by each chosen tensor, as ``backward()`` leaves it; no ``.grad`` is changed.

    Args:
        model: that gave the value.
        value: a scalar.
        taps: of the forward pass, whose batch-norm statistics hold in the backward pass.
        chosen: K tensors.
        functions: names of the functions that compute again, for an error.

    Raises:
        ScoreError: such a function cannot be differentiated.
    """
    with restored(model), _without_gradients(model), _Replay(taps).within(value):
        try:
            value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        except ScoreError:
            raise
        except Exception as error:
            raise ScoreError(
                f"{type(model).__name__}: must have a derivative, but its autograd function {', '.join(functions)} "
                f"raises {named(error)}. Compute the same by ordinary operations of torch"
            ) from error
        return [scalars.parameter.grad for scalars in chosen]


class _Replay(Taps):
    """What is computed again in a backward pass: each batch norm takes the statistics of the forward pass, and nothing
    is tapped."""

    def __init__(self, taps: Taps) -> None:
        super().__init__((), RULES, samples=taps.samples, calibrate=taps.calibrate)
        self._forward = list(zip(taps.owners, taps.statistics, strict=True))

    @contextmanager
    def within(self, *outputs: Tensor) -> Iterator[None]:
        """Switch the mode on within the backward passes of the network's own functions in the graph of ``outputs``.

        It would be off there if it were entered outside: PyTorch hands a whole backward pass to the mode.
        """
        with ExitStack() as patches:
            for function in _own_functions(*outputs):
                name = "backward" if function.backward is not torch.autograd.Function.backward else "vjp"
                patches.enter_context(patch.object(function, name, staticmethod(self._on(getattr(function, name)))))
            yield

    def _on(self, backward: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any) -> Any:
            with self:
                return backward(*args)

        return watched

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in (torch.autograd.grad, torch.autograd.backward, Tensor.backward):
            return super().__torch_function__(func, types, args, kwargs)
        outputs = args[0] if args else next(iter((kwargs or {}).values()))  # a block of blocks
        with self.within(*([outputs] if isinstance(outputs, Tensor) else outputs)):
            return func(*args, **(kwargs or {}))

    def weight(self, parameter: Tensor) -> Tensor:
        """The parameter in its place in the graph."""
        return parameter

    def statistics_for(self, owner: Tensor | None, measure: Callable[[], Statistics]) -> Statistics:
        """What this batch norm took in the forward pass.

        Raises:
            ScoreError: it took none, or several.
        """
        found = [statistics for other, statistics in self._forward if other is owner]
        if owner is None or len(found) != 1:
            raise ScoreError(
                "network: must use each batch norm once where it computes layers again in its backward pass, but uses "
                f"one {len(found)} times, or one without weights and running statistics. Give each use a batch norm of "
                "its own, or score with batch_norm='initial'"
            )
        return found[0]


@contextmanager
def _without_gradients(model: nn.Module) -> Iterator[None]:
    """Begin without any ``.grad``, and put them back."""
    before = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in before:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in before:
            parameter.grad = gradient
