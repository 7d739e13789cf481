"""Name → factory: spaces, proxies, optimizers, executors and sources of latencies, installed or joined.

Installed ones are found by entry points (group ``vkdnw_search.spaces``, ``.proxies``, ``.optimizers``, ``.executors``
or ``.latencies``), this project's own included. A file or module that is not installed joins only when
:func:`load_plugin` is called (``--plugin`` on the command line), and declares what it brings in one or more of the
dictionaries ``SPACES``, ``PROXIES``, ``OPTIMIZERS``, ``EXECUTORS`` and ``LATENCIES``::

    SPACES = {"my_space": MySpace}

A recipe can only choose among names that are here: it never names code.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

from vkdnw_search.errors import PluginError, named, nearest
from vkdnw_search.options.checked import Checked
from vkdnw_search.options.model import Factory, options_model, options_of_signature
from vkdnw_search.provenance.sources import PLUGIN, PluginLoader
from vkdnw_search.recipe import unimported_plugins

__all__ = [
    "KINDS",
    "Factory",
    "Kind",
    "available",
    "file_module",
    "find",
    "load_plugin",
    "load_plugins",
    "named_module",
    "names",
    "options_in_source",
    "options_of",
    "plugin_paths",
    "shipped",
    "summary",
]

Kind = Literal["spaces", "proxies", "optimizers", "executors", "latencies"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_WORDS: dict[Kind, str] = {
    "spaces": "search space",
    "proxies": "proxy",
    "optimizers": "optimizer",
    "executors": "executor",
    "latencies": "source of latencies",
}
_POSITIONAL: dict[Kind, int] = {"spaces": 0, "proxies": 0, "optimizers": 1, "executors": 0, "latencies": 0}
"""Number of arguments that a factory is given by position: an optimizer its problem."""

_joined: dict[Kind, dict[str, Factory]] = {kind: {} for kind in KINDS}
_sources: list[str] = []


def find(kind: Kind, name: str) -> Factory:
    """The class or function that is installed, or has joined, as ``name``.

    Raises:
        PluginError: there is none, or it cannot be imported.
    """
    if name in _joined[kind]:
        return _joined[kind][name]
    point = _installed(kind).get(name)
    if point is None:
        listed = ", ".join(names(kind)) or "there is none"
        hint = _hint(name, names(kind)) or " One of your own joins by --plugin FILE.py"
        raise PluginError(f"must be an installed {_WORDS[kind]} ({listed}), but is {name!r}.{hint}")
    return _imported(kind, point)


def options_of(kind: Kind, name: str) -> type[Checked]:
    """The model of the options of the plug-in called ``name``. Raises PluginError as :func:`find` does."""
    return options_model(find(kind, name), positional=_POSITIONAL[kind])


def options_in_source(kind: Kind, name: str) -> type[Checked]:
    """As :func:`options_of`, read from the source of an installed plug-in, so that mistakes are told at once.

    A plug-in is imported only if its source does not tell its options (:mod:`vkdnw_search.recipe.unimported_plugins`).
    """
    point = _installed(kind).get(name)
    model = None if point is None or name in _joined[kind] else _model_in_source(point.value, _POSITIONAL[kind])
    return model or options_of(kind, name)


@cache
def _model_in_source(target: str, positional: int) -> type[Checked] | None:
    signature = unimported_plugins.signature(target)
    with suppress(PluginError):  # options_of will say so
        if signature is not None:
            return options_of_signature(signature, target.replace(":", "."), positional=positional)
    return None


def names(kind: Kind) -> list[str]:
    """All names that :func:`find` knows, sorted."""
    return sorted({*_installed(kind), *_joined[kind]})


def available(kind: Kind) -> dict[str, str]:
    """Name → first line of its docstring, or why there is none to show, of all that is installed or has joined.

    An installed plug-in is imported only if its source does not tell its docstring.
    """
    return {name: _line(kind, name) for name in names(kind)}


def _line(kind: Kind, name: str) -> str:
    point = _installed(kind).get(name)
    line = None if point is None or name in _joined[kind] else unimported_plugins.first_line(point.value)
    try:
        return summary(find(kind, name)) if line is None else line
    except PluginError as error:
        return str(error)


def summary(factory: Factory) -> str:
    """The first line of the docstring of ``factory``, or an empty string."""
    return (inspect.getdoc(factory) or "").partition("\n")[0]


def shipped(kind: Kind) -> list[str]:
    """The names that come with this project, sorted."""
    return sorted(name for name, point in _installed(kind).items() if point.dist and point.dist.name == "vkdnw-search")


def load_plugin(source: str | Path) -> None:
    """Let a local file (``my_space.py``) or an importable module (``package.module``) join. Runs its code.

    Loading the same source again does nothing.

    Raises:
        PluginError: it cannot be imported, declares nothing, or a name in it is taken.
    """
    is_file = str(source).endswith(".py") or os.sep in str(source)
    text = str(Path(source).resolve()) if is_file else str(source)
    if text in _sources:
        return
    module = file_module(Path(text)) if is_file else named_module(text)
    declared = {kind: _declared(module, kind, text) for kind in KINDS}
    if not any(declared.values()):
        example = 'SPACES = {"my_space": MySpace}'
        raise PluginError(f"{text}: must declare at least one of {', '.join(map(str.upper, KINDS))}, such as {example}")
    for kind, factories in declared.items():
        _joined[kind].update(factories)
    _sources.append(text)


def plugin_paths() -> tuple[str, ...]:
    """The plug-ins that have joined so far, in order: the argument for :func:`load_plugins` in another process."""
    return tuple(_sources)


def add_plugin_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--plugin``, any number of times: what :func:`load_plugins` takes."""
    parser.add_argument(
        "--plugin", metavar="FILE.py|MODULE", action="append", default=[], help="let a space, proxy, … of yours join"
    )


