"""The record of the code that scores come from: what it is, and how two of them differ."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any

from vkdnw_search.provenance.sources import NO_SCRIPT, NO_SOURCE, outer_sources, shortened, spec_of, tree_hash

__all__ = ["CodeChange", "CodeRecord", "Origins", "code_record", "origins_of"]

PACKAGES = ("vkdnw-search", "torch", "numpy", "scipy", "fvcore")
"""Packages whose version may change a score or a count. pymoo, which proposes, may not: what it asks is compared with
what it asked before."""

OWN: Mapping[str, frozenset[str]] = {
    "vkdnw_search": frozenset({"commands", "output", "testing", "__main__.py"}),
    "search_spaces": frozenset(),
}
"""Packages of this project, whose sources are hashed, since the version stays the same from one commit to the next; and
what is in them that shows or writes what was found, and takes no part in finding it."""


@dataclass(frozen=True, slots=True)
class CodeChange:
    """A part of the code that differs between two records; None where one of them lacks it."""

    name: str
    recorded: str | None
    present: str | None

    def __str__(self) -> str:
        before, after = ("not there" if s is None else shortened(s) for s in (self.recorded, self.present))
        return f"{self.name}: {before} → {after}"


@dataclass(frozen=True, slots=True)
class Origins:
    """Where objects come from, as dotted names of modules.

    Attributes:
        classes: of the classes of the objects themselves. Where their package is installed, its files count, for it is
            somebody's own and may be installed again with the same version.
        within: of what else the objects are made of.
    """

    classes: frozenset[str] = frozenset()
    within: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CodeRecord:
    """What scores depend on besides the recipe and the machine.

    Attributes:
        parts: name → version of a package, or hash of sources.
        origins: where it was looked, for another process to look there, too.
    """

    parts: Mapping[str, str]
    origins: Origins = field(default=Origins(), compare=False)

    def changes(self, present: CodeRecord, *, in_both: bool = False) -> list[CodeChange]:
        """What is otherwise in ``present``, in the order of the names here; ``in_both``: names of both alone."""
        mine, other = self.parts, present.parts
        names = [name for name in {**mine, **other} if not in_both or (name in mine and name in other)]
        return [CodeChange(n, mine.get(n), other.get(n)) for n in names if mine.get(n) != other.get(n)]

    def not_hashed(self) -> list[str]:
        """What changes of which cannot be noticed, in words."""
        return [f"{name} {state}" for name, state in self.parts.items() if state in (NO_SCRIPT, NO_SOURCE)]


def code_record(origins: Origins = Origins()) -> CodeRecord:
    """The record of the code in this process. Takes some hundredths of a second, in which nothing is imported.

    Args:
        origins: of spaces, proxies and optimizers, as :func:`origins_of` finds them.
    """
    known = {*OWN, *(name.replace("-", "_") for name in PACKAGES)}
    inside = {module.partition(".")[0] for module in origins.classes}
    outer = outer_sources(origins.classes | origins.within, inside=inside, known=known)
    return CodeRecord(_own_parts() | outer, origins)


def origins_of(*objects: object) -> Origins:
    """Where objects, classes and functions come from, and all that they are made of.

    It is what a worker imports to get the objects: pickling finds that. Of an object that cannot be pickled, as one of
    a class within a function, it is the module of its class, and what its attributes are made of.
    """
    classes, within = set[str](), _Modules()
    for thing in objects:
        classes |= _home(thing if isinstance(thing, type | FunctionType) else type(thing))
        for part in (thing, *getattr(thing, "__dict__", {}).values()):
            with suppress(Exception):  # whatever an object raises that cannot be pickled
                within.dump(part)
    return Origins(frozenset(classes), frozenset(within.names - classes))


class _Modules(pickle.Pickler):
    """Notes where everything comes from that is pickled, and writes nothing."""

    def __init__(self) -> None:
        super().__init__(_Nowhere())
        self.names: set[str] = set()

    def reducer_override(self, thing: Any) -> Any:
        """Called with every object; pickles none otherwise than it would be."""
        if isinstance(thing, type | FunctionType | BuiltinFunctionType):
            self.names |= _home(thing)
        return NotImplemented


def _home(thing: Any) -> set[str]:
    """The module of a class or function, in a set; an empty set where it tells none."""
    name = getattr(thing, "__module__", None)
    return {str(name)} if name else set()


class _Nowhere:
    def write(self, data: bytes) -> int:
        return len(data)


@cache
def _own_parts() -> dict[str, str]:
    """Versions and our own sources; looked at once, since a process goes on running what it has imported."""
    hashes: dict[str, str] = {}
    for package, without in OWN.items():
        spec = spec_of(package)
        places = [] if spec is None else list(spec.submodule_search_locations or ())
        hashes |= {f"sources of {package}": tree_hash(Path(place), without=without) for place in places[:1]}
    return {name: version(name) for name in PACKAGES} | hashes
