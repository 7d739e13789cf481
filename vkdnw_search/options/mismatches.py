"""The sentence about a value that does not fit its type: what must hold, what came, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at

from vkdnw_search.errors import close_matches
from vkdnw_search.options.type_descriptions import (
    LONGEST,
    MANY,
    bounds_among,
    describe,
    is_time,
    present,
    shown,
    split,
)
from vkdnw_search.quantities import compact, suggestion, time_suggestion, whole

_SIZES = re.compile(r"\s*[0-9]{1,9}(\s*[x×,]\s*[0-9]{1,9}){1,3}\s*", re.ASCII)
"""Sizes as they are often written: 48x96."""

_YES_AND_NO = {"yes": True, "on": True, "y": True, "true": True, "no": False, "off": False, "n": False, "false": False}


def mismatch(annotation: Any, value: object, *, accepts: Callable[[Any], bool] = lambda candidate: True) -> str:
    """The sentence about a ``value`` that is no ``annotation``.

    Args:
        annotation: a type, with its bounds.
        value: what came instead.
        accepts: whether a value would do. Nothing else is suggested.

    >>> mismatch(Annotated[int, at.Interval(ge=1, le=10**15)], "600MB")
    "must be a positive number such as 600M or 6e8, but is '600MB'. Did you mean '600M'?"
    """
    base, notes = split(present(annotation))
    words = describe(annotation)
    most, number = bounds_among(notes).get(at.Le), whole(value)
    if most is not None and isinstance(number, int | float) and number > most >= MANY:
        words += f", at most {compact(most)}"
    if base is str and isinstance(value, str):
        words += f" of at most {LONGEST} printable characters"
    meant = next((candidate for candidate in _candidates(annotation, value) if accepts(candidate)), None)
    hint = "" if meant is None else f". Did you mean {shown(meant)}?"
    return f"must be {words}, but is {shown(value)}{hint}"


def _candidates(annotation: Any, value: Any) -> Iterator[Any]:
    """Values close to ``value`` that may be an ``annotation``; the first that is one was probably meant."""
    base, notes = split(annotation)
    origin, arguments = get_origin(base), get_args(base)
    if hasattr(value, "tolist"):  # of NumPy or PyTorch
        yield value.tolist()
    elif origin in (Union, UnionType):
        for part in arguments:
            yield from _candidates(Annotated[(part, *notes)] if notes else part, value)
    elif origin in (list, tuple) and not isinstance(value, list | tuple):
        if isinstance(value, str) and _SIZES.fullmatch(value):
            yield [int(size) for size in re.findall("[0-9]+", value)]
        yield [value]
    elif origin is Literal:
        yield from (choice for choice in arguments if str(choice) == str(value))
        yield from close_matches(str(value), [choice for choice in arguments if isinstance(choice, str)])
    elif isinstance(value, str):
        yield from _read(base, value, time=is_time(notes))


def _read(base: Any, text: str, *, time: bool) -> Iterator[Any]:
    """What a text may stand for."""
    if base is bool and text.lower() in _YES_AND_NO:
        yield _YES_AND_NO[text.lower()]
    elif base in (int, float) and (number := time_suggestion(text) if time else suggestion(text)):
        plain = number.replace(".", "").isdigit()  # then the quotes were wrong
        yield (float(number) if "." in number else int(number)) if plain else number
