"""What the source of an installed plug-in tells of it: the first line of its docstring, and its parameters.

Importing a plug-in imports torch, which takes seconds: too long for a list of names, or for the news that a key is
misspelt. So the module is parsed instead, and of its expressions only the types and defaults of parameters are
evaluated, with the names they need: those of the standard library, of annotated_types and pydantic, and constants and
aliases at the top level of this or another module. Whatever the source does not tell for certain (a decorator other
than ``dataclass`` and ``strict_options``, a name with two meanings, a compiled module) is None, and the plug-in has to
be imported.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, Field, InitVar, dataclass
from functools import cache
from importlib.abc import InspectLoader
from inspect import Parameter, Signature
from typing import Any, ClassVar, TypeAlias, get_origin

from vkdnw_search.provenance.sources import spec_of

__all__ = ["first_line", "signature"]

STRICT = ("vkdnw_search.options", "strict_options")
"""The package and the name of the decorator that checks options."""

QUICK = sys.stdlib_module_names | {"annotated_types", "pydantic"}
"""Packages that are imported for types and defaults that name them."""


def first_line(target: str) -> str | None:
    """The first line of the docstring of ``target``, ``"module:name"``; None where the source does not tell."""
    try:
        node = _definition(target).node
    except (_Unclear, RecursionError):
        return None
    text = ast.get_docstring(node)
    return text.partition("\n")[0] if text else None  # without one Python takes that of a base class


def signature(target: str) -> Signature | None:
    """What the class or function ``target``, ``"module:name"``, is called with; None where the source does not tell.

    Defaults and annotations are those of the keyword-only parameters, evaluated.
    """
    try:
        return Signature(_parameters(_definition(target)))
    except (_Unclear, ValueError, RecursionError):
        return None


class _Unclear(Exception):
    """The source does not tell."""


_Node: TypeAlias = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True, slots=True)
class _Module:
    """A parsed module: name → the one statement at its top level that gives it a meaning, None if several do."""

    package: str
    bound: Mapping[str, ast.stmt | None]


@dataclass(frozen=True, slots=True)
class _Definition:
    """A class or function and the module it stands in."""

    module: _Module
    node: _Node


@dataclass(frozen=True, slots=True)
class _Scope(Mapping[str, object]):
    """The names that an expression of ``module`` may use; ``hidden`` ones have another meaning where it stands."""

    module: _Module
    hidden: frozenset[str] = frozenset()

    def __getitem__(self, name: str) -> object:
        if name in self.hidden:
            raise _Unclear
        found = _found(self.module, name)
        if isinstance(found, _Definition):  # no value, and making one would import its module
            raise _Unclear
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.module.bound)

    def __len__(self) -> int:
        return len(self.module.bound)


def _definition(target: str) -> _Definition:
    module, _, name = target.partition(":")
    return _undecorated(_found(_module(module), name))


def _undecorated(found: object) -> _Definition:
    """``found``, which must be a function or class whose decorators leave its parameters as they are written."""
    if not isinstance(found, _Definition):
        raise _Unclear
    others = [decorator for decorator in found.node.decorator_list if not _is_strict(found.module, decorator)]
    is_class = isinstance(found.node, ast.ClassDef)
    if not all(is_class and _is_dataclass(found.module, decorator) for decorator in others):
        raise _Unclear
    return found


@cache
def _module(name: str) -> _Module:
    try:
        spec = spec_of(name)
        source = spec.loader.get_source(name) if spec and isinstance(spec.loader, InspectLoader) else None
        tree = ast.parse(source or "")
    except (ImportError, SyntaxError, ValueError, RecursionError) as error:
        raise _Unclear from error
    if spec is None or source is None:
        raise _Unclear
    return _Module(spec.parent or "", _bindings(tree.body))


def _bindings(statements: list[ast.stmt]) -> dict[str, ast.stmt | None]:
    bound: dict[str, ast.stmt | None] = {}
    for statement in statements:
        for name in set(_names(statement)):
            bound[name] = None if name in bound else statement
    return bound


def _names(node: ast.AST) -> Iterator[str]:
    """The names that a statement binds, also those in the branches of an ``if`` and the like."""
    match node:
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in aliases)
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            yield name
        case _:
            if isinstance(other := getattr(node, "name", None), str):  # except … as name, case name
                yield other
            yield from (inner for child in ast.iter_child_nodes(node) for inner in _names(child))


def _found(module: _Module, name: str) -> object:
    """What ``name`` means in ``module``: a definition, or the value itself."""
    if name not in module.bound:
        if "*" in module.bound or not hasattr(builtins, name):
            raise _Unclear
        return getattr(builtins, name)
    match statement := module.bound[name]:
        case ast.ClassDef() | ast.FunctionDef():
            return _Definition(module, statement)
        case ast.ImportFrom():
            return _imported(module, statement, name)
        case ast.Import(names=aliases):
            return _quick_module(next((a.name for a in aliases if name == (a.asname or a.name)), ""))  # "": import a.b
        case ast.Assign(targets=[ast.Name()], value=value) | ast.AnnAssign(value=ast.expr() as value):
            return _value(value, _Scope(module))
        case _:
            raise _Unclear


def _imported(module: _Module, statement: ast.ImportFrom, name: str) -> object:
    """What ``from … import name`` gives."""
    try:
        source = importlib.util.resolve_name("." * statement.level + (statement.module or ""), module.package)
    except ImportError as error:
        raise _Unclear from error
    original = next(alias.name for alias in statement.names if name == (alias.asname or alias.name))
    if source.partition(".")[0] not in QUICK:
        return _found(_module(source), original)
    found = _quick_module(source)
    if not hasattr(found, original):
        raise _Unclear
    return getattr(found, original)


def _quick_module(name: str) -> Any:
    if name.partition(".")[0] not in QUICK:
        raise _Unclear
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _Unclear from error


def _value(expression: ast.expr, scope: _Scope) -> object:
    """The value of a type or default. The code is the plug-in's own, which importing it would run too."""
    try:
        return eval(compile(ast.Expression(expression), "<plug-in>", "eval"), {"__builtins__": {}}, scope)
    except Exception as error:
        raise _Unclear from error


