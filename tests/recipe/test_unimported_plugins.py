"""What is read from a plug-in's source is what importing it would have given, or nothing."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from itertools import count
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import ValidationError

from vkdnw_search.errors import PluginError
from vkdnw_search.recipe import registry, unimported_plugins
from vkdnw_search.recipe.registry import KINDS, available, find, options_in_source, options_of, summary

HEAD = """
from __future__ import annotations
import annotated_types as at
import dataclasses, logging.handlers
from abc import ABC
from dataclasses import KW_ONLY, InitVar, dataclass, field
from functools import cache
from typing import Annotated, ClassVar, Generic, Literal, TypeVar
T = TypeVar("T")
"""

numbers = count()

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a module that can be imported, as a file of a name that no other has, or of a package."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def written(text: str, package: str = "") -> str:
        name = f"{package}{'.' if package else ''}written_{next(numbers)}"
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(HEAD + text)
        return name

    return written


Options = dict[str, tuple[Any, Any]]


def read(target: str) -> Options | None:
    """Keyword-only parameter → type and default, as the source tells."""
    signature = unimported_plugins.signature(target)
    if signature is None:
        return None
    return options(signature, {name: parameter.annotation for name, parameter in signature.parameters.items()})


def imported(factory: Any) -> Options:
    """The same, as Python tells once the plug-in is imported."""
    hinted = factory if not inspect.isclass(factory) or hasattr(factory, "__dataclass_fields__") else factory.__init__
    return options(inspect.signature(factory), get_type_hints(hinted, include_extras=True))


def options(signature: inspect.Signature, hints: dict[str, Any]) -> Options:
    parameters = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    return {p.name: (hints[p.name], p.default) for p in parameters}


SHIPPED = [(kind, name) for kind in KINDS for name in registry.shipped(kind)]


@pytest.mark.parametrize(("kind", "name"), SHIPPED, ids=[f"{kind}: {name}" for kind, name in SHIPPED])
def test_the_source_of_every_shipped_plug_in_tells_its_options_and_its_docstring(kind: Any, name: str) -> None:
    [target] = {point.value for point in entry_points(group=f"vkdnw_search.{kind}", name=name)}
    factory = find(kind, name)
    assert read(target) == imported(factory)
    assert unimported_plugins.first_line(target) == summary(factory) != ""
    assert options_in_source(kind, name) is not options_of(kind, name)
    assert list(options_in_source(kind, name).model_fields) == list(options_of(kind, name).model_fields)


CLEAR = {
    "a function": "def plug(*, a: int, b: float = 0.5, **rest: int): ...",
    "a function with positional arguments": "def plug(problem, /, other=1, *, a: Annotated[int, at.Ge(1)] = 1): ...",
    "names of this module": "N = 3\nSide = Annotated[int, at.Le(N)]\ndef plug(*, a: Side | None = N + 1): ...",
    "an annotated constant": "N: int = 3\ndef plug(*, a: int = N): ...",
    "a name of a module": "def plug(*, a: dataclasses.Field = dataclasses.MISSING): ...",
    "a name below the plug-in": "def plug(*, a: Side = 3): ...\nSide = Annotated[int, 'words']",
    "a built-in": "def plug(*, a: tuple[int, ...] = tuple(range(3))): ...",
    "a dataclass": "@dataclass(frozen=True, kw_only=True)\nclass plug:\n a: Literal['x', 'y'] = 'x'\n b: int\n"
    " name = 'plug'\n kinds: ClassVar[int] = 3\n def parse(self, text): ...",
    "a dataclass by its full name": "@dataclasses.dataclass(kw_only=True, slots=True)\nclass plug:\n a: int = 1",
    "an heir": "@dataclass(kw_only=True)\nclass Base:\n a: int = 1\n b: int = 2\n"
    "@dataclass(kw_only=True)\nclass plug(Base):\n c: int\n a: float = 0.5",
    "an heir without fields": "@dataclass(kw_only=True)\nclass Base:\n a: int = 1\n"
    "class plug(Base):\n b: int = 2\n a = 3",
    "an heir of two": "@dataclass(kw_only=True)\nclass A:\n a: int = 1\n"
    "@dataclass(kw_only=True)\nclass B:\n a: int = 2\n b: int = 2\n"
    "@dataclass(kw_only=True)\nclass plug(A, B):\n c: int = 3",
    "a constructor": "class plug(ABC):\n def __init__(self, problem, *, a: int = 1): ...",
    "a constructor of its base": "class Base:\n def __init__(self, problem, *, a: int = 1): ...\nclass plug(Base): ...",
    "no constructor": "class plug: ...",
}  # fmt: skip
UNCLEAR = {
    "a decorated function": "@cache\ndef plug(*, a: int = 1): ...",
    "two definitions": "def plug(*, a: int = 1): ...\ndef plug(*, b: int = 2): ...",
    "a definition in a branch": "if True:\n def plug(*, a: int = 1): ...",
    "a default given twice": "N = 1\nN = 2\ndef plug(*, a: int = N): ...",
    "a default given anew in a loop": "N = 1\nfor N in range(3): ...\ndef plug(*, a: int = N): ...",
    "a default caught in an exception": "N = 1\ntry: ...\nexcept OSError as N: ...\ndef plug(*, a: int = N): ...",
    "a default that a match binds": "N = 1\nmatch 2:\n case N: ...\ndef plug(*, a: int = N): ...",
    "a default that is computed": "def three(): return 3\ndef plug(*, a: int = three()): ...",
    "a default that fails": "def plug(*, a: int = N): ...\nN = 3\nplug.__kwdefaults__ = {'a': 1 / 1}\ndel N\nN = 1",
    "a default unpacked": "N, M = 1, 2\ndef plug(*, a: int = N): ...",
    "all names of another module": "from math import *\ndef plug(*, a: int = floor(pi)): ...",
    "a module that is not quick": "import yaml\ndef plug(*, a: str = yaml.__version__): ...",
    "an attribute of a package": "def plug(*, a: int = logging.handlers.DEFAULT_TCP_LOGGING_PORT): ...\nimport logging",
    "no name at all": "plug = 3",
    "another name": "def other(*, a: int = 1): ...\nplug = other",
    "a dataclass that takes places": "@dataclass\nclass plug:\n a: int = 1",
    "a dataclass without constructor": "@dataclass(kw_only=True, init=False)\nclass plug:\n a: int = 1",
    "a class with another decorator": "@cache\n@dataclass(kw_only=True)\nclass plug:\n a: int = 1",
    "a factory": "@dataclass(kw_only=True)\nclass plug:\n a: tuple[int, ...] = field(default_factory=tuple)",
    "a variable of the constructor alone": "@dataclass(kw_only=True)\nclass plug:\n a: InitVar[int] = 1",
    "a mark": "@dataclass(kw_only=True)\nclass plug:\n _: KW_ONLY\n a: int = 1",
    "a field in a branch": "@dataclass(kw_only=True)\nclass plug:\n if True:\n  a: int = 1",
    "an inherited default": "@dataclass(kw_only=True)\nclass Base:\n a: int = 1\n"
    "@dataclass(kw_only=True)\nclass plug(Base):\n a: float",
    "an inherited name that is a method now": "@dataclass(kw_only=True)\nclass Base:\n a: int = 1\n"
    "@dataclass(kw_only=True)\nclass plug(Base):\n def a(self): ...",
    "a default of the class": "N = 1\n@dataclass(kw_only=True)\nclass plug:\n N = 2\n a: int = N",
    "a constructor given twice": "class plug:\n def __init__(self): ...\n def __init__(self, *, a: int = 1): ...",
    "a decorated constructor": "class plug:\n @cache\n def __init__(self, *, a: int = 1): ...",
    "a maker": "class plug:\n def __new__(cls, *, a: int = 1): ...",
    "a metaclass": "class Meta(type): ...\nclass plug(metaclass=Meta):\n def __init__(self, *, a: int = 1): ...",
    "a base from elsewhere": "@dataclass(kw_only=True)\nclass plug(ABC):\n a: int = 1",
    "a base made by a decorator": "@cache\nclass Base:\n def __init__(self, *, a: int = 1): ...\n"
    "class plug(Base): ...",
    "two bases": "class A:\n def __init__(self, *, a: int = 1): ...\nclass B: ...\nclass plug(A, B): ...",
}  # fmt: skip


@pytest.mark.parametrize("text", CLEAR.values(), ids=CLEAR)
def test_what_a_source_tells_is_what_python_tells(text: str, write: Write) -> None:
    module = write(text)
    found = read(f"{module}:plug")
    assert module not in sys.modules
    assert found == imported(importlib.import_module(module).plug)


@pytest.mark.parametrize("text", UNCLEAR.values(), ids=UNCLEAR)
def test_what_a_source_does_not_tell_for_certain_it_does_not_tell(text: str, write: Write) -> None:
    assert read(f"{write(text)}:plug") is None


def test_options_of_other_modules_are_followed_there_without_importing_either(write: Write) -> None:
    base = write("Side = Annotated[int, at.Ge(1)]\n@dataclass(kw_only=True)\nclass Base(Generic[T]):\n a: Side = 1")
    plain = write("@dataclass(kw_only=True)\nclass Base:\n b: int = 1", package="whole")
    module = write(
        f"from {base} import Side\nfrom .{plain.partition('.')[2]} import Base as Root\n"
        "@dataclass(kw_only=True)\nclass plug(Root):\n c: Side = 2",
        package="whole",
    )
    found = read(f"{module}:plug")
    assert not {base, plain, module, "whole"} & {*sys.modules}
    assert found == imported(importlib.import_module(module).plug)
    assert [*found] == ["b", "c"]


def test_a_package_that_fails_when_it_is_imported_is_not_imported(tmp_path: Path, write: Write) -> None:
    module = write('def plug(*, a: int = 1):\n    """What it is for.\n\n    More."""', package="failing")
    (tmp_path / "failing" / "__init__.py").write_text("raise SystemExit('imported')")
    assert read(f"{module}:plug") == {"a": (int, 1)}
    assert unimported_plugins.first_line(f"{module}:plug") == "What it is for."


@pytest.mark.parametrize(
    "target", ["", ":", "no_such:plug", "no.such:plug", "math:pi", "sys:exit", "..:x", "abc:ABC.x"]
)
def test_what_has_no_source_tells_nothing(target: str) -> None:
    assert read(target) is None and unimported_plugins.first_line(target) is None


def test_names_that_stand_for_one_another_tell_nothing(write: Write) -> None:
    module = write("A = B\nB = A\ndef plug(*, a: A = B): ...")
    assert read(f"{module}:plug") is None


@pytest.mark.parametrize(
    "text", ["class plug: ...", "def plug(): ...", '@cache\ndef plug():\n """Words."""', "plug = 3", "not Python"]
)
def test_a_docstring_that_is_not_written_at_its_place_is_not_told(text: str, write: Write) -> None:
    assert unimported_plugins.first_line(f"{write(text)}:plug") is None


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that ``module:plug`` is the one proxy that is installed, as ``mine``."""

    def pretend(module: str) -> None:
        found = [EntryPoint("mine", f"{module}:plug", "vkdnw_search.proxies")]
        registry._installed.cache_clear()
        monkeypatch.setattr(registry, "entry_points", lambda group: found if group == "vkdnw_search.proxies" else [])

    yield pretend
    registry._installed.cache_clear()


def test_a_plug_in_whose_source_tells_all_is_described_and_checked_without_importing_it(
    write: Write, install: Any
) -> None:
    module = write('def plug(*, images: Annotated[int, at.Ge(1)] = 1):\n    """Looks at images."""')
    install(module)
    assert available("proxies") == {"mine": "Looks at images."}
    with pytest.raises(ValidationError, match="must be a positive whole number"):
        options_in_source("proxies", "mine").model_validate({"images": 0})
    assert module not in sys.modules


def test_a_plug_in_whose_source_does_not_tell_is_imported(write: Write, install: Any) -> None:
    module = write('@lambda f: f\ndef plug(*, images: int = 1):\n    """Looks at images."""')
    install(module)
    assert available("proxies") == {"mine": "Looks at images."}
    assert options_in_source("proxies", "mine") is options_of("proxies", "mine")


def test_a_fault_of_the_plug_in_itself_is_told_as_when_it_is_imported(write: Write, install: Any) -> None:
    install(module := write("def plug(*, images: Annotated[int, at.Ge(1)] = 0): ..."))
    with pytest.raises(PluginError, match=f"{module}.plug, default of images: must be a positive whole number"):
        options_in_source("proxies", "mine")
    assert module in sys.modules
