"""Imports point one way: a package may import what stands in the lines above its own, and itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = (
    "errors quantities",  # words for faults and for numbers
    "contained_files",  # files of a folder that may be a stranger's
    "records determinism atomic_files source_rules options provenance",  # what crosses borders; seeds, files, code
    "contracts",  # what a third party implements
    "latencies",  # how long a module takes, and on which device
    "choices cost fisher optimizers",  # a step of the flow each; none knows another
    "recipe",  # what they are chosen by; it takes choices away from a space
    "proxies execution",  # how a candidate is judged, and where
    "runs",  # what is kept
    "engine",  # what drives a search
    "output ranking",  # what a search leaves; scores against known accuracies
    "racing",  # its shortlist, trained a little
    "comparing",  # runs side by side
    "run testing",  # the search from recipe to result; conformance tests for plug-ins
    "commands",  # the command line
    "__main__",
)
"""The packages and modules of vkdnw_search, from what needs nothing to what needs all."""


def place(package: str) -> int:
    return next(row for row, line in enumerate(LAYERS) if package in line.split())


def package_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_package_has_its_place() -> None:
    there = {p.stem for p in (ROOT / "vkdnw_search").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    named = [word for line in LAYERS for word in line.split()]
    assert sorted(there - {"__init__"}) == sorted(named)


def test_a_package_imports_what_stands_above_it() -> None:
    for path in (ROOT / "vkdnw_search").rglob("*.py"):
        own = package_of(name(path))
        if own and "templates" not in path.parts:
            for module in everything_imported(path):
                other = package_of(module)
                assert other in ("", own) or place(other) < place(own), f"{path}: {own} must not import {other}"


def test_nothing_in_vkdnw_search_imports_a_search_space() -> None:
    for path in (ROOT / "vkdnw_search").rglob("*.py"):
        assert not any(module.startswith("search_spaces") for module in everything_imported(path)), path


def test_search_spaces_need_contracts_records_errors_options_source_rules_and_torch_alone() -> None:
    allowed = {"contracts", "records", "errors", "options", "source_rules"}
    for path in (ROOT / "search_spaces").rglob("*.py"):
        ours = {package_of(m) for m in everything_imported(path) if m.startswith("vkdnw_search")}
        assert ours <= allowed, path


@pytest.mark.parametrize(("library", "door"), [("fvcore", "cost"), ("pymoo", "optimizers")])
def test_fvcore_and_pymoo_stay_behind_their_doors(library: str, door: str) -> None:
    paths = [p for p in (ROOT / "vkdnw_search").rglob("*.py") if any(n.startswith(library) for n in imported(p))]
    assert {package_of(name(path)) for path in paths} == {door}


def test_no_module_imports_one_that_imports_it() -> None:
    graph = {name(path): imported(path) for path in (ROOT / "vkdnw_search").rglob("*.py")}
    graph = {module: {n for n in names if n in graph and n != module} for module, names in graph.items()}
    graph.pop("vkdnw_search")  # the package itself offers what its modules define
    while graph:
        leaves = [module for module, names in graph.items() if not names & graph.keys()]
        assert leaves, f"these import one another in a circle: {sorted(graph)}"
        for module in leaves:
            del graph[module]


def name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported(path: Path) -> set[str]:
    """Modules that are imported when ``path`` is: not those inside functions or for type checking alone."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= modules(node)
        elif isinstance(node, ast.With):
            found |= {module for n in ast.walk(node) for module in modules(n)}
    return found


def everything_imported(path: Path) -> set[str]:
    """Modules of this project that ``path`` imports anywhere, in functions and for type checking too."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    found = {module for node in nodes for module in modules(node)}
    return {module for module in found if module.startswith(("vkdnw_search.", "search_spaces"))}


def modules(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module:
        return {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return set()
