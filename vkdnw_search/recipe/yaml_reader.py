"""YAML text ↔ plain data, refusing whatever a recipe has no use for.

The tree is built from PyYAML's events, so nothing is ever constructed but dicts, lists, text, numbers, booleans and
None, by the core schema of YAML 1.2 (PyYAML's own constructors speak YAML 1.1, where ``6e8`` is text, ``yes`` a
boolean, ``1:30`` ninety and ``017`` fifteen). Tags, anchors, aliases, duplicate keys, several documents, deep nesting
and long files are errors: six lines of aliases can stand for millions of values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml
from yaml import events

from vkdnw_search.errors import RecipeError
from vkdnw_search.options.type_descriptions import shown

MAX_BYTES = 1_000_000
MAX_DEPTH = 12
"""The number of levels a document may have; a recipe needs three or four."""
MAX_VALUES = 10_000
"""A recipe needs some fifty; so many are read in a second."""

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"

Path: TypeAlias = tuple[str | int, ...]
"""A place in a document: keys and list positions, from the top."""

_KEY = re.compile(r"[\w-]{1,60}")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"(?=[^.eE]*[.eE])[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
_LONGEST_NUMBER = 40
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed text and the line, from 1, on which each of its values begins."""

    tree: Plain
    lines: dict[Path, int]


def read_yaml(text: bytes | str, *, source: str) -> Document:
    """Parse one YAML document; ``source`` is how errors name it.

    Raises:
        RecipeError: the text is not UTF-8, not YAML, too long, too deep, or uses a refused feature.
    """
    builder = _Builder(source, _decoded(text, source))
    try:
        return Document(builder.document(), builder.lines)
    except RecipeError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise builder.fault(error.problem or "is not YAML", mark.line if mark else None) from error
    except yaml.reader.ReaderError as error:
        line = builder.text.count("\n", 0, error.position)
        raise builder.fault(
            f"contains the character {chr(error.character)!r}, which YAML does not allow", line
        ) from error
    except (ValueError, OverflowError) as error:  # PyYAML on escapes such as "\UFFFFFFFF"
        raise builder.fault(f"has an escape that is no character ({error})", None) from error


def plain(value: object, *, source: str, path: Path = ()) -> Plain:
    """A copy of ``value``, a tree of mappings and sequences from Python, as YAML would have given it.

    Raises:
        RecipeError: something in it is no plain data, or it is deeper than YAML may be.
    """
    where = ", ".join(filter(None, (source, dotted(path))))
    if len(path) > MAX_DEPTH:
        raise RecipeError(f"{source}: must not be nested deeper than {MAX_DEPTH} levels")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(item, source=source, path=(*path, place)) for place, item in enumerate(value)]
    if not isinstance(value, Mapping):
        raise RecipeError(f"{where}: must be plain data, but is of type {type(value).__name__}")
    if odd := [key for key in value if not isinstance(key, str)]:
        raise RecipeError(f"{where}: a key must be text, but one is of type {type(odd[0]).__name__}")
    return {key: plain(item, source=source, path=(*path, key)) for key, item in value.items()}


def dotted(path: Path) -> str:
    """``("limits", "flops")`` → ``limits.flops``; a key that is no plain word is quoted."""
    return ".".join(key if isinstance(key, str) and _KEY.fullmatch(key) else shown(key) for key in path)


def write_yaml(tree: Plain) -> str:
    """``tree`` as YAML that :func:`read_yaml` reads back to an equal tree; text must be printable."""
    return yaml.dump(
        tree, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=10**6
    )  # one line for each innermost mapping


def _decoded(text: bytes | str, source: str) -> str:
    if len(text) > MAX_BYTES:
        raise RecipeError(f"{source}: must be at most {MAX_BYTES} bytes long, but is longer. Is it a recipe?")
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            f"{source}: must be UTF-8 text, but has the byte {text[error.start]:#04x} (line {line})"
        ) from error


