"""What the source of a network must be: Python that imports torch alone. For spaces, export and conformance tests."""

from __future__ import annotations

import ast
from typing import Any

from vkdnw_search.errors import ExportError


def must_import_torch_alone(source: str, space: str, key: str) -> None:
    """Refuse the source of ``key``, of the search space ``space``, if it imports anything else.

    Raises:
        ExportError: the source imports something else, which the message names, or is not Python.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ExportError(f"{space}.source({key}): must be Python, but: {error}") from error
    if foreign := foreign_imports(tree):
        raise ExportError(f"{space}.source({key}): must import torch alone, but imports {', '.join(foreign)}")


def foreign_imports(tree: ast.AST) -> list[str]:
    """The modules that a source imports besides torch, each once, sorted; relative ones with their dots."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return sorted(name for name in names if name.partition(".")[0] not in ("torch", "__future__"))


def defined_by(source: str) -> dict[str, Any]:
    """Run a source and return name → what it defines. It must come from the installed space, not from a run folder.

    The source does not become a module: dataclasses would look for theirs among the imported ones.
    """
    names: dict[str, Any] = {}
    exec(compile(source, "model.py", "exec"), names)
    return names
