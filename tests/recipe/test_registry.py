"""Plug-ins: what is found, what may join, what becomes of a factory's parameters."""

import multiprocessing
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import EntryPoint
from operator import attrgetter
from pathlib import Path

import pytest

from vkdnw_search.errors import PluginError
from vkdnw_search.recipe import registry as plugins
from vkdnw_search.recipe.registry import available, find, load_plugin, load_plugins, options_of, plugin_paths, shipped

TOYS = Path(__file__).parents[1] / "support" / "toy_plugins.py"


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Nothing has joined yet, and nothing that joins stays."""
    monkeypatch.setattr(plugins, "_joined", {kind: {} for kind in plugins.KINDS})
    monkeypatch.setattr(plugins, "_sources", [])


@pytest.fixture
def install(monkeypatch):
    """Pretend that these entry points, name → module:attribute, are installed as search spaces."""

    def pretend(*points):
        plugins._installed.cache_clear()
        found = [EntryPoint(name, value, "vkdnw_search.spaces") for name, value in points]
        monkeypatch.setattr(plugins, "entry_points", lambda group: found if group == "vkdnw_search.spaces" else [])

    yield pretend
    plugins._installed.cache_clear()


# ---------------------------------------------------------------------------------------------- what is found


def test_everything_this_project_declares_is_found_described_and_has_readable_options():
    for kind in plugins.KINDS:
        assert shipped(kind)
        for name in shipped(kind):
            assert available(kind)[name] == plugins.summary(find(kind, name)) != ""
            assert options_of(kind, name).model_config["extra"] == "forbid"


def test_an_installed_space_is_found_by_its_name(install):
    install(("mine", "tests.support.toy_plugins:ToySpace"))
    assert find("spaces", "mine").__name__ == "ToySpace"
    assert available("spaces") == {"mine": "A space that is only options."}
    assert shipped("spaces") == []


def test_an_unknown_name_is_told_the_choices_and_the_nearest(install):
    install(("mine", "tests.support.toy_plugins:ToySpace"), ("other", "tests.support.toy_plugins:ToySpace"))
    with pytest.raises(PluginError) as caught:
        find("spaces", "mien")
    assert str(caught.value) == "must be an installed search space (mine, other), but is 'mien'. Did you mean 'mine'?"


def test_a_name_that_looks_like_code_is_never_imported(install, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text("raise SystemExit")
    install()
    for name in ("evil.py", "./evil.py", "evil", "evil:Space", "os.system", str(tmp_path / "evil.py")):
        with pytest.raises(PluginError, match="must be an installed search space"):
            find("spaces", name)
    assert "evil" not in sys.modules


def test_an_installed_plug_in_that_cannot_be_imported_is_listed_with_the_reason(install):
    install(("gone", "tests.no_such_module:Space"), ("fine", "tests.support.toy_plugins:ToySpace"))
    assert available("spaces")["fine"] == "A space that is only options."
    assert "No module named 'tests.no_such_module'" in available("spaces")["gone"]
    with pytest.raises(PluginError, match="cannot be imported"):
        find("spaces", "gone")


def test_what_is_neither_class_nor_function_is_no_plug_in(install):
    install(("text", "tests.support.toy_plugins:__doc__"))
    with pytest.raises(PluginError, match="must be a class or a function"):
        find("spaces", "text")


def test_two_packages_that_install_different_things_under_one_name_are_refused(install):
    install(("mine", "tests.support.toy_plugins:ToySpace"), ("mine", "somewhere_else:Space"))
    with pytest.raises(PluginError, match=r"installed twice.*somewhere_else:Space"):
        find("spaces", "mine")


def test_a_package_that_is_found_twice_is_one_package(install):
    install(("mine", "tests.support.toy_plugins:ToySpace"), ("mine", "tests.support.toy_plugins:ToySpace"))
    assert find("spaces", "mine").__name__ == "ToySpace"


# ---------------------------------------------------------------------------------------------- what may join


def test_a_file_joins_with_all_it_declares_and_only_once():
    load_plugin(TOYS)
    load_plugin(str(TOYS))
    assert plugin_paths() == (str(TOYS),)
    assert find("spaces", "toy_space")().resolution == 224
    assert available("executors")["toy_executor"] == "Threads."
    assert "toy_space" not in shipped("spaces")


def test_a_module_joins_by_its_dotted_name():
    load_plugin("tests.support.toy_plugins")
    from tests.support.toy_plugins import ToySpace

    assert find("spaces", "toy_space") is ToySpace
    assert plugin_paths() == ("tests.support.toy_plugins",)


def test_a_file_joins_however_it_is_called_and_hides_no_module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("random.py").write_bytes(TOYS.read_bytes())
    load_plugin("random.py")
    import random

    assert random.random
    assert find("spaces", "toy_space").__module__ != "random"


def test_objects_of_a_file_plug_in_cross_to_a_spawned_process():
    load_plugin(TOYS)
    space = find("spaces", "toy_space")(resolution=64)
    assert pickle.loads(pickle.dumps(space)) == space
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=load_plugins, initargs=(plugin_paths(),)) as pool:
        assert pool.submit(attrgetter("resolution"), space).result(timeout=120) == 64


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "must declare at least one of SPACES, PROXIES, OPTIMIZERS, EXECUTORS"),
        ("SPACES = {}", "must declare at least one"),
        ("SPACES = [1]", "SPACES: must be a dict"),
        ("SPACES = {'a': 1}", r"SPACES\['a'\]: a search space must be a class or a function"),
        ("SPACES = {'a b': dict}", "must be an identifier"),
        ("SPACES = {3: dict}", "must be an identifier"),
        ("class A: pass\nSPACES = {'nasbench201': A}", "'nasbench201' exists already"),
        ("def f(a): pass\nSPACES = {'a': f}", r"must take nothing by position and its options by keyword only"),
        ("def f(*, a=1): pass\nPROXIES = {'a': f}", "every option needs a type annotation, but a has none"),
        ("def f(*, a: int): pass\nOPTIMIZERS = {'a': f}", "must take 1 argument by position"),
        ("def f(*, use: int): pass\nEXECUTORS = {'a': f}", "'use' cannot be the name of an option"),
        ("1/0", "cannot be imported: ZeroDivisionError"),
        ("def f(:", "cannot be imported: SyntaxError"),
        ("import no_such_thing", "No module named 'no_such_thing'"),
    ],
)
def test_a_file_that_is_no_plug_in_is_refused_and_leaves_nothing(text, fault, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(PluginError, match=fault):
        load_plugin(path)
    assert plugin_paths() == () and not any(plugins._joined.values())


def test_a_source_that_does_not_exist_is_refused_with_what_was_probably_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PluginError, match="there is no such file"):
        load_plugin("mine.py")
    Path("mine.py").write_bytes(TOYS.read_bytes())
    with pytest.raises(PluginError, match=r"Did you mean 'mine\.py'\?"):
        load_plugin("mine")


def test_a_name_that_has_joined_cannot_join_again_from_elsewhere(tmp_path):
    load_plugin(TOYS)
    copy = tmp_path / "copy.py"
    copy.write_bytes(TOYS.read_bytes())
    with pytest.raises(PluginError, match="'toy_space' exists already"):
        load_plugin(copy)


# ---------------------------------------------------------------------------------------------- what options they have


def test_options_of_an_inherited_dataclass_are_resolved_in_the_module_that_wrote_them(tmp_path):
    base = tmp_path / "base.py"
    base.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from typing import Literal as OnlyHere\n@dataclass(kw_only=True)\nclass Base:\n"
        "    a: OnlyHere['x', 'y'] = 'x'\nSPACES = {'base_space': Base}\n"
    )
    load_plugin(base)
    name = find("spaces", "base_space").__module__
    heir = tmp_path / "heir.py"
    heir.write_text(
        "from __future__ import annotations\nimport sys\nfrom dataclasses import dataclass\n"
        f"@dataclass(kw_only=True)\nclass Heir(sys.modules[{name!r}].Base):\n    b: int = 1\n"
        "SPACES = {'heir_space': Heir}\n"
    )
    load_plugin(heir)
    assert options_of("spaces", "heir_space").model_validate({"a": "y"}).model_dump() == {"a": "y", "b": 1}


def test_types_that_only_type_checkers_know_do_not_matter_outside_the_options():
    load_plugin(TOYS)  # ToyOptimizer's ``problem: Problem`` is imported for type checkers alone
    assert set(options_of("optimizers", "toy_optimizer").model_fields) == {"population", "children"}
