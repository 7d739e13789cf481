"""The output of a network that counts, picked from whatever it returns: a tensor, tuple, mapping or dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from vkdnw_search.errors import ScoreError, nearest

__all__ = ["Output", "Pick", "PickedOutput", "tensors_in"]

Output = str | int | Callable[[Any], Any]
"""The name or the position of an output, or a function from what the network returns to a tensor."""


class Pick(NamedTuple):
    """An output that counts.

    Attributes:
        output: which one; None: the only tensor.
        class_axis: where its classes are; None leaves its axes alone, otherwise they come to axis 1.
        numbers: whether it holds numbers, or yes or no, so that (N,) is one for each sample and becomes (N, 1).
    """

    output: Output | None
    class_axis: int | None
    numbers: bool


class PickedOutput(nn.Module):
    """A network that returns the outputs that count, and nothing else.

    Args:
        network: whatever it returns.
        picks: which of that count.
        together: whether several outputs are returned, as a tuple.
    """

    def __init__(self, network: nn.Module, picks: Sequence[Pick], *, together: bool) -> None:
        super().__init__()
        self.network = network
        self._picks = tuple(picks)
        self._together = together

    def forward(self, *args: Any, **kwargs: Any) -> Tensor | tuple[Tensor, ...]:
        """The picked outputs, with the classes of categorical ones along axis 1."""
        heads = self.arranged(self.picked(self.network(*args, **kwargs)))
        return heads if self._together else heads[0]

    def picked(self, found: Any) -> tuple[Tensor, ...]:
        """The outputs that count among what the network returned, as they are."""
        return tuple(self._picked(found, pick.output) for pick in self._picks)

    def arranged(self, heads: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The same with classes along axis 1, and one number for each sample as a column."""
        name = type(self.network).__name__
        return tuple(_arranged(head, pick, name) for head, pick in zip(heads, self._picks, strict=True))

    def _picked(self, found: Any, output: Output | None) -> Tensor:
        tensors, where = tensors_in(found), type(self.network).__name__
        if callable(output):
            head = output(found)
            if not isinstance(head, Tensor):
                raise ScoreError(f"{where}: output=… must give a tensor, but gives a {type(head).__name__}")
            return head
        if output is None:
            return _only(tensors, where, found)
        if not tensors:
            raise _no_tensor(where, found)
        if output in tensors:
            return tensors[output]
        by_place = list(tensors.values())
        if isinstance(output, int) and -len(by_place) <= output < len(by_place):
            return by_place[output]
        near = nearest(output, map(str, tensors)) if isinstance(output, str) else ""
        raise ScoreError(f"{where}: has no output {output!r}, but {_shown(tensors)}.{near}")


def tensors_in(found: Any) -> dict[str | int, Tensor]:
    """The tensors that a network returned, by name or position; nothing else that it returned."""
    return {name: part for name, part in _parts(found).items() if isinstance(part, Tensor)}


def _parts(found: Any) -> dict[str | int, Any]:
    """What a network returned, by name or position."""
    if isinstance(found, Tensor):
        return {0: found}
    if isinstance(found, Mapping):
        return dict(found)
    if isinstance(found, tuple) and hasattr(found, "_fields"):
        return dict(zip(found._fields, found, strict=True))
    if isinstance(found, tuple | list):
        return dict(enumerate(found))
    if dataclasses.is_dataclass(found):
        return {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    return {}


def _no_tensor(where: str, found: Any) -> ScoreError:
    kind = type(found).__name__
    deeper = ". Give score() in Python output=… with a function that finds it there" if _parts(found) else ""
    return ScoreError(
        f"{where}: must return a tensor, or a tuple, a mapping or a dataclass with tensors, but returns "
        f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}, no tensor{deeper}"
    )


def _only(tensors: Mapping[str | int, Tensor], where: str, found: Any) -> Tensor:
    if not tensors:
        raise _no_tensor(where, found)
    if len(tensors) > 1:
        first = next(iter(tensors))
        raise ScoreError(
            f"{where}: must return one tensor, but returns {_shown(tensors)}. Say which counts, such as "
            f"output={first!r} (--output {first}), a position or a function, or give a likelihood for each: "
            f"likelihood={{{first!r}: 'categorical', …}} (--likelihood {first}=categorical,…)"
        )
    return next(iter(tensors.values()))


def _arranged(head: Tensor, pick: Pick, where: str) -> Tensor:
    if pick.numbers and head.dim() == 1:
        return head[:, None]
    return _with_classes_first(head, pick.class_axis, where)


def _with_classes_first(head: Tensor, axis: int | None, where: str) -> Tensor:
    if axis is None:
        return head
    last = head.dim() - 1
    if axis not in (*range(1, last + 1), *range(-last, 0)):
        there = {0: "there is none", 1: "1 or -1"}.get(last, f"from 1 to {last}, or from -{last} to -1")
        raise ScoreError(
            f"{where}: class_axis (--class-axis) must be an axis of outputs {tuple(head.shape)} after that of the "
            f"samples, {there}, but is {axis}"
        )
    return head if axis % head.dim() == 1 else head.movedim(axis, 1)


def _shown(tensors: Mapping[str | int, Tensor]) -> str:
    return ", ".join(f"{name!r} {tuple(tensor.shape)}" for name, tensor in tensors.items())