@dataclass(slots=True)
class _Builder:
    """Turns the events of one text into a tree, noting where each value begins."""

    source: str
    text: str
    lines: dict[Path, int] = field(default_factory=dict)

    def fault(self, message: str, line: int | None) -> RecipeError:
        where = "" if line is None else f" (line {line + 1})"
        return RecipeError(f"{self.source}: {message}{where}")

    def document(self) -> Plain:
        stream = yaml.parse(self.text, Loader=yaml.SafeLoader)
        tree: Plain = None
        seen = 0
        for event in stream:
            if isinstance(event, events.DocumentStartEvent):
                seen += 1
                if seen > 1:
                    raise self.fault("must be one YAML document, but another begins here", _line(event))
                tree = self._value(next(stream), stream, ())
        return tree

    def _value(self, event: events.Event, stream: Iterator[events.Event], path: Path) -> Plain:
        self._refuse(event)
        self.lines.setdefault(path, _line(event) + 1)
        if len(path) > MAX_DEPTH:
            raise self.fault(f"must not be nested deeper than {MAX_DEPTH} levels", _line(event))
        if len(self.lines) > MAX_VALUES:
            raise self.fault(f"must have at most {MAX_VALUES:,} values, but goes on. Is it a recipe?", _line(event))
        if isinstance(event, events.ScalarEvent):
            return event.value if event.style else scalar(event.value)
        if isinstance(event, events.SequenceStartEvent):
            return self._list(stream, path)
        return self._mapping(stream, path)

    def _refuse(self, event: events.Event) -> None:
        """Raise for what no value and no key may be."""
        if not isinstance(event, events.ScalarEvent | events.CollectionStartEvent):
            raise self.fault("aliases (*) are not allowed: write the value out", _line(event))
        if event.anchor is not None:
            raise self.fault("anchors (&) are not allowed: write the value out wherever it is wanted", _line(event))
        if event.tag is not None:
            tag = shown(event.tag)
            raise self.fault(f"tags such as {tag} are not allowed: a recipe is plain data", _line(event))

    def _list(self, stream: Iterator[events.Event], path: Path) -> list[Plain]:
        values: list[Plain] = []
        while not isinstance(event := next(stream), events.SequenceEndEvent):
            values.append(self._value(event, stream, (*path, len(values))))
        return values

    def _mapping(self, stream: Iterator[events.Event], path: Path) -> dict[str, Plain]:
        values: dict[str, Plain] = {}
        while not isinstance(event := next(stream), events.MappingEndEvent):
            line = _line(event)
            key = self._key(event)
            if key in values:
                raise self.fault(f"the key {shown(key)} is given twice, first in line {self.lines[*path, key]}", line)
            self.lines[*path, key] = line + 1
            values[key] = self._value(next(stream), stream, (*path, key))
        return values

    def _key(self, event: events.Event) -> str:
        self._refuse(event)
        if not isinstance(event, events.ScalarEvent):
            raise self.fault("a key must be text, but is a list or a mapping", _line(event))
        key = event.value if event.style else scalar(event.value)
        if not isinstance(key, str):
            raise self.fault(f"a key must be text, but is {shown(key)}", _line(event))
        return key


def _line(event: events.Event) -> int:
    return event.start_mark.line if event.start_mark else 0


def scalar(text: str) -> Plain:
    """Read an unquoted YAML scalar.

    >>> [scalar(text) for text in ("12", "6e8", "600M", "true", "yes", "~", "017", "1:30", "1_000", "2024-01-01")]
    [12, 600000000.0, '600M', True, 'yes', None, '017', '1:30', '1_000', '2024-01-01']
    """
    word = text.lower() if text in (text.lower(), text.title(), text.upper(), ".NaN") else text
    if word in _WORDS:
        return _WORDS[word]
    if word in _NOT_FINITE:
        return _NOT_FINITE[word]
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


class _Dumper(yaml.SafeDumper):
    """Quotes text that either YAML 1.1 or :func:`scalar` would take for something else."""

    def ignore_aliases(self, data: object) -> bool:
        return True


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
