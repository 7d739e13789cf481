"""Imports point one way: what a file may import is what stands left of it in the flow."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_nothing_in_vkdnw_search_imports_a_search_space() -> None:
    for path in (ROOT / "vkdnw_search").rglob("*.py"):
        assert not any(name.startswith("search_spaces") for name in imported(path)), path


def test_search_spaces_need_contracts_records_errors_and_torch_alone() -> None:
    allowed = ("vkdnw_search.contracts", "vkdnw_search.records", "vkdnw_search.errors", "search_spaces")
    for path in (ROOT / "search_spaces").rglob("*.py"):
        ours = [name for name in imported(path) if name.startswith(("vkdnw_search", "search_spaces"))]
        assert all(name.startswith(allowed) for name in ours), path


@pytest.mark.parametrize("library", ["fvcore", "pymoo"])
def test_fvcore_and_pymoo_stay_behind_their_doors(library: str) -> None:
    doors = {"fvcore": {"budget"}, "pymoo": {"breeding", "evolving", "optimizers"}}[library]
    users = {p.stem for p in (ROOT / "vkdnw_search").rglob("*.py") if any(n.startswith(library) for n in imported(p))}
    assert users and users <= doors


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
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.With):
            found |= {n.module for n in ast.walk(node) if isinstance(n, ast.ImportFrom) and n.module}
    return found
