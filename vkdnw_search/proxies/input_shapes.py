"""The shapes of a network's inputs as a user gives them: that of one input, or of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex, TypeAlias, TypeGuard

from torch import Tensor

from vkdnw_search.errors import ScoreError, shortened

__all__ = ["InputShape", "checked_shape", "is_one_shape"]

InputShape: TypeAlias = Sequence[int] | Sequence[Sequence[int]] | None
"""The shape of one input without the batch, or the shapes of several; None where ``inputs`` draws them."""

Shape = tuple[int, ...]


def checked_shape(input_shape: object) -> Shape | tuple[Shape, ...] | None:
    """``input_shape`` as tuples.

    Raises:
        ScoreError: it is neither a shape nor several.
    """
    if input_shape is None:
        return None
    one = _shape(input_shape)
    if one is not None:
        return one
    several = [_shape(part) for part in input_shape] if _is_sequence(input_shape) else []
    found = tuple(shape for shape in several if shape is not None)
    if not found or len(found) < len(several):
        raise ScoreError(
            "score, input_shape: must be the sizes of one input without the batch, whole numbers of at least 1 such as "
            f"(3, 224, 224), or a sequence of such shapes for several inputs, but is {_shown(input_shape)}"
        )
    return found


def is_one_shape(input_shape: InputShape) -> TypeGuard[Sequence[int]]:
    """Whether ``input_shape`` is that of one tensor."""
    return input_shape is not None and all(isinstance(size, int) for size in input_shape)


def _shape(value: object) -> Shape | None:
    """``value`` if it is a sequence of sizes, NumPy's whole numbers included."""
    if not _is_sequence(value) or not all(isinstance(size, SupportsIndex) for size in value):
        return None
    sizes = tuple(size.__index__() for size in value)
    return sizes if all(size >= 1 for size in sizes) else None


def _is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _shown(input_shape: object) -> str:
    """What came, and the shape that was probably meant."""
    if isinstance(input_shape, Tensor):
        sample = tuple(input_shape.shape[1:])
        return f"a tensor {tuple(input_shape.shape)}. Give the shape alone, without the samples: {sample}"
    hint = f". One axis of that size is ({input_shape},)" if isinstance(input_shape, int) else ""
    return f"{shortened(repr(input_shape))}{hint}"
