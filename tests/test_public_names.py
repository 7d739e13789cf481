"""``import vkdnw_search`` imports nothing, and each public name is what its module defines."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vkdnw_search
from tests.support.heavy import HEAVY, ROOT, python

PACKAGES = [
    "vkdnw_search",
    *(m.name for m in pkgutil.walk_packages(vkdnw_search.__path__, "vkdnw_search.") if m.ispkg),
    "search_spaces",
]


def test_importing_the_package_imports_nothing_of_it_and_nothing_heavy() -> None:
    code = "import json, sys, vkdnw_search; print(json.dumps(list(sys.modules)))"
    modules = json.loads(python("-c", code).stdout)
    assert not set(HEAVY) & {*modules}
    assert not [name for name in modules if name.startswith("vkdnw_search.")]


def test_all_public_names_can_be_imported_at_once() -> None:
    code = "import sys; from vkdnw_search import *; print(load_recipe.__module__, Recipe.__name__, search.__name__)"
    assert python("-c", code).stdout.split() == ["vkdnw_search.recipe.recipe", "Recipe", "search"]


@pytest.mark.parametrize("name", vkdnw_search.__all__)
def test_a_public_name_is_what_type_checkers_are_told_it_is(name: str) -> None:
    tree = ast.parse(Path(vkdnw_search.__file__).read_text(encoding="utf-8"))
    told = {
        alias.name: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert getattr(vkdnw_search, name) is getattr(importlib.import_module(str(told[name])), name)
    assert name in dir(vkdnw_search)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'vkdnw_search' has no attribute 'serch'"):
        vkdnw_search.serch  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError):
        from vkdnw_search import serch  # type: ignore[attr-defined]  # noqa: F401


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_called_as_a_public_name_beside_it(package: str) -> None:
    """Importing such a module would put it in the place of the class or function."""
    found = importlib.import_module(package)
    modules = {module.name for module in pkgutil.iter_modules(found.__path__)}
    assert not modules & {*getattr(found, "__all__", ())}


def test_search_is_the_function_whatever_was_imported_before() -> None:
    for module in pkgutil.walk_packages(vkdnw_search.__path__, "vkdnw_search."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert vkdnw_search.search is importlib.import_module("vkdnw_search.run").search
    assert not any(isinstance(getattr(vkdnw_search, name), type(vkdnw_search)) for name in vkdnw_search.__all__)


@pytest.mark.slow
def test_a_type_checker_sees_the_types_and_no_name_that_is_not_there(tmp_path: Path) -> None:
    code = "import vkdnw_search\nreveal_type(vkdnw_search.load_recipe('x').seed)\nvkdnw_search.serch\n"
    (tmp_path / "user.py").write_text(code)
    words = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path / "user.py")]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True).stdout
    assert re.search(r'Revealed type is "(builtins\.)?int"', told)
    assert 'Module has no attribute "serch"' in told