def load_plugins(sources: Iterable[str | Path]) -> None:
    """Let each of ``sources``, as --plugin named them, join; an error says so.

    Initializer of worker processes, before they unpickle anything::

    ProcessPoolExecutor(initializer=load_plugins, initargs=(plugin_paths(),))
    """
    for source in sources:
        try:
            load_plugin(source)
        except PluginError as error:
            raise PluginError(f"--plugin {error}") from error


@cache
def _installed(kind: Kind) -> dict[str, EntryPoint]:
    """All entry points of one kind. Looking takes 10 ms, so it is done once."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"vkdnw_search.{kind}"):
        other = points.setdefault(point.name, point)
        if other.value != point.value:
            raise PluginError(
                f"the {_WORDS[kind]} {point.name!r} is installed twice, as {other.value} and as {point.value}: "
                "uninstall one of the two packages"
            )
    return points


def _imported(kind: Kind, point: EntryPoint) -> Factory:
    try:
        factory = point.load()
    except Exception as error:
        raise PluginError(
            f"the {_WORDS[kind]} {point.name!r} ({point.value}) cannot be imported: {named(error)}"
        ) from error
    return _checked(factory, point.value, kind)


def _checked(factory: object, where: str, kind: Kind) -> Factory:
    if not (inspect.isclass(factory) or inspect.isfunction(factory)):
        raise PluginError(f"{where}: a {_WORDS[kind]} must be a class or a function, but is {factory!r}")
    return factory


def _hint(name: str, choices: list[str]) -> str:
    if name.endswith(".py") or ":" in name or os.sep in name:
        return " A file or module joins by --plugin on the command line, and is chosen by the name it declares"
    return nearest(name, choices)


def file_module(path: Path) -> ModuleType:
    """Import a file under a name that depends on its path alone, so that worker processes can unpickle its objects.

    Raises:
        PluginError: there is no such file, or it cannot be imported.
    """
    if not path.is_file():
        raise PluginError(f"{path}: there is no such file")
    name = f"{PLUGIN}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    loader = PluginLoader(name, str(path)) if path.suffix == ".py" else None
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path}: must be a Python file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before execution: dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise PluginError(f"{path}: cannot be imported: {named(error)}") from error
    return module


def named_module(name: str) -> ModuleType:
    """Import a module by its dotted name. Raises PluginError if that fails."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        hint = f" Did you mean '{name}.py'?" if Path(f"{name}.py").is_file() else ""
        raise PluginError(f"{name}: cannot be imported: {named(error)}.{hint}") from error


def _declared(module: ModuleType, kind: Kind, where: str) -> dict[str, Factory]:
    """The factories of one kind that a plug-in module declares, checked."""
    declared = getattr(module, kind.upper(), {})
    if not isinstance(declared, dict):
        raise PluginError(f"{where}, {kind.upper()}: must be a dict of names and classes, but is {declared!r}")
    for name, factory in declared.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise PluginError(f"{where}, {kind.upper()}: a name must be an identifier, but is {name!r}")
        if name in _installed(kind) or name in _joined[kind]:
            raise PluginError(
                f"{where}, {kind.upper()}: the {_WORDS[kind]} {name!r} exists already; choose another name"
            )
        options_model(_checked(factory, f"{where}, {kind.upper()}[{name!r}]", kind), positional=_POSITIONAL[kind])
    return declared
