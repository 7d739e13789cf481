"""A score that cannot be used for the candidates of a run is refused before the run folder is taken."""

import numpy as np
import pytest

from search_spaces.nasbench201 import NasBench201
from vkdnw_search.commands.main import main
from vkdnw_search.contracts import HasRequirements
from vkdnw_search.engine.requirements import must_suit
from vkdnw_search.errors import RecipeError, ScoreError
from vkdnw_search.proxies.aggregate import make_vkdnw_agg
from vkdnw_search.proxies.saliency import Snip
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.ranking.study import rank
from vkdnw_search.ranking.tables import AccuracyTable
from vkdnw_search.recipe.recipe import load_recipe
from vkdnw_search.run import search


def never():
    raise AssertionError("counted a candidate, which takes time, though the options alone tell")


@pytest.mark.parametrize(
    ("overrides", "used"),
    [
        (["score={use: vkdnw_single, images: 8, directions: 2}"], "8 × 2"),
        (["space.num_classes=2"], "64 × 1"),
        (["score={use: vkdnw_single, images: 4, directions: all}"], "4 × 9"),
        (["score=vkdnw_agg", "space.num_classes=2"], "64 × 1"),
    ],
)
def test_too_few_images_and_directions_are_told_before_the_folder_is_taken(overrides, used, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["nb201", *overrides, "--out", str(folder), "-q"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("score: images × directions must be at least") and f"but is {used} " in told
    assert not folder.exists()


def test_networks_of_few_tensors_need_few_rows():
    space, recipe = NasBench201(cells=1), load_recipe("nb201")
    must_suit(VkdnwSingle(images=100, directions=1), space, recipe)  # 100 < 128 tensors at most, but none has so many
    with pytest.raises(RecipeError, match="images × directions"):
        must_suit(VkdnwSingle(images=8, directions=2), space, recipe)
    must_suit(VkdnwSingle(images=8, directions=2), space, load_recipe("nb201", ["limits.flops=1"]))  # no candidate


def test_a_proxy_from_python_that_does_not_suit_is_a_score_error():
    with pytest.raises(ScoreError, match="images × directions"):
        search("nb201", ["stop.evaluations=2", "finalists=0"], proxy=VkdnwSingle(images=8))


def test_the_options_alone_tell_that_all_is_well():
    VkdnwSingle().require(10, never)
    make_vkdnw_agg().require(10, never)


def test_a_score_with_labels_is_refused_where_there_is_one_class_and_no_other_is():
    for proxy in (Snip(), make_vkdnw_agg(images=128)):
        assert isinstance(proxy, HasRequirements)
        proxy.require(2, never)
    with pytest.raises(ScoreError, match="at least 2 classes"):
        Snip().require(1, never)


def test_a_ranking_is_refused_before_its_folder_is_made(tmp_path):
    space = NasBench201()
    keys = (space.decode((1, 2, 3, 1, 2, 3)).key, space.decode((3,) * 6).key)
    table = AccuracyTable(keys, {"cifar10": np.array([90.0, 91.0])})
    with pytest.raises(ScoreError, match="images × directions"):
        rank(space, table, {"few": VkdnwSingle(images=8)}, out=tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_the_recipes_fault_is_a_recipe_error_in_python():
    with pytest.raises(RecipeError, match="Raise images or directions, or lower parameters"):
        search("nb201", ["score.images=8"])
