"""Overrides: what stays when a plug-in or a limit is changed on the command line, and what is said of the rest."""

import logging
import subprocess
import sys

import pytest

from tests.support.toy_recipes import TOYS, message, sound, toys_joined
from vkdnw_search.recipe.recipe import load_recipe


@pytest.fixture(scope="module", autouse=True)
def toys():
    with toys_joined():
        yield


def options_after(*overrides, source="mbv2_600M", section="score"):
    return getattr(load_recipe(source, overrides), section).options


def test_overrides_open_what_was_written_short_and_replace_what_they_name_whole():
    assert sound("space.resolution=64").space.options["resolution"] == 64
    interval = sound("limits.flops.min=540M", limits={"flops": "600M"}).limits.flops
    assert (interval.min, interval.max) == (540_000_000, 600_000_000)
    assert sound("limits={macs: 1M}", limits={"flops": 1}).limits.flops is None
    assert sound("space=toy_space", space={"use": "toy_space", "resolution": 64}).space.options["resolution"] == 224
    assert sound("seed=1", "seed=2").seed == 2


@pytest.mark.parametrize("text", ["", "=", "seed", "=1", "seed=", "seed= ", ".seed=1", "stop..seconds=1", "seed.x=1"])
def test_an_override_of_the_wrong_form_is_named(text):
    assert message(TOYS, text).startswith(f"override {text!r}")


def test_a_fault_of_an_override_names_the_override_and_not_the_file():
    told = message(TOYS, "limits.flops=1G", "limits.flops.min=2G")
    assert told == "override 'limits.flops.min=2G', limits.flops: min must not exceed max, but 2G > 1G"


# ---------------------------------------------------------------------------------------------- another plug-in


@pytest.mark.parametrize(
    "name", ["mbv2_600M", "nb201", "macro", "stages_mbv2", "mcu_320k", "resnet_1M", "autoformer_tiny"]
)
@pytest.mark.parametrize("override", ["executor.use=inline", "executor.use=dask", "optimizer.use=random",
                                      "optimizer.use=aging", "score.use=naswot", "score.use=flops"])  # fmt: skip
def test_use_can_be_switched_in_every_shipped_recipe(name, override):
    section, use = override.split(".use=")
    assert getattr(load_recipe(name, [override]), section).use == use


def test_options_that_the_other_plug_in_has_stay_and_the_rest_are_named_once(caplog):
    assert options_after("score.use=naswot") == {
        "images": 16,
        "resolution": 40,
        "initialization": "kaiming_normal",
    }
    assert caplog.messages == [
        "score.use=naswot has no use for score.parameters, score.selection, score.directions, score.draws, "
        "score.batch_norm, score.layers of the recipe: left out"
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_nothing_is_said_where_nothing_is_lost(caplog):
    assert options_after("executor.use=dask", section="executor")["workers"] == "auto"
    assert options_after("optimizer.use=evolution", section="optimizer")["population"] == 32
    assert options_after("executor.use=inline", source={"space": "nasbench201"}, section="executor") == {}
    assert not caplog.messages


@pytest.mark.parametrize("order", [1, -1])
def test_an_option_that_an_override_sets_is_refused_where_the_plug_in_lacks_it(order):
    overrides = ["executor.use=inline", "executor.workers=2"][::order]
    assert message("mbv2_600M", *overrides) == (
        "override 'executor.workers=2', executor.workers: is not a known key: there are none to set"
    )
    assert options_after("score.use=zen", "score.alpha=0.1")["alpha"] == 0.1


def test_an_unknown_option_of_the_recipe_itself_is_refused_as_ever():
    tree = {**TOYS, "score": {"use": "toy_proxy", "image": 8}}
    assert "score.image: is not a known key" in message(tree, "score.use=toy_proxy")
    assert "score.image" in message({**tree, "score": {"use": "toy_proxy", "image": 8}})


def test_a_plug_in_that_is_not_installed_is_the_only_fault():
    told = message("mbv2_600M", "score.use=naswto")
    assert "\n" not in told and told.endswith("Did you mean 'naswot'?")


def test_a_loaded_recipe_is_switched_as_its_file_is():
    recipe = load_recipe("mbv2_600M")
    for override in ("executor.use=inline", "optimizer.use=random", "score.use=jacov", "limits.flops=580M"):
        assert load_recipe(recipe, [override]) == load_recipe("mbv2_600M", [override])


# ---------------------------------------------------------------------------------------------- another limit


@pytest.mark.parametrize(
    ("before", "override", "after"),
    [
        ({"min": "540M", "max": "600M"}, "limits.flops=580M", (540, 580)),
        ({"min": "540M"}, "limits.flops=580M", (540, 580)),
        ({"max": "600M"}, "limits.flops=450M", (None, 450)),
        ("600M", "limits.flops=450M", (None, 450)),
        ("600M", "limits.flops.min=450M", (450, 600)),
        ({"min": "540M", "max": "600M"}, "limits.flops={max: 450M}", (None, 450)),
        ({"min": "540M", "max": "600M"}, "limits.flops={min: 450M}", (450, None)),
        ({"min": "540M", "max": "600M"}, "limits={flops: 450M}", (None, 450)),
    ],
)
def test_a_limit_given_as_one_number_is_the_maximum_and_keeps_the_minimum(before, override, after):
    flops = sound(override, limits={"flops": before}).limits.flops
    assert (flops.min, flops.max) == tuple(None if end is None else end * 10**6 for end in after)


def test_a_limit_can_be_taken_away():
    assert sound("limits.flops=null", limits={"flops": {"min": "540M"}}).limits.flops is None


def test_a_maximum_below_the_minimum_that_stays_is_refused_with_the_way_out():
    told = message({**TOYS, "limits": {"flops": {"min": "540M", "max": "600M"}}}, "limits.flops=450M")
    assert told == (
        "override 'limits.flops=450M', limits.flops: min must not exceed max, but 540M > 450M. The minimum is the "
        "recipe's: limits.flops={max: 450M} leaves it out"
    )
    way_out = told.rpartition(": ")[0].rpartition(" ")[2] + ": 450M}"
    assert sound(way_out, limits={"flops": {"min": "540M", "max": "600M"}}).limits.flops.max == 450_000_000
    assert "1ms" in message(TOYS, "limits.latency={min: 2ms}", "limits.latency=1ms")


def test_a_fault_of_the_minimum_that_stays_is_the_recipes_and_one_of_the_number_the_overrides():
    told = message({**TOYS, "limits": {"flops": {"min": "5MB"}}}, "limits.flops=6GB").splitlines()
    assert told[0].startswith("recipe, limits.flops.min: must be") and told[0].endswith("Did you mean '5M'?")
    assert told[1].startswith("override 'limits.flops=6GB', limits.flops: must be") and "'6G'?" in told[1]


def test_the_program_shows_what_was_left_out_on_the_terminal():
    load = "from vkdnw_search.recipe.recipe import load_recipe; load_recipe('nb201', ['executor.use=inline'])"
    run = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True, check=True)
    assert run.stderr == "executor.use=inline has no use for executor.workers of the recipe: left out\n"
