"""The source of a network that was constructed by choices: its own code, and the answers as a table.

What a class or function needs of its own file is found by name: definitions and assignments at the top level, and what
those need in turn. Everything else, such as the plug-in's declaration, is left out.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from vkdnw_search.errors import SpaceError
from vkdnw_search.records import GeneValue

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
        raise SpaceError(f"{name}: its module {module.__name__} must be a file, but: {error}. {OTHERWISE}") from error
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
    binding = {bound: statement for statement in statements for bound in _bound(statement)}
    kept: set[int] = set()
    waiting = [name]
    while waiting:
        word = waiting.pop()
        statement = binding.get(word)
        if statement is None or word == ASKING or id(statement) in kept:
            continue  # a built-in name, a local one, or known
        _must_be_torch(statement, word, module)
        kept.add(id(statement))
        waiting += [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]
        waiting += [part for node in ast.walk(statement) if isinstance(node, ast.Constant) for part in _quoted(node)]
    pieces = [_segment(text, statement) for statement in statements if id(statement) in kept]
    return "\n\n".join(pieces)


def _bound(statement: ast.stmt) -> list[str]:
    """The names that a top-level statement gives a meaning."""
    match statement:
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [alias.asname or alias.name.partition(".")[0] for alias in names]
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            return [name]
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            return [n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return []


def _quoted(node: ast.Constant) -> list[str]:
    """A name in quotes, which may be an annotation."""
    return [node.value] if isinstance(node.value, str) and node.value.isidentifier() else []


def _must_be_torch(statement: ast.stmt, word: str, module: str) -> None:
    sources: list[str] = []
    if isinstance(statement, ast.Import):
        sources = [alias.name for alias in statement.names]
    elif isinstance(statement, ast.ImportFrom):
        sources = ["." * statement.level + (statement.module or "")]
    foreign = [source for source in sources if source.partition(".")[0] not in ("torch", "__future__")]
    if foreign:
        raise SpaceError(
            f"{module}, {word}: what the network uses must be of torch or of its own file, but {word} is of "
            f"{foreign[0]}. Move it into the file. {OTHERWISE}"
        )


def _segment(text: str, statement: ast.stmt) -> str:
    """The lines of a statement, decorators included."""
    decorators = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
    return "\n".join(text.splitlines()[first - 1 : statement.end_lineno])
