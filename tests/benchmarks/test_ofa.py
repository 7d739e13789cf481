"""The figures of ofa_table.py against examples worked by hand, and the surrogate against measured accuracies."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from search_spaces.ofa_mobilenetv3 import OfaMobileNetV3
from tests.benchmarks.ofa_surrogate import TABLE, WEIGHTS, OfaSurrogate, encoded
from tests.benchmarks.ofa_table import at_equal_macs, within_bands
from vkdnw_search.ranking.metrics import spearman
from vkdnw_search.ranking.tables import read_csv

M = 1_000_000
SPACE = OfaMobileNetV3()
needs_data = pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"the published predictor {WEIGHTS.name} is not here")


def test_rho_in_bands_is_the_mean_over_bands_weighted_by_their_networks():
    macs = [10 * M, 20 * M, 49 * M, 50 * M, 99 * M]
    accuracies = [1, 2, 3, 9, 8]
    bands = within_bands([1, 2, 3, 4, 5], accuracies, macs, least=2)
    assert bands.counts == {0: 3, 50 * M: 2}
    assert bands.spearman == pytest.approx({0: 1.0, 50 * M: -1.0})
    assert bands.mean == pytest.approx((3 * 1 + 2 * -1) / 5)


def test_a_band_with_too_few_networks_or_of_one_accuracy_does_not_count():
    macs, accuracies = [10 * M, 20 * M, 30 * M, 60 * M, 110 * M, 120 * M, 130 * M], [1, 2, 3, 4, 5, 5, 5]
    assert within_bands(range(7), accuracies, macs, least=3).counts == {0: 3}
    assert math.isnan(within_bands(range(7), accuracies, macs, least=4).mean)


def test_in_a_band_whose_networks_have_one_score_nothing_is_ordered():
    bands = within_bands([7, 7, 1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [10 * M, 20 * M, *[60 * M] * 4], least=2)
    assert bands.spearman == pytest.approx({0: 0.0, 50 * M: 1.0}) and bands.mean == pytest.approx(4 / 6)


# Two networks at each of four sizes: a cubic goes through the four means, and what is left is the distance from them.
MACS = [100 * M, 100 * M, 200 * M, 200 * M, 300 * M, 300 * M, 400 * M, 400 * M]
ACCURACIES = [59, 61, 68, 72, 72, 78, 76, 84]  # left: ∓1, ∓2, ∓3, ∓4


def test_at_equal_macs_a_better_one_of_each_size_is_told_whatever_the_sizes_are_worth():
    """Ranks of what is left of the accuracies, less their mean: −.5, .5, −1.5, 1.5 … 3.5; of the scores, whose ranks
    are ∓.5 from their means: −2, 2, −2, 2 … So ρ = Σ 2·(.5 + .5 + … + 3.5) / √(42 · 32) = 32 / √1344."""
    expected = 32 / math.sqrt(42 * 32)
    upwards, downwards = [1, 2, 3, 4, 5, 6, 7, 8], [7, 8, 5, 6, 3, 4, 1, 2]
    assert at_equal_macs(upwards, ACCURACIES, MACS) == pytest.approx(expected)
    assert at_equal_macs(downwards, ACCURACIES, MACS) == pytest.approx(expected)
    assert spearman(downwards, ACCURACIES) < 0 < spearman(upwards, ACCURACIES)
    assert at_equal_macs([-s for s in upwards], ACCURACIES, MACS) == pytest.approx(-expected)


def test_at_equal_macs_only_the_order_of_the_scores_matters_and_no_score_is_last():
    scores = [3, 9, 1, 4, 2, 8, 7, 6]
    as_they_are = at_equal_macs(scores, ACCURACIES, MACS)
    assert at_equal_macs(np.exp(scores), ACCURACIES, MACS) == as_they_are
    scores[2] = math.nan
    assert at_equal_macs(scores, ACCURACIES, MACS) == as_they_are


def test_of_what_follows_from_the_macs_nothing_is_left():
    assert math.isnan(at_equal_macs(MACS, ACCURACIES, MACS))
    assert math.isnan(at_equal_macs([5] * 8, ACCURACIES, MACS))


def test_a_study_is_read_and_its_methods_stand_beside_the_sizes(tmp_path):
    rng = np.random.default_rng(0)
    keys = [SPACE.decode(tuple(rng.integers(0, 3, 45).tolist())).key for _ in range(24)]
    lines = [
        f"{key},{seed},{70 + rank / 10},{rank * (1 - 2 * seed)},1" for seed in (0, 1) for rank, key in enumerate(keys)
    ]
    (tmp_path / "scores.csv").write_text("architecture,seed,imagenet_top1,mine,mine.term\n" + "\n".join(lines) + "\n")
    (tmp_path / "table.csv").write_text("method,column\nmine,imagenet_top1\nVKDNW_m,imagenet_top1\n")
    script = Path(__file__).with_name("ofa_table.py")
    words = [sys.executable, str(script), str(tmp_path), "--json", str(tmp_path / "figures.json")]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    found = json.loads((tmp_path / "figures.json").read_text())
    assert list(found["methods"]) == ["MACs", "parameters", "depth", "mine"]
    assert found["methods"]["mine"]["spearman"] == 0.0  # 1 with the first seed, −1 with the second
    assert "24 networks" in run.stdout and "| mine |" in run.stdout


def test_the_surrogate_sees_each_choice_at_its_own_place_and_nothing_where_a_block_is_absent():
    network = SPACE.parse("k7e3_k3e6-k3e3_k3e3-k3e3_k3e3-k3e3_k3e3-k5e4_k5e4_k5e4_k5e4")
    x = encoded(network, 224)
    assert x.shape == (128,) and x.sum() == 12 + 12 + 1
    assert x[:12].tolist() == [0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]  # kernels of the first stage
    assert x[60:72].tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]  # expansions of the first stage
    assert x[108:120].tolist() == [0, 1, 0] * 4 and x[120:].tolist() == [0] * 7 + [1]


def test_a_resolution_without_a_place_is_refused():
    with pytest.raises(ValueError, match=r"must be one of .*, but is 200"):
        encoded(SPACE.decode((0,) * 45), 200)


def test_the_surrogate_is_a_perceptron_with_rectifiers_between_its_layers():
    first = np.zeros((2, 128))
    first[0, 0], first[1, 2] = 1, -1  # the first block's kernel 3; less its kernel 7
    surrogate = OfaSurrogate(((first, np.array([0.0, 0.5])), (np.array([[0.2, 0.4]]), np.array([0.3]))))
    of = surrogate.of_keys(["k7e3_k3e6" + "-k3e3_k3e3" * 4, "k3e3_k3e6" + "-k3e3_k3e3" * 4])
    assert list(of.values()) == pytest.approx([30, 100 * (0.2 + 0.4 * 0.5 + 0.3)])


@needs_data
def test_the_surrogate_gives_the_published_predictions_and_orders_networks_as_measured():
    table = read_csv(TABLE)
    found = list(OfaSurrogate.read().of_keys(table.architectures).values())
    np.testing.assert_allclose(found, table.column("ofa_predictor_acc"), atol=1e-4)
    assert spearman(found, table.column("imagenet_top1")) == pytest.approx(0.98, abs=0.005)
