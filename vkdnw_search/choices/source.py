"""The source of a network that was constructed by choices: its own code, and the answers as a table.

What a class or function needs of its own file is found by name: all statements at the top level that give a meaning to
a name it takes from there, and what those need in turn. Everything else, such as the plug-in's declaration, is left
out.
"""

from __future__ import annotations

import ast
import inspect
import symtable
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vkdnw_search.errors import SpaceError, told
from vkdnw_search.records import GeneValue
from vkdnw_search.source_rules import foreign_imports

OTHERWISE = "Or take the network from space.build and write it without its code, by torch.export.save"

ASKING = "Choice"
"""The function that the source defines itself."""


def chosen_source(make: Callable[..., Any], answers: Mapping[str, GeneValue], num_classes: int) -> str:
    """Python that needs torch alone and defines ``Network(num_classes=…)``: ``make`` with these answers.

    Raises:
        SpaceError: ``make`` is not at the top level of a file, or uses something that is neither of its file nor of
            torch.
    """
    name = getattr(make, "__name__", "")
    module = sys.modules.get(getattr(make, "__module__", ""))
    if module is None or getattr(module, name, None) is not make or make.__qualname__ != name:
        raise SpaceError(f"{make!r}: must be a class or function at the top level of a module. {OTHERWISE}")
    try:
        text = inspect.getsource(module)
    except (OSError, TypeError) as error:
        raise SpaceError(
            f"{name}: its module {module.__name__} must be a file, but: {told(error)}. {OTHERWISE}"
        ) from error
    rows = "".join(f"    {key!r}: {value!r},\n" for key, value in answers.items())
    return _SOURCE.format(code=_needed(text, name, module.__name__), rows=rows, name=name, num_classes=num_classes)


_SOURCE = '''from __future__ import annotations

ANSWERS = {{
{rows}}}


def Choice(name, *choices, ordered=None):
    """What the search chose under ``name``."""
    return ANSWERS[name]


{code}


def Network(num_classes={num_classes}):
    """The network that was found, for any number of classes."""
    return {name}(num_classes=num_classes)
'''


def _needed(text: str, name: str, module: str) -> str:
    """The top-level statements of ``text`` that define ``name`` and what it needs, in their order."""
    statements = ast.parse(text).body
    binding: dict[str, list[ast.stmt]] = {}
    for statement in statements:
        for bound in _bound(statement):
            binding.setdefault(bound, []).append(statement)
    kept: set[int] = set()
    waiting = [name]
    while waiting:
        word = waiting.pop()
        for statement in binding.get(word, ()):  # none of a built-in name
            if word != ASKING and id(statement) not in kept:
                _must_be_torch(statement, word, module)
                kept.add(id(statement))
                waiting += _used(statement, _segment(text, statement))
    pieces = [_segment(text, statement) for statement in statements if id(statement) in kept]
    return "\n\n".join(pieces)


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a top-level statement, or one within an ``if``, ``try`` or the like, gives a meaning."""
    match statement:
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in names)
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            pass  # never runs
        case _:
            for child in ast.iter_child_nodes(statement):
                if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
                    yield from _bound(child)  # type: ignore[arg-type]  # all have statements as children
                else:
                    words = (n for n in ast.walk(child) if isinstance(n, ast.Name))
                    yield from (n.id for n in words if isinstance(n.ctx, ast.Store))


def _used(statement: ast.stmt, code: str) -> set[str]:
    """The names that a statement takes from its module, and those in its annotations, quoted or not."""
    tables, names = [symtable.symtable(code, "<module>", "exec")], set[str]()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        symbols = (s for s in table.get_symbols() if s.is_referenced())
        names |= {s.get_name() for s in symbols if s.is_global() or table.get_type() == "module"}
    for node in ast.walk(statement):
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            words = ast.walk(annotation) if annotation is not None else ()
            names |= {n.id for n in words if isinstance(n, ast.Name)}
            if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
                names |= {n.id for n in ast.walk(ast.parse(annotation.value)) if isinstance(n, ast.Name)}
    return names


def _must_be_torch(statement: ast.stmt, word: str, module: str) -> None:
    if isinstance(statement, ast.ClassDef | ast.FunctionDef):
        return  # what is imported within is judged with the whole source
    if foreign := foreign_imports(statement):
        raise SpaceError(
            f"{module}, {word}: what the network uses must be of torch or of its own file, but {word} is of "
            f"{foreign[0]}. Move it into the file. {OTHERWISE}"
        )


def _segment(text: str, statement: ast.stmt) -> str:
    """The lines of a statement, decorators included."""
    decorators = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
    return "\n".join(text.splitlines()[first - 1 : statement.end_lineno])
