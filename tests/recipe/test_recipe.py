"""Recipes: what is sound loads, survives a round trip and builds. What is broken: test_recipe_faults.py."""

import doctest
import json
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.toy_recipes import STEADY, TEXT, TOYS, message, sound, toys_joined
from vkdnw_search import quantities
from vkdnw_search.cost.limits import Range
from vkdnw_search.engine.evaluator import limits_of
from vkdnw_search.errors import RecipeError
from vkdnw_search.options import mismatches
from vkdnw_search.options import type_descriptions as wording
from vkdnw_search.quantities import LARGEST, compact, whole
from vkdnw_search.recipe import yaml_reader as safe_yaml
from vkdnw_search.recipe.recipe import DEFAULT_PLUGINS, Recipe, load_recipe, parse_recipe, shipped_recipes
from vkdnw_search.recipe.yaml_reader import read_yaml, write_yaml


@pytest.fixture(scope="module", autouse=True)
def toys():
    with toys_joined():
        yield


@pytest.mark.parametrize("module", [quantities, safe_yaml, wording, mismatches])
def test_the_examples_in_docstrings_are_true(module):
    outcome = doctest.testmod(module)
    assert outcome.attempted and not outcome.failed


def test_numbers_are_written_as_people_write_them():
    for text, number in {
        "600M": 6e8,
        "6e8": 6e8,
        "6.0E+8": 6e8,
        "0.6G": 6e8,
        "1.5k": 1500,
        "1T": 1e12,
        "+12": 12,
    }.items():
        assert sound(f"limits.flops={text}").limits.flops.max == number


@STEADY
@given(st.integers(0, LARGEST))
def test_a_compact_number_reads_back_as_itself(number):
    text = compact(number)
    assert (int(text) if text.isdigit() else whole(text)) == number


@STEADY
@given(st.integers(0, 9999), st.integers(0, 999), st.sampled_from([("k", 3), ("M", 6), ("G", 9), ("T", 12)]))
def test_a_unit_multiplies_exactly(integer, thousandths, unit):
    letter, power = unit
    assert whole(f"{integer}.{thousandths:03}{letter}") == (1000 * integer + thousandths) * 10 ** (power - 3)


def test_a_limit_is_a_number_or_an_interval_and_a_depth_may_be_exact():
    limits = sound(limits={"flops": "600M", "macs": {"min": "1k"}, "layers": {"min": 14, "max": 14}}).limits
    assert (limits.flops.min, limits.flops.max) == (None, 600_000_000)
    assert (limits.macs.min, limits.macs.max) == (1000, None)
    assert (limits.layers.min, limits.layers.max) == (14, 14)
    assert limits.parameters is None


def test_yaml_1_1_surprises_are_text():
    tree = read_yaml("[yes, no, on, off, 1:30, 0o17, 017, 1_000, 2024-01-01, =, <<, 0x1F]", source="r").tree
    assert tree == ["yes", "no", "on", "off", "1:30", "0o17", "017", "1_000", "2024-01-01", "=", "<<", "0x1F"]


def test_a_byte_order_mark_and_windows_line_ends_are_tolerated():
    assert parse_recipe(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode(), source="r") == parse_recipe(
        TEXT, source="r"
    )


PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=20)


def trees(leaves):
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PRINTABLE, inner, max_size=4),
        max_leaves=12,
    )


NUMBERS = st.integers(-LARGEST, LARGEST) | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | NUMBERS | PRINTABLE


@STEADY
@given(trees(LEAVES | st.sampled_from([math.inf, -math.inf])))
def test_what_is_written_reads_back_here_and_in_pyyaml(tree):
    text = write_yaml(tree)
    assert read_yaml(text, source="r").tree == tree
    assert yaml.safe_load(text) == tree


@STEADY
@given(trees(LEAVES))
def test_json_is_read_as_json_reads_it(tree):
    assert read_yaml(json.dumps(tree, ensure_ascii=False), source="r").tree == tree


