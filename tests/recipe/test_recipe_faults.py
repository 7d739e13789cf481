"""Broken recipes: each is refused by a RecipeError that names its fault, and nothing in it is ever run."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.broken_recipes import FILES, LINES, recipe_with
from tests.support.toy_recipes import SOUND, TEXT, TOYS, message, sound, toys_joined
from vkdnw_search.errors import RecipeError
from vkdnw_search.recipe.recipe import Recipe, load_recipe, parse_recipe, shipped_recipes


@pytest.fixture(scope="module", autouse=True)
def toys():
    with toys_joined():
        yield


@pytest.mark.parametrize(
    ("line", "named"), LINES, ids=[f"{number}: {line[:40]!r}" for number, (line, _) in enumerate(LINES)]
)
def test_a_recipe_with_one_broken_line_is_refused_by_one_line_that_names_it(line, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("broken.yaml").write_text(recipe_with(line), encoding="utf-8")
    told = message("broken.yaml")
    assert told.startswith("broken.yaml") and "\n" not in told and told.isprintable()
    assert named in told
    assert not Path("sentinel").exists()


@pytest.mark.parametrize(("content", "named"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
def test_a_file_that_is_no_recipe_is_refused(content, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("broken.yaml").write_bytes(content)
    told = message("broken.yaml")
    assert told.startswith("broken.yaml") and "\n" not in told and told.isprintable()
    assert named in told
    assert not Path("sentinel").exists()


def test_the_line_replaced_in_the_broken_recipes_is_their_only_fault():
    assert parse_recipe(TEXT, source="sound") == sound(
        *("seed=0", "space.resolution=64", "limits.flops=600M", "score.images=8", "stop.evaluations=20", "finalists=5")
    )


def test_a_fault_says_where_what_must_hold_what_came_and_what_was_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("recipes").mkdir()
    Path("recipes/mbv2_600M.yaml").write_text(recipe_with("limits: {flops: 600MB}"))
    assert message("recipes/mbv2_600M.yaml") == (
        "recipes/mbv2_600M.yaml, limits.flops: must be a positive number such as 600M or 6e8, but is '600MB'. "
        "Did you mean '600M'? (line 3)"
    )


def test_all_faults_come_at_once_one_on_each_line():
    text = (
        "sede: 1\nspace: {use: toy_space, resolution: 65, bias: unifrom}\n"
        "limits: {flop: 1, macs: x}\nstop: {seconds: 0}\n"
    )
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, ["finalists=-1", "nonsense"], source="r.yaml")
    told = str(caught.value).splitlines()
    for fault in (
        "r.yaml, sede: is not a known key",
        "r.yaml, space.resolution: must be a whole number from 32 to 1024, a multiple of 8, but is 65 (line 2)",
        "r.yaml, space.bias: must be one of 'uniform', 'published', but is 'unifrom'. Did you mean 'uniform'? (line 2)",
        "r.yaml, limits.flop: is not a known key: must be one of flops, macs, parameters, layers, memory, latency, "
        "int8_size, int8_memory.",
        "r.yaml, limits.macs: must be a positive number such as 600M or 6e8, but is 'x' (line 3)",
        "r.yaml, stop.seconds: must be a number above 0, at most 100M, but is 0 (line 4)",
        "override 'finalists=-1', finalists: must be a whole number from 0 to 1000, but is -1",
        "override 'nonsense': must have the form KEY=VALUE, such as stop.evaluations=200",
    ):
        assert any(line.startswith(fault) for line in told), (fault, told)


def test_a_directory_a_missing_file_and_an_unreadable_name_are_recipe_errors(tmp_path):
    assert "must be a recipe file, but is a folder" in message(tmp_path)
    assert "is Python. Code joins by --plugin" in message("examples/my_space.py")
    assert "Did you mean 'mbv2_600M'?" in message(tmp_path / "mbv2_60M.yaml")
    assert all(name in message("no_such") for name in shipped_recipes())
    for name in ("a\0b", "x" * 5000, "", "\ud800", "two\nlines"):
        assert message(name).isprintable()


def test_an_endless_file_is_read_no_further_than_a_recipe_may_be_long():
    assert "at most 1000000 bytes" in message("/dev/zero")


@pytest.mark.parametrize(
    ("tree", "named"),
    [
        ({"seed": {1, 2}}, "recipe, seed: must be plain data"),
        ({"seed": object()}, "seed"),
        ({"space": {"use": "toy_space", "resolution": 64j}}, "space.resolution"),
        ({1: 2}, "a key must be text"),
        ({"limits": {None: 1}}, "limits"),
        ({"seed": 10**5000}, "seed"),
        ({"seed": float("nan")}, "seed"),
        ({"seed": b"0"}, "seed"),
        ({"stop": {"seconds": 10**400}}, "stop.seconds"),
    ],
)
def test_a_mapping_from_python_is_held_to_the_same_rules(tree, named):
    assert named in message({**TOYS, **tree})


def test_a_mapping_that_contains_itself_is_refused():
    cycle = {}
    cycle["seed"] = cycle
    assert "nested deeper" in message(cycle)


KEYS = st.sampled_from([*SOUND, "name", "use", "flops", "min", "max", "layers", "evaluations", "options"])
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["600M", "6e8", "toy_space", "toy_proxy", "auto", "vkdnw", "1:30", "~"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def load_or_refuse(load, *arguments, **keywords):
    """Load; a RecipeError is the only exception there may be, and each line of it is printable."""
    try:
        recipe = load(*arguments, **keywords)
    except RecipeError as error:
        assert str(error) and all(line.isprintable() for line in str(error).split("\n"))
    else:
        assert isinstance(recipe, Recipe)


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes_load_or_are_refused(content):
    load_or_refuse(parse_recipe, content, source="fuzz")


@FUZZ
@given(st.text(st.sampled_from("abseduo:- \n\t{}[],&*!|>%@'\"#?~0123456789eE.+_\\MGk<=é\u2028\x00"), max_size=60))
def test_any_text_of_yaml_characters_loads_or_is_refused(text):
    load_or_refuse(parse_recipe, text, source="fuzz")


@FUZZ
@given(
    st.integers(0, len(TEXT)), st.integers(0, 12), st.text(max_size=6) | st.sampled_from(["&a", "*a", "!!x", "{", "}"])
)
def test_a_sound_recipe_with_a_stretch_replaced_loads_or_is_refused(start, length, patch):
    load_or_refuse(parse_recipe, TEXT[:start] + patch + TEXT[start + length :], source="fuzz")


@FUZZ
@given(st.dictionaries(KEYS, JUNK, max_size=6))
def test_any_tree_loads_or_is_refused_from_python_and_from_yaml(tree):
    load_or_refuse(load_recipe, {**TOYS, **tree})
    load_or_refuse(parse_recipe, json.dumps({**TOYS, **tree}), source="fuzz")


@FUZZ
@given(
    st.lists(
        st.text(max_size=30)
        | st.builds("{}.{}={}".format, KEYS, KEYS, st.text(max_size=15))
        | st.builds("{}={}".format, KEYS, JUNK),
        max_size=3,
    )
)
def test_any_overrides_are_applied_or_refused(overrides):
    load_or_refuse(parse_recipe, TEXT, overrides, source="fuzz")
