from __future__ import annotations

import numpy as np
import pytest

from vkdnw_search.errors import RankingError
from vkdnw_search.proxies.size import Flops, Parameters
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.ranking.metrics import kendall
from vkdnw_search.ranking.models import forest_predictions, model_features
from vkdnw_search.ranking.plan import VALUE, make_plan

pytest.importorskip("sklearn", reason="the extra 'model' is not installed")


def data(n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy is a bent function of two of five features."""
    features = np.random.default_rng(seed).normal(size=(n, 5))
    return features, 50 + 10 * np.abs(features[:, 0]) + 5 * features[:, 3]


def test_a_forest_ranks_what_it_has_not_seen_and_cannot_where_there_is_nothing_to_learn():
    features, accuracies = data()
    left, predicted = forest_predictions(features, accuracies, training=80)
    assert kendall(predicted, accuracies[left]) > 0.5
    shuffled = np.random.default_rng(1).permutation(accuracies)
    left, predicted = forest_predictions(features, shuffled, training=80)
    assert abs(kendall(predicted, shuffled[left])) < 0.35


def test_accuracies_of_networks_left_out_are_never_seen():
    features, accuracies = data(40)
    left, predicted = forest_predictions(features, accuracies, training=25)
    assert len(left) == 15 == len(set(left.tolist()))
    changed = accuracies.copy()
    changed[left] = 0.0
    assert np.array_equal(forest_predictions(features, changed, training=25)[1], predicted)


def test_repeats_draw_other_networks_and_each_is_reproducible():
    features, accuracies = data(40)
    first, again, other = (forest_predictions(features, accuracies, training=25, repeat=r) for r in (0, 0, 1))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("training", [0, 39, 40])
def test_two_networks_must_be_left(training):
    with pytest.raises(RankingError, match=r"must be from 1 to 38.*--models"):
        forest_predictions(*data(40), training=training)


def test_each_row_has_the_features_of_the_paper():
    proxies = {"vkdnw_single": VkdnwSingle(), "flops": Flops(), "parameters": Parameters()}
    plan = make_plan(proxies)
    single, flops, parameters = plan.parts
    numbers = iter(range(100))
    terms = [VALUE, "trainable_layers", "entropy", *(f"decile_{k}" for k in range(1, 10))]
    parts = {
        single: {term: np.full(3, float(next(numbers))) for term in terms},
        flops: {VALUE: np.full(3, 50.0)},
        parameters: {VALUE: np.array([1.0, np.nan, 3.0])},
    }
    found = model_features(plan, parts, ["a", "b", "c"], space="elsewhere")
    assert set(found) == {"VKDNW_m", "(VKDNW+ZCS)_m"}
    assert found["VKDNW_m"][0].tolist() == [1, *range(3, 12), 50]  # ℵ, nine deciles, FLOPs
    assert found["(VKDNW+ZCS)_m"][2].tolist() == [1, *range(3, 12), 50, 3]
    cell = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    widths = {name: m.shape[1] for name, m in model_features(plan, parts, [cell] * 3, space="nasbench201").items()}
    assert widths == {"VKDNW_m": 11, "(VKDNW+ZCS)_m": 12, "GRAF": 125, "(VKDNW+ZCS+GRAF)_m": 137}
