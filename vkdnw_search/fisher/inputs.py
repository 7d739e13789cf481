"""What a network is called with: one tensor or several, by position or by name, as parts of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vkdnw_search.errors import ScoreError
from vkdnw_search.fisher.taps import mark

__all__ = ["Inputs", "drawn", "inputs_of"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """The arguments of one call of a network for N samples.

    Attributes:
        arguments: by position (whole numbers from 0) or by name.
        of_samples: which of them are tensors whose first axis holds the samples; all samples share the others.
        samples: N.
    """

    arguments: Mapping[int | str, Any]
    of_samples: frozenset[int | str]
    samples: int

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, part: slice | list[int]) -> Inputs:
        """The same call for some of the samples, by their places."""
        samples = len(part) if isinstance(part, list) else len(range(self.samples)[part])
        return replace(self._mapped(lambda tensor: tensor[part]), samples=samples)

    @property
    def shapes(self) -> str:
        """The shapes of the arguments, in words."""
        return _shown(self.arguments)

    @property
    def has_images(self) -> bool:
        """Whether an argument of the samples is (N, C, H, W), which may have its channels last in memory."""
        return any(self.arguments[key].dim() == 4 for key in self.of_samples)

    def contiguous(self, *, channels_last: bool = False) -> Inputs:
        """The same numbers in the order of their axes in memory, or images with their channels last."""

        def laid_out(tensor: Tensor) -> Tensor:
            last = channels_last and tensor.dim() == 4
            return tensor.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

        return self._mapped(laid_out)

    def passed_to(self, model: nn.Module) -> Any:
        """What ``model`` returns for these arguments, whose tensors are marked as the batch for the taps."""
        for key in self.of_samples:
            mark(self.arguments[key], batch=True)
        positions = sorted(key for key in self.arguments if isinstance(key, int))
        named = {key: value for key, value in self.arguments.items() if isinstance(key, str)}
        return model(*(self.arguments[position] for position in positions), **named)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        changed = {key: change(self.arguments[key]) for key in self.of_samples}
        return replace(self, arguments={**self.arguments, **changed})


def inputs_of(given: Any) -> Inputs:
    """The call that a tensor, a tuple of arguments or a mapping of names to arguments stands for.

    Every tensor whose first axis is as long as that of the first tensor is taken to hold the samples.
    """
    if isinstance(given, Inputs):
        return given
    arguments = _arguments(given)
    samples = next((len(value) for value in arguments.values() if isinstance(value, Tensor) and value.dim()), 0)
    if not samples:
        raise ScoreError(f"inputs: must be tensors whose first axis holds the samples, but are {_shown(arguments)}")
    return Inputs(arguments, frozenset(k for k, v in arguments.items() if _length(v) == samples), samples)


def drawn(
    draw: Callable[[torch.Generator, int], Any],
    samples: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> Inputs:
    """The inputs that ``draw`` gives for so many samples; what is floating-point as ``dtype``.

    A second draw, of one sample more, tells which tensors hold the samples along their first axis: those that are one
    longer. The others are shared by all samples.
    """
    one_more = _arguments(draw(torch.Generator().manual_seed(0), samples + 1))
    arguments = _arguments(draw(generator, samples))
    of_samples = {k for k, v in arguments.items() if _length(v) == samples and _length(one_more.get(k)) == samples + 1}
    if not of_samples:
        raise ScoreError(
            f"inputs: must give tensors whose first axis is as long as there are samples, but for {samples} of them "
            f"gives {_shown(arguments)}. It is called as inputs(generator, samples)"
        )

    def placed(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(device=device, dtype=dtype if value.is_floating_point() else None)

    return Inputs({key: placed(value) for key, value in arguments.items()}, frozenset(of_samples), samples)


def _arguments(given: Any) -> dict[int | str, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    return dict(enumerate(given if isinstance(given, tuple | list) else (given,)))


def _length(value: Any) -> int:
    return len(value) if isinstance(value, Tensor) and value.dim() else 0


def _shown(arguments: Mapping[int | str, Any]) -> str:
    def shown(value: Any) -> str:
        return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__

    named = (f"{key} " if isinstance(key, str) else "" for key in arguments)
    return ", ".join(name + shown(value) for name, value in zip(named, arguments.values(), strict=True))
