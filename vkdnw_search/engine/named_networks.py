"""Networks that a user names: an architecture of a search space as text or by name, or what a Python file defines.

A recipe names none of the latter: files come from the command line or from Python alone, since their code runs.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vkdnw_search.contracts import Architecture, HasReferences, HasText, SearchSpace
from vkdnw_search.determinism import forked_generators
from vkdnw_search.errors import PluginError, ScoreError, SpaceError, YardstickError, named, nearest
from vkdnw_search.provenance.record import Origins, code_record
from vkdnw_search.recipe.registry import file_module

if TYPE_CHECKING:  # torch takes seconds to import, which a file that is not there need not wait for
    from torch import nn

__all__ = ["NetworkFile", "architecture_of", "file_and_name", "must_be_there", "network_file", "network_in"]

NAME = "Network"
"""What a file defines unless another name is said: every exported module does."""

LISTED = 12
"""How many classes an error lists."""


def architecture_of(space: SearchSpace[Any], text: str, *, what: str) -> tuple[str, Architecture]:
    """The architecture that ``text`` is in the space, or names there, and what to call it.

    Args:
        space: of the run.
        text: an architecture, or the name of one of the space's references.
        what: what else it may be, for errors, such as "a Python file".

    Raises:
        SpaceError: it is none.
    """
    if not isinstance(space, HasText):
        raise SpaceError(f"{text}: must be {what}, for {space.name} reads no architectures")
    references: Mapping[str, str] = space.references if isinstance(space, HasReferences) else {}
    try:
        architecture = space.parse(references.get(text, text))
    except SpaceError as error:
        names = "".join(f"{name}, " for name in references)
        raise SpaceError(
            f"must be {names}{what} or an architecture of {space.name}: {error}{nearest(text, references)}"
        ) from None
    return text if text in references else architecture.key, architecture


def file_and_name(text: str) -> tuple[Path, str] | None:
    """The file and the name in it that ``FILE.py`` or ``FILE.py:NAME`` says; None if it is no Python file."""
    file, colon, name = text.rpartition(":")
    if colon and file.endswith(".py"):
        return Path(file), name
    return (Path(text), NAME) if text.endswith(".py") else None


def must_be_there(texts: Sequence[str]) -> None:
    """Raise YardstickError if a file among ``texts`` is not there, before anything takes time."""
    for text in texts:
        place = file_and_name(text)
        if place is not None and not place[0].is_file():
            raise YardstickError(f"--with {text}: must be a Python file, but there is none")


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """A network that a Python file defines; a worker makes the same, or says that its code is other.

    Attributes:
        path: of the file.
        name: of a class, a function without arguments or a network in it.
        code: a hash of the file and of what it imports.
    """

    path: Path
    name: str
    code: str

    @property
    def key(self) -> str:
        """The same wherever the file lies, and another once its code has changed."""
        return f"{self.path.name}:{self.name} sha256 {self.code}"

    def build(self, num_classes: int) -> nn.Module:
        """Construct the network, with so many classes if it can be told how many. Its code runs.

        Raises:
            PluginError: the file is not here, or other code than where it was read, or has no such network.
            ScoreError: making the network raises an exception.
        """
        module = _loaded(self.path, self.code)
        return network_in(module, self.name, f"{self.path.name}:{self.name}", num_classes=num_classes)


def network_file(path: Path, name: str) -> NetworkFile:
    """The network ``name`` of a file, which is imported: its code runs. Raises PluginError if that fails."""
    path = path.resolve()
    return NetworkFile(path, name, _code_of(_imported(path)))


@lru_cache(16)
def _loaded(path: Path, code: str) -> ModuleType:
    module = _imported(path)
    if _code_of(module) != code:
        raise PluginError(f"{path}: must be the code that the search began with, but is other code here")
    return module


def _imported(path: Path) -> ModuleType:
    """The module of a file; a network that it makes on the way has the same weights wherever it is imported."""
    with forked_generators(0):
        return file_module(path)


def _code_of(module: ModuleType) -> str:
    """A hash of a module and of what it imports, as of plug-ins."""
    parts = code_record(Origins(frozenset({module.__name__}))).parts
    return hashlib.sha256(json.dumps(sorted(parts.items())).encode()).hexdigest()


def network_in(module: ModuleType, name: str, source: str, *, num_classes: int | None = None) -> nn.Module:
    """``name`` of ``module``: a network, or what makes one.

    Args:
        module: where it is.
        name: of it.
        source: how the user called both, for errors.
        num_classes: is told to what takes an argument of that name; None: nothing is.

    Raises:
        PluginError: there is no network of that name.
        ScoreError: making the network raises an exception.
    """
    from torch import nn

    made = getattr(module, name, None)
    options = {"num_classes": num_classes} if num_classes is not None and _takes_classes(made) else {}
    try:
        model = made if isinstance(made, nn.Module) or made is None else made(**options)
    except Exception as error:
        told = ", ".join(f"{option}={value}" for option, value in options.items())
        how = "must make a network" if options else "must make a network without arguments"
        raise ScoreError(f"{source}: {name}({told}) {how}, but: {named(error)}") from error
    if not isinstance(model, nn.Module):
        found = "is not there" if made is None else f"makes something else ({type(model).__name__})"
        raise PluginError(
            f"{source}: {name} must be a torch.nn.Module or make one, but {found}.{_others(module, name)} Say which "
            f"with {source.split(':')[0]}:NAME"
        )
    return model


def _others(module: ModuleType, name: str) -> str:
    """Which of what a module has was probably meant, and the networks that it defines."""
    from torch import nn

    there = {key: value for key, value in vars(module).items() if not key.startswith("_") and key != name}
    classes = [key for key, value in there.items() if isinstance(value, type) and issubclass(value, nn.Module)]
    makers = [key for key, value in there.items() if isinstance(value, nn.Module) or inspect.isfunction(value)]
    own = [key for key in classes if there[key].__module__ == module.__name__]
    listed = ", ".join(own[:LISTED]) + (f" and {len(own) - LISTED} more" if len(own) > LISTED else "")
    meant = nearest(name, [*classes, *makers])
    return f"{meant} It defines {listed}." if own else meant or " It defines no class of networks."


def _takes_classes(made: Any) -> bool:
    with suppress(TypeError, ValueError):
        return "num_classes" in inspect.signature(made).parameters
    return False
