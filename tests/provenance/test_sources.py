from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.edited_plugins import fresh_start, write_plugin
from tests.support.heavy import python
from vkdnw_search.provenance.record import Origins, code_record, origins_of
from vkdnw_search.provenance.sources import NO_SCRIPT, NO_SOURCE, tree_hash
from vkdnw_search.proxies.aggregate import LogRankSum
from vkdnw_search.recipe.registry import find, load_plugin

FILES = {
    "__init__.py": "",
    "space.py": "from typing import TYPE_CHECKING\nfrom . import blocks\nif TYPE_CHECKING:\n    from . import types\n"
    "class Space:\n    def build(self):\n        from {package}.deep.late import build\n        return build()\n",
    "blocks.py": "import json, torch\nimport hypothesis\nWIDTH = 8\n",
    "types.py": "",
    "deep/__init__.py": "",
    "deep/late.py": "def build(): ...\n",
    "unused.py": "",
}
"""Modules that reach one another in every way that an import is written."""


def sha256(text: str) -> str:
    return f"sha256 {hashlib.sha256(text.encode()).hexdigest()}"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = f"own_{tmp_path.name.replace('-', '_')}"
    for file, text in FILES.items():
        path = tmp_path / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(package=name))
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    for module in [m for m in sys.modules if m.partition(".")[0] == name]:
        del sys.modules[module]


def parts(package: str) -> dict[str, str]:
    space = importlib.import_module(f"{package}.space").Space()
    return {name: state for name, state in code_record(origins_of(space)).parts.items() if package in name}


def test_all_files_count_that_the_class_of_an_object_needs_and_no_others(package: str) -> None:
    used = ("", ".space", ".blocks", ".deep", ".deep.late")
    assert set(parts(package)) == {f"module {package}{name}" for name in used}
    assert parts(package)[f"module {package}.blocks"] == sha256(FILES["blocks.py"])


def test_what_is_installed_counts_by_its_version_and_the_standard_library_not_at_all(package: str) -> None:
    importlib.import_module(f"{package}.space")
    record = code_record(Origins(frozenset({f"{package}.space"}))).parts
    assert record["package hypothesis"] == importlib.metadata.version("hypothesis")
    assert not {"package json", "module json", "package torch", "module torch"} & {*record}


@pytest.mark.parametrize("file", ["space.py", "blocks.py", "deep/late.py", "__init__.py"])
def test_an_edit_of_any_of_them_is_seen_by_the_next_process_and_not_by_one_that_has_loaded_it(
    tmp_path: Path, package: str, file: str
) -> None:
    code = f"""
        import json
        from {package}.space import Space
        from vkdnw_search.provenance.record import code_record, origins_of
        print(json.dumps(code_record(origins_of(Space())).parts))
    """
    path = tmp_path / package / file
    before = python("-c", dedented(code)).stdout
    importlib.import_module(f"{package}.deep.late")
    loaded = parts(package)
    path.write_text(path.read_text() + "# edited\n")
    after = python("-c", dedented(code)).stdout
    assert before != after
    assert parts(package) == loaded


def test_a_module_that_is_loaded_anew_counts_as_it_is_then(tmp_path: Path, package: str) -> None:
    before = parts(package)
    path = tmp_path / package / "blocks.py"
    path.write_text("WIDTH = 16\n")
    importlib.reload(sys.modules[f"{package}.blocks"])
    changed = {name for name, state in parts(package).items() if before[name] != state}
    assert changed == {f"module {package}.blocks"}


def test_the_hash_of_a_plugin_is_that_of_what_was_loaded(tmp_path: Path) -> None:
    file = write_plugin(tmp_path / "mine.py", factor=1)
    text = file.read_text()
    with fresh_start():
        load_plugin(file)
        write_plugin(file, factor=2)
        assert code_record(origins_of(find("proxies", "edited")())).parts["plug-in mine.py"] == sha256(text)


def test_an_edit_that_keeps_size_and_time_of_a_plugin_is_run_not_what_was_compiled_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    file = tmp_path / "mine.py"
    code = f"""
        from vkdnw_search.recipe.registry import find, load_plugin
        load_plugin({str(file)!r})
        print(find("proxies", "edited").__call__.__globals__["FACTOR"])
    """
    said = []
    for factor in (1, 2):
        write_plugin(file, factor=factor).write_text(file.read_text() + f"FACTOR = {factor}\n")
        os.utime(file, (1_000_000_000, 1_000_000_000))
        said.append(python("-c", dedented(code)).stdout.strip())
    assert said == ["1", "2"]


def made_by_hand() -> object:
    module = ModuleType("made_by_hand")
    exec("class Space: ...", module.__dict__)
    return module.Space()


def of_a_script() -> object:
    return type("Space", (), {"__module__": "__main__"})()


@pytest.mark.parametrize(
    ("make", "told"),
    [(made_by_hand, f"module made_by_hand {NO_SOURCE}"), (of_a_script, f"module __main__ {NO_SCRIPT}")],
)
def test_what_cannot_be_hashed_is_told(make: Callable[[], object], told: str) -> None:
    assert code_record(origins_of(make())).not_hashed() == [told]


@dataclass
class Holding:
    """A proxy with something inside."""

    held: object

    def __call__(self, model: object, probe: object) -> float:
        return 0.0


def test_what_an_object_holds_counts_too(package: str) -> None:
    inner = importlib.import_module(f"{package}.space").Space()
    cannot_be_pickled = type("Outer", (), {})()
    cannot_be_pickled.proxies = {"own": inner}
    assert f"{package}.space" in origins_of(cannot_be_pickled).within
    assert f"{package}.space" in origins_of(LogRankSum(proxies={"own": Holding(inner)})).within


def test_the_hash_of_our_own_sources_is_that_of_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "fisher").mkdir()
    (tmp_path / "fisher/taps.py").write_text("1")
    (tmp_path / "output").mkdir()
    (tmp_path / "output/report.py").write_text("1")
    hashes = [tree_hash(tmp_path, without={"output"})]
    (tmp_path / "output/report.py").write_text("2")
    (tmp_path / "fisher/taps.pyc").write_text("2")
    assert tree_hash(tmp_path, without={"output"}) == hashes[0]
    (tmp_path / "fisher/taps.py").write_text("2")
    hashes.append(tree_hash(tmp_path, without={"output"}))
    (tmp_path / "fisher/taps.py").rename(tmp_path / "fisher/rows.py")
    hashes.append(tree_hash(tmp_path, without={"output"}))
    assert len({*hashes}) == 3


def test_versions_and_both_packages_are_in_every_record() -> None:
    versions = {
        name: importlib.metadata.version(name) for name in ("vkdnw-search", "torch", "numpy", "scipy", "fvcore")
    }
    record = code_record().parts
    assert versions.items() <= record.items()
    assert {*record} - {*versions} == {"sources of vkdnw_search", "sources of search_spaces"}


def dedented(code: str) -> str:
    return "\n".join(line.strip() for line in code.splitlines())