RECIPES = st.fixed_dictionaries(
    {
        "space": st.fixed_dictionaries(
            {"use": st.just("toy_space")},
            optional={
                "resolution": st.integers(4, 128).map(lambda eighth: 8 * eighth),
                "bias": st.sampled_from(["uniform", "published"]),
                "kernels": st.lists(st.sampled_from([3, 5, 7]), max_size=3),
                "squeeze": st.booleans(),
                "title": PRINTABLE,
                "most": st.just("all") | st.integers(1, 9),
            },
        ),
        "score": st.fixed_dictionaries(
            {"use": st.just("toy_proxy")},
            optional={"smoothing": st.floats(0, 1, exclude_max=True), "side": st.none() | st.integers(1, 64)},
        ),
        "optimizer": st.just({"use": "toy_optimizer", "population": 8}),
        "executor": st.sampled_from(["toy_executor", {"use": "toy_executor", "workers": 3}]),
    },
    optional={
        "seed": st.integers(0, LARGEST),
        "name": st.none() | st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,63}", fullmatch=True),
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "flops": st.integers(1, 10**15),
                "layers": st.builds(lambda low: {"min": low}, st.integers(1, 9)),
            },
        ),
        "stop": st.fixed_dictionaries(
            {}, optional={"seconds": st.floats(1e-9, 1e8), "generations": st.integers(1, 10**8)}
        ),
        "finalists": st.integers(1, 1000),
    },
)


@settings(STEADY, max_examples=50)
@given(RECIPES)
def test_a_recipe_reads_back_from_its_yaml_as_itself(tree):
    recipe = load_recipe(tree)
    again = parse_recipe(recipe.to_yaml(), source="again")
    assert again == recipe and again.to_yaml() == recipe.to_yaml() and not recipe.difference(again)
    assert yaml.safe_load(recipe.to_yaml()) == recipe.resolved() == load_recipe(recipe).resolved()


@STEADY
@given(RECIPES, st.integers(1, 10**8))
def test_an_override_is_the_same_as_an_edit(tree, evaluations):
    edited = {**tree, "stop": {**tree.get("stop", {}), "evaluations": evaluations}}
    assert load_recipe(tree, [f"stop.evaluations={evaluations}"]) == load_recipe(edited)
    [*changes] = load_recipe(tree).difference(load_recipe(edited))
    assert [change.key for change in changes] == ["stop.evaluations"] * (evaluations != 1000)


def test_every_value_is_in_the_resolved_recipe_defaults_of_plug_ins_included():
    assert sound(limits={"flops": "1M"}).resolved() == {
        "name": None,
        "description": None,
        "seed": 0,
        "space": {
            "use": "toy_space",
            "resolution": 224,
            "bias": "uniform",
            "kernels": [3, 5],
            "squeeze": False,
            "title": "",
            "most": "all",
        },
        "limits": {
            "flops": {"min": None, "max": 10**6},
            "macs": None,
            "parameters": None,
            "layers": None,
            "memory": None,
            "latency": None,
            "int8_size": None,
            "int8_memory": None,
        },
        "score": {"use": "toy_proxy", "images": 64, "smoothing": 0.0, "side": None},
        "optimizer": {"use": "toy_optimizer", "population": 8, "children": 4},
        "start": [],
        "stop": {"evaluations": 1000, "seconds": None, "generations": None},
        "executor": {"use": "toy_executor", "workers": "auto"},
        "finalists": 10,
        "ties": "flops",
        "bands_of": "flops",
        "bands": [],
    }


def test_the_difference_names_every_changed_value_with_both_sides():
    ours, theirs = sound("stop.evaluations=100"), sound("stop.evaluations=200", "space.kernels=[7]", "limits.flops=6e8")
    assert [str(change) for change in ours.difference(theirs)] == [
        "space.kernels: [3, 5] → [7]",
        "limits.flops.max: null → 600000000",
        "stop.evaluations: 100 → 200",
    ]


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        sound().seed = 1


def test_the_recipe_makes_the_objects_it_names():
    recipe = sound("space.kernels=[3]", "score.images=5", "optimizer.population=9")
    assert recipe.build_space().kernels == (3,)
    assert recipe.build_proxy().images == 5
    problem = object()
    assert recipe.build_optimizer(problem).given == (problem, 9, 4)
    with recipe.build_executor() as executor:
        assert executor.submit(int, "7").result() == 7


def test_options_that_do_not_go_together_are_a_recipe_error_that_names_the_section():
    with pytest.raises(RecipeError, match=r"^space \(toy_space\): resolution: 512 does not go with these kernels$"):
        sound("space.resolution=512").build_space()


