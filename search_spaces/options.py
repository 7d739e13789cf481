"""Checks the options of a search space against the bounds in its own annotations."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import annotated_types as at

from vkdnw_search.errors import SpaceError, nearest


def check_options(space: object) -> None:
    """Hold every annotated field of ``space`` to its type, bounds, divisor or closed set.

    The annotations are the single statement of what is allowed: recipes and documentation read them too.

    Raises:
        SpaceError: naming the class, the option, what must hold and what came.
    """
    for name, hint in get_type_hints(type(space), include_extras=True).items():
        fault = _fault(hint, getattr(space, name))
        if fault:
            raise SpaceError(f"{type(space).__name__}, {name}: {fault}")


def _fault(hint: Any, value: object) -> str:
    """What is wrong with ``value``, or an empty string."""
    kind, *metadata = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        if value in choices:
            return ""
        return f"must be one of {', '.join(map(repr, choices))}, but is {value!r}.{nearest(str(value), choices)}"
    if get_origin(kind) is tuple:  # of any length
        item = get_args(kind)[0]
        if type(value) is not tuple or any(type(part) is not item for part in value):
            return f"must be a tuple of {item.__name__}, but is {value!r}"
    elif type(value) is not kind:
        return f"must be of type {kind.__name__}, but is {value!r}"
    return next(filter(None, (_broken(bound, value) for bound in metadata)), "")


def _broken(bound: object, value: Any) -> str:
    """Why ``value`` breaks one piece of an annotation's metadata, or an empty string."""
    match bound:
        case at.Interval(ge=low, le=high) if not (low <= value <= high):
            return f"must be in {low} … {high}, but is {value}"
        case at.Len(min_length=least, max_length=most) if len(value) < least or (most and len(value) > most):
            return f"must have {least} to {most} entries, but has {len(value)}"
        case at.MultipleOf(multiple_of=divisor) if value % divisor:
            return f"must be a multiple of {divisor}, but is {value}"
    return ""
