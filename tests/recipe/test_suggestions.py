"""What was probably meant: the right key or value one step away is named, and nothing that would be refused."""

import re
import time

import pytest

from tests.support.toy_recipes import TOYS, message, toys_joined
from vkdnw_search.errors import RecipeError
from vkdnw_search.recipe.recipe import load_recipe, parse_recipe
from vkdnw_search.recipe.yaml_reader import MAX_VALUES


@pytest.fixture(scope="module", autouse=True)
def toys():
    with toys_joined():
        yield


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        # keys of another section, of other capitals, with a slip, written as an override is
        ("flops=60M", "'limits.flops'"),
        ("FLOPs=60M", "'limits.flops'"),
        ("evaluations=5", "'stop.evaluations'"),
        ("evaluation=5", "'stop.evaluations'"),
        ("workers=2", "'executor.workers'"),
        ("population=8", "'optimizer.population'"),
        ("memory=1G", "'limits.memory', 'score.memory' or 'executor.memory'"),
        ("resolution=64", "'space.resolution' or 'score.resolution'"),
        ("stop.flops=60M", "'limits.flops'"),
        ("limits.evaluations=5", "'stop.evaluations'"),
        ("score.seed=1", "'seed'"),
        ("SEED=1", "'seed'"),
        ("limits.FLOPS=60M", "'flops'"),
        ("score.image=8", "'images'"),
        # names of other capitals
        ("space.use=NASBENCH201", "'nasbench201'"),
        ("score.use=Vkdnw_Single", "'vkdnw_single'"),
        ("score.batch_norm=INITIAL", "'initial'"),
        # numbers and times
        ("limits.latency='20 ms'", "'20ms'"),
        ("limits.latency=20MS", "'20ms'"),
        ("limits.latency=20 milliseconds", "'20ms'"),
        ("limits.latency={max: 0.5 sec}", "'0.5s'"),
        ("limits.latency=800 µs", "'800us'"),
        ("limits.flops='600 m'", "'600M'"),
        ("limits.flops='600000000'", "600000000"),
        ("score.images='64'", "64"),
        ("score.smoothing='0.05'", "0.05"),
        ("score.check=yes", "true"),
        ("executor.workers=Auto", "'auto'"),
    ],
)
def test_what_was_meant_is_named_and_is_accepted(override, meant):
    told = message("mbv2_600M", override)
    assert told.endswith(f". Did you mean {meant}?"), told
    key = override.partition("=")[0]
    if "known key" not in told:  # but a value, which would do
        where = re.search(r", (\S+): ", told)[1]
        load_recipe("mbv2_600M", [f"{key}={meant if key == where else f'{{max: {meant}}}'}"])


@pytest.mark.parametrize(
    "override",
    [
        "limits.latency=20",  # of which unit?
        "limits.latency='20 M'",
        "stop.seconds=10m",
        "limits.flops='0'",
        "limits.flops='99999999999 M'",
        "limits.layers='14 M'",
        "executor.workers='4096'",
        "nothing_like_it=1",
        "score.smoothing='2'",
    ],
)
def test_nothing_is_suggested_that_would_be_refused(override):
    assert "Did you mean" not in message("mbv2_600M", override)


def test_a_key_of_a_file_that_is_written_as_an_override_is_shown_as_a_file_has_it():
    assert message({**TOYS, "limits.flops": "60M"}).endswith("Did you mean 'limits: {flops: …}'?")


def test_one_value_in_place_of_a_list_is_suggested_as_a_list():
    assert message({**TOYS, "space": {"use": "toy_space", "kernels": 3}}).endswith("but is 3. Did you mean [3]?")
    assert "Did you mean" not in message({**TOYS, "space": {"use": "toy_space", "kernels": 4}})


def test_of_thousands_of_faults_the_first_are_told_and_the_rest_counted_at_once():
    keys = [f"key_{number}: 1" for number in range(MAX_VALUES - 10)]
    text = "\n".join(["space: toy_space", "seed: x", *keys])
    started = time.process_time()
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, ["finalists=-1", "nonsense"], source="r")
    assert time.process_time() - started < 10  # 15 seconds and more where each has a suggestion
    told = str(caught.value).splitlines()
    assert len(told) == 21 and told[-1] == f"… and {len(keys) + 3 - 20:,} more faults"
    assert told[0].startswith("override 'nonsense'") and told[1].startswith("r, seed: must be")
    assert all("is not a known key: must be one of name" in line for line in told[4:-1])


def test_thousands_of_faults_in_a_section_or_from_python_are_capped_too():
    tree = {**TOYS, "space": {"use": "toy_space", **{f"key_{n}": n for n in range(50_000)}}}
    told = message(tree).splitlines()
    assert len(told) == 21 and "space.key_19" in told[19] and told[20] == "… and 49,980 more faults"


def test_a_file_of_more_values_than_any_recipe_has_is_read_no_further():
    with pytest.raises(RecipeError, match=r"^r: must have at most 10,000 values, but goes on.* \(line 10000\)$"):
        parse_recipe("".join(f"key_{number}: 1\n" for number in range(50_000)), source="r")