def _parameters(definition: _Definition) -> list[Parameter]:
    """What the class or function is called with, defaults and annotations of keyword-only ones evaluated."""
    module, node = definition.module, definition.node
    if isinstance(node, ast.FunctionDef):
        return _of_function(node, _Scope(module))
    body = _body(node)
    if isinstance(function := body.get("__init__"), ast.FunctionDef) and not function.decorator_list:
        return _of_function(function, _Scope(module, frozenset(body)))[1:]
    if "__init__" in body:
        raise _Unclear
    if _has_fields(definition):
        return list(_fields(definition).values())
    if len(node.bases) > 1:
        raise _Unclear
    return _parameters(_base(module, node.bases[0])) if node.bases else []


def _of_function(node: ast.FunctionDef, scope: _Scope) -> list[Parameter]:
    places = [
        *((argument, Parameter.POSITIONAL_ONLY) for argument in node.args.posonlyargs),
        *((argument, Parameter.POSITIONAL_OR_KEYWORD) for argument in node.args.args),
    ]
    options = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    return [Parameter(argument.arg, kind) for argument, kind in places] + [
        _option(argument.arg, argument.annotation, default, scope) for argument, default in options
    ]


def _option(name: str, annotation: ast.expr | None, default: ast.expr | None, scope: _Scope) -> Parameter:
    return Parameter(
        name,
        Parameter.KEYWORD_ONLY,
        annotation=Parameter.empty if annotation is None else _value(annotation, scope),
        default=Parameter.empty if default is None else _value(default, scope),
    )


def _fields(definition: _Definition) -> dict[str, Parameter]:
    """The fields of a dataclass, those of its bases first."""
    module, node = definition.module, definition.node
    if isinstance(node, ast.FunctionDef):
        raise _Unclear
    fields: dict[str, Parameter] = {}
    body = _body(node)
    for base in reversed(node.bases):
        fields |= _fields(_base(module, base))
    if not _has_fields(definition):
        return fields
    for name, statement in body.items():
        if isinstance(statement, ast.AnnAssign):
            option = _option(name, statement.annotation, statement.value, _Scope(module, frozenset(body)))
            if ClassVar in (option.annotation, get_origin(option.annotation)):
                continue
            if _is_special(option) or (name in fields and statement.value is None):
                raise _Unclear
            fields[name] = option
        elif name in fields or not isinstance(statement, ast.Assign | ast.FunctionDef | ast.ClassDef):
            raise _Unclear
    return fields


def _is_special(field: Parameter) -> bool:
    """Whether a field of a dataclass is more than a type and a default."""
    return isinstance(field.default, Field) or isinstance(field.annotation, InitVar) or field.annotation is KW_ONLY


def _body(node: ast.ClassDef) -> Mapping[str, ast.stmt | None]:
    """Name → the one statement in the body of a class that binds it, None if several do."""
    body = _bindings(node.body)
    if node.keywords or "__new__" in body:  # a metaclass, for instance
        raise _Unclear
    return body


def _base(module: _Module, base: ast.expr) -> _Definition:
    """The definition of a base class."""
    name = base.value if isinstance(base, ast.Subscript) else base  # Base[T]
    return _undecorated(_found(module, name.id) if isinstance(name, ast.Name) else None)


def _has_fields(definition: _Definition) -> bool:
    """Whether an undecorated or decorated class is itself a dataclass."""
    return any(not _is_strict(definition.module, decorator) for decorator in definition.node.decorator_list)


def _is_strict(module: _Module, decorator: ast.expr) -> bool:
    """Whether a decorator is :func:`vkdnw_search.options.strict_options`, which checks options and changes nothing."""
    if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Name):
        return False
    found = _found(module, decorator.func.id)
    return isinstance(found, _Definition) and (found.module.package, found.node.name) == STRICT


def _is_dataclass(module: _Module, decorator: ast.expr) -> bool:
    """Whether a decorator is ``@dataclass(kw_only=True, …)``, which makes each field an option."""
    if not isinstance(decorator, ast.Call) or _value(decorator.func, _Scope(module)) is not dataclass:
        return False
    keywords = {k.arg: k.value.value for k in decorator.keywords if isinstance(k.value, ast.Constant)}
    return keywords.get("kw_only") is True and keywords.get("init", True) is True
