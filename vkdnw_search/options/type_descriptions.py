"""Type annotations in words: what a value must be."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at
from pydantic.fields import FieldInfo

from vkdnw_search.quantities import LARGEST, compact, microseconds, percentage

MANY = 10**9
"""Numbers that may reach this are FLOPs and the like, and are explained by an example instead of their bound."""

_BOUNDS: dict[type, tuple[str, str]] = {
    at.Ge: ("ge", " of at least"),
    at.Gt: ("gt", " above"),
    at.Lt: ("lt", ", below"),
    at.Le: ("le", ", at most"),
    at.MultipleOf: ("multiple_of", ", a multiple of"),
    at.MinLen: ("min_length", ", of a length of at least"),
    at.MaxLen: ("max_length", ", of a length of at most"),
}
"""Kinds of metadata that bound a value, each with its attribute and its words."""

_EXAMPLE = "a positive number such as 600M or 6e8"

_NOUNS = {bool: "true or false", int: "a whole number", float: "a number", str: "a line of text", NoneType: "null"}

LONGEST = 1000
"""Characters of a text."""

_shortened = reprlib.Repr()
_shortened.maxstring = _shortened.maxother = _shortened.maxlong = 60
_shortened.maxlevel = 2


def shown(value: object) -> str:
    """``value`` in one short line, as YAML spells it where Python differs."""
    if value is None or isinstance(value, bool):
        return {None: "empty (null)", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > 512:  # Python refuses to write integers of many digits
        return "a number of more than 150 digits"
    return _shortened.repr(value)


def describe(annotation: Any) -> str:
    """Describe in words what a value of this type must be.

    >>> describe(Annotated[int, at.Interval(ge=1, le=4096), "images in the batch"])
    'a whole number from 1 to 4096'
    >>> describe(Literal["auto"] | Annotated[int, at.Ge(1)])
    "'auto' or a positive whole number"
    >>> describe(tuple[Literal[3, 5], ...])
    'a list, each of it one of 3, 5'
    >>> describe(int | tuple[int, int])
    'a whole number or a list of 2 such'
    """
    base, notes = split(annotation)
    bounds = bounds_among(notes)
    if is_time(notes):
        return "a time with its unit, such as 20ms"
    if any(getattr(note, "func", None) is percentage for note in notes):
        return "a share of max such as 70%"
    if base is int and bounds.get(at.Ge) == 1 and bounds.get(at.Le, MANY) >= MANY:
        return "a positive whole number" if bounds.get(at.Le, LARGEST) >= LARGEST else _EXAMPLE
    words = _noun(base)
    if at.Ge in bounds and bounds.get(at.Le, MANY) < MANY:
        words += f" from {compact(bounds.pop(at.Ge))} to {compact(bounds.pop(at.Le))}"
    told = {kind: bound for kind, bound in bounds.items() if abs(bound) < MANY}
    return words + "".join(f"{_BOUNDS[kind][1]} {compact(bound)}" for kind, bound in told.items())


def present(annotation: Any) -> Any:
    """The type of a value that may be absent: ``int`` for ``int | None``; other types as they are."""
    base, _ = split(annotation)
    parts = [part for part in get_args(base) if part is not NoneType]
    return parts[0] if get_origin(base) in (Union, UnionType) and len(parts) == 1 else annotation


def meaning(annotation: Any) -> str:
    """The text among the metadata of an ``Annotated`` type, or an empty string."""
    return next((note for note in split(annotation)[1] if isinstance(note, str)), "")


def split(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """``Annotated[int, Ge(1), "words"]`` → ``(int, (Ge(1), "words"))``, groups of metadata unpacked."""
    if get_origin(annotation) is not Annotated:
        return annotation, ()
    base, *notes = get_args(annotation)
    return base, tuple(_flat(notes))


def bounds_among(notes: tuple[Any, ...]) -> dict[type, Any]:
    """The bounds among metadata: ``{Ge: 1, Le: 4096}``."""
    return {type(note): getattr(note, _BOUNDS[type(note)][0]) for note in notes if type(note) in _BOUNDS}


def is_time(notes: tuple[Any, ...]) -> bool:
    """Whether metadata says that a value is a time, which has a unit."""
    return any(getattr(note, "func", None) is microseconds for note in notes)


def _flat(notes: list[Any]) -> Iterator[Any]:
    for note in notes:
        if isinstance(note, FieldInfo):  # pydantic's Field(ge=1, description="…")
            yield from _flat(note.metadata)
            yield from filter(None, [note.description])
        elif isinstance(note, at.GroupedMetadata):
            yield from _flat(list(note))
        else:
            yield note


def _noun(base: Any) -> str:
    origin, arguments = get_origin(base), get_args(base)
    if origin is Literal:
        return f"one of {', '.join(map(repr, arguments))}" if len(arguments) > 1 else repr(arguments[0])
    if origin in (Union, UnionType):
        first, *others = [describe(part) for part in arguments if part is not NoneType]
        return " or ".join([first, *(part.replace(f", each of it {first}", " such") for part in others)])
    if origin in (list, tuple):
        items = [describe(part) for part in arguments if part is not Ellipsis]
        any_length = origin is list or Ellipsis in arguments
        if any_length or len(set(items)) == 1:
            return f"a list{'' if any_length else f' of {len(items)}'}, each of it {items[0]}"
        return f"a list of {len(items)}: {', '.join(items)}"
    if origin is dict:
        return f"a mapping of names, each to {describe(arguments[1])}"
    return _NOUNS.get(base, str(base))
