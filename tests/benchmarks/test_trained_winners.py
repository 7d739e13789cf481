"""What `trained_winners.py` takes for a network without a search."""

from __future__ import annotations

from tests.benchmarks.trained.networks import LAYERS, PARTS, cost_of
from tests.benchmarks.trained_winners import RANDOM, SCALES, WORDS, mobilenetv2, plan_of, random_accuracies, told
from vkdnw_search import load_recipe


def test_mobilenetv2_is_as_wide_as_the_limits_allow() -> None:
    cost = cost_of(mobilenetv2())
    assert PARTS["class"][0] <= cost.flops < PARTS["class"][1] and cost.layers <= LAYERS
    assert tuple(sorted(SCALES, reverse=True)) == SCALES


def test_random_networks_are_of_the_class_and_trained_once_each() -> None:
    accuracies = random_accuracies()
    assert len(accuracies) <= RANDOM and all(50 < accuracy < 100 for accuracy in accuracies)


def test_the_recipes_take_the_scaled_limits() -> None:
    recipe = load_recipe("mbv2_600M", WORDS)
    assert recipe.limits.flops.max == PARTS["class"][1] and recipe.build_space().input_shape == (3, 40, 40)


def test_a_row_says_how_many_random_networks_are_better() -> None:
    (network,) = plan_of({"mine": mobilenetv2()}).networks
    assert told(network, [80.0, 82.0], [80.0, 81.5, 83.0])[3:] == ["81.00 ± 1.41", "2 of 3"]
