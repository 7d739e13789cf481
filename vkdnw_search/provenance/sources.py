"""The source files that modules are made of, as SHA-256: their own, and those of the modules that they import.

Modules are found as Python finds them, and their sources are parsed for imports, wherever these stand: so what is
found does not depend on what a process happens to have imported before. What is installed counts by its version, and
the standard library not at all.

A file is read once in the life of a process, for what counts is the code that the process runs, not what the file has
become since: a worker may live for days, and so may a notebook.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from types import CodeType

__all__ = ["NO_SOURCE", "NO_SCRIPT", "PLUGIN", "PluginLoader", "outer_sources", "shortened", "spec_of", "tree_hash"]

NO_SOURCE = "cannot be hashed: it has no source file"
"""What stands for a module without a file, such as one that was made by hand."""

NO_SCRIPT = "cannot be hashed: it is the script or notebook itself; put the class into a file of its own"
"""What stands for ``__main__``: a notebook has no file, and a script is edited to call the search differently."""

INSTALLED = {"site-packages", "dist-packages"}
"""Folders whose content counts by its version."""

PLUGIN = "vkdnw_plugin_"
"""How the names of modules begin that are files given by ``--plugin``."""


class PluginLoader(SourceFileLoader):
    """Imports a file by compiling what it reads, whose hash it keeps.

    Python's own loader may take an older compiled file instead: it tells an edit by time, in seconds, and size alone.
    """

    sha256 = ""

    def get_code(self, fullname: str) -> CodeType:
        """The code of the module, compiled from the bytes that ``sha256`` is the hash of."""
        source = self.get_data(self.path)
        self.sha256 = _sha256(source)
        code: CodeType = self.source_to_code(source, self.path)
        return code


def tree_hash(root: Path, *, without: Collection[str] = ()) -> str:
    """The hash of all Python files below ``root``, their names included, but for entries of these names in it."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0] not in without:
            digest.update(f"{name.as_posix()} {_sha256(path.read_bytes())}\n".encode())
    return f"sha256 {digest.hexdigest()}"


def outer_sources(modules: Collection[str], *, inside: Collection[str], known: Collection[str]) -> dict[str, str]:
    """What ``modules`` are made of, and the modules that they import: name → hash of the source, or version.

    Args:
        modules: dotted names.
        inside: packages whose files count also where they are installed.
        known: packages that are left out, since they are accounted for otherwise.
    """
    found: dict[str, str] = {}
    waiting, seen = sorted(modules), set[str]()
    while waiting:
        name = waiting.pop(0)
        first = name.partition(".")[0]
        if name in seen or first in known or first in sys.stdlib_module_names:
            continue
        seen.add(name)
        if first == "__main__":
            found["module __main__"] = NO_SCRIPT
        elif first not in inside and _is_installed(first):
            found[f"package {first}"] = _version_of(first)
            seen |= {first}
        elif (source := _source(name)) is not None:
            found[_free(_label(name), found)] = source.state
            waiting += sorted(source.imports)
        elif name in modules:
            found[_free(_label(name), found)] = NO_SOURCE
    return found


@dataclass(frozen=True, slots=True)
class _Source:
    """The state of a file, and the names that its imports may mean: modules, or what is in them."""

    state: str
    imports: frozenset[str]


_read: dict[str, tuple[ModuleSpec, _Source]] = {}
"""Module → its source as it was when it was looked at first, for as long as it is not imported anew."""


def _source(name: str) -> _Source | None:
    """The source of a module; None where there is no such module, or no file of it."""
    module, spec = sys.modules.get(name), None
    with suppress(ImportError, ValueError):
        spec = module.__spec__ if module is not None else spec_of(name)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return None
    if name in _read and _read[name][0] is spec:
        return _read[name][1]
    data = Path(spec.origin).read_bytes()
    state = spec.loader.sha256 if isinstance(spec.loader, PluginLoader) else _sha256(data)
    tree = None
    with suppress(SyntaxError, ValueError, RecursionError):  # a compiled module, for instance
        tree = ast.parse(data)
    names = frozenset() if tree is None else frozenset(_imports(tree, spec.parent or ""))
    parents = {name.rpartition(".")[0]} - {""}
    source = _Source(f"sha256 {state}", names | parents)
    if module is not None:
        _read[name] = spec, source
    return source


def _imports(node: ast.AST, package: str) -> Iterator[str]:
    """The dotted names that are imported anywhere below ``node``, but for type checkers."""
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"), orelse=orelse):
            children: Iterator[ast.AST] = iter(orelse)
        case ast.Import(names=aliases):
            yield from (alias.name for alias in aliases)
            return
        case ast.ImportFrom(module=module, names=aliases, level=level):
            with suppress(ImportError):  # beyond the top of its package, which would fail when it is run, too
                source = importlib.util.resolve_name("." * level + (module or ""), package)
                yield source
                yield from (f"{source}.{alias.name}" for alias in aliases if alias.name != "*")
            return
        case _:
            children = ast.iter_child_nodes(node)
    for child in children:
        yield from _imports(child, package)


def spec_of(name: str) -> ModuleSpec | None:
    """Where a module is, without importing the packages it is in, as ``importlib.util.find_spec`` would.

    Raises:
        ImportError, ValueError: what is imported under the first of its names is no module that Python could find.
    """
    first, *rest = name.split(".")
    spec = importlib.util.find_spec(first)
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(f"{spec.name}.{part}", list(spec.submodule_search_locations))
    return spec


@cache
def _is_installed(package: str) -> bool:
    """Whether a package counts by its version: it lies where packages are installed, and not in a checkout."""
    try:
        spec = spec_of(package)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return any(INSTALLED & {*Path(place).parts} or _has_metadata(Path(place), package) for place in places)


def _has_metadata(place: Path, package: str) -> bool:
    folder = place.parent.parent if place.name == "__init__.py" else place.parent
    return any(folder.glob(f"{package}-*.dist-info"))


@cache
def _version_of(package: str) -> str:
    """The version of the distribution that an importable package belongs to."""
    with suppress(PackageNotFoundError):
        return version(package)
    names = packages_distributions().get(package, ())
    return ", ".join(f"{name} {version(name)}" for name in sorted({*names})) or "unknown"


def _label(name: str) -> str:
    """What a module is called in a record: a plug-in by its file, wherever that lies."""
    if name.startswith(PLUGIN) and (module := sys.modules.get(name)) is not None:
        return f"plug-in {Path(str(module.__file__)).name}"
    return f"module {name}"


def _free(label: str, taken: Collection[str]) -> str:
    """``label``, with a number behind it if it is taken."""
    number = 1
    while (free := label if number == 1 else f"{label} ({number})") in taken:
        number += 1
    return free


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def shortened(state: str) -> str:
    """``state`` with no more than the first twelve digits of a hash."""
    return re.sub(r"^(sha256 [0-9a-f]{12})[0-9a-f]+$", r"\1…", state)