def test_a_section_whose_object_python_supplies_may_be_absent_and_is_dropped():
    without_space = {section: value for section, value in TOYS.items() if section != "space"}
    recipe = load_recipe(without_space, supplied=("space",))
    assert recipe.space is None
    assert load_recipe({**TOYS, "space": "no_such"}, supplied=("space", "score")).score is None
    assert parse_recipe(recipe.to_yaml(), source="again", supplied=("space",)) == recipe
    with pytest.raises(RecipeError, match="from Python"):
        recipe.build_space()
    assert message(recipe).startswith("recipe, space: is missing: must name one of")


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_loads_by_name_and_by_path_and_builds_its_space_and_proxy(name):
    recipe = load_recipe(name)
    assert recipe == load_recipe(shipped_recipes()[name])
    assert recipe.build_space().num_classes == recipe.space.options["num_classes"]
    assert callable(recipe.build_proxy())
    assert shipped_recipes()[name].read_text().startswith("# ")


def test_the_shipped_imagenet_recipes_use_nine_tenths_of_their_budget_at_least():
    for name, budget, layers in (("mbv2_450M", 450e6, 14), ("mbv2_600M", 600e6, 14), ("mbv2_1G", 1e9, 16)):
        limits = load_recipe(name).limits
        assert (limits.flops.least, limits.flops.max, limits.layers.max) == (0.9 * budget, budget, layers)


def test_the_random_baseline_differs_from_the_evolution_in_its_optimizer_alone():
    changed = {change.key.split(".")[0] for change in load_recipe("nb201").difference(load_recipe("nb201_random"))}
    assert changed == {"description", "optimizer"}


def test_a_recipe_is_named_after_its_file_unless_it_has_a_name_or_the_file_none_that_fits():
    plain, named = (load_recipe({"space": "nasbench201", **more}) for more in ({}, {"name": "mine"}))
    assert plain.named_after("recipes/nb201.yaml").name == plain.named_after(Path("nb201.yaml")).name == "nb201"
    assert named.named_after("nb201.yaml").name == "mine"
    assert plain.named_after("my recipe.yaml").name is None and plain.named_after({"space": "nasbench201"}).name is None


def test_a_file_wins_over_a_shipped_name_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("nb201").mkdir()
    assert load_recipe("nb201").space.use == "nasbench201"
    Path("mbv2_600M").write_text(TEXT)
    assert load_recipe("mbv2_600M").space.use == "toy_space"


def test_a_recipe_that_names_its_space_alone_uses_the_defaults():
    recipe = load_recipe({"space": "nasbench201"})
    assert {section: getattr(recipe, section).use for section in DEFAULT_PLUGINS} == DEFAULT_PLUGINS


def test_a_space_that_lacks_what_it_must_have_is_refused_by_name(monkeypatch):
    class Half:
        name, genes = "half", ()

    monkeypatch.setattr(Recipe, "_build", lambda self, section: Half())
    with pytest.raises(RecipeError, match=r"must have input_shape, num_classes, decode, build, source: see"):
        load_recipe("nb201").build_space()


def test_a_minimum_may_be_a_share_of_the_maximum_and_moves_with_it() -> None:
    recipe = load_recipe("mbv2_600M", ["limits.flops=450M"])
    assert recipe.limits.flops is not None
    assert (recipe.limits.flops.min, recipe.limits.flops.least, recipe.limits.flops.max) == (
        "90%",
        405 * 10**6,
        450 * 10**6,
    )
    assert limits_of(recipe).flops == Range(405 * 10**6, 450 * 10**6)
    odd = load_recipe("mbv2_600M", ["limits.flops={min: 33.3%, max: 1001}"])
    assert limits_of(odd).flops == Range(334, 1001)  # 333.333 rounded up


def test_a_share_of_no_maximum_is_no_minimum() -> None:
    assert limits_of(load_recipe("nb201")).flops == Range()
    assert limits_of(load_recipe("nb201", ["limits.flops=60M"])).flops == Range(36 * 10**6, 60 * 10**6)


@pytest.mark.parametrize("share", ["0%", "100%", "-5%", "7 %", "%", "seventy%", "1e1%"])
def test_what_is_no_share_is_refused_in_words(share: str) -> None:
    with pytest.raises(RecipeError, match=r"limits\.flops\.min: must be a .*share.* such as 70%, but is"):
        load_recipe("nb201", [f"limits.flops={{min: '{share}', max: 60M}}"])
