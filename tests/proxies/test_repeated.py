"""A score taken several times: its mean, and the share of its order that is not chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from vkdnw_search.contracts import Probe
from vkdnw_search.errors import ScoreError
from vkdnw_search.proxies.jacov import Jacov
from vkdnw_search.proxies.repeated import Repeated, reliability

PROBE = Probe(input_shape=(3, 8, 8), num_classes=4, seed=0)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4))


def test_the_mean_of_repetitions_with_seeds_of_their_own() -> None:
    score = Repeated(name="jacov", proxy=Jacov(images=4), times=3)(network(), PROBE)
    assert list(score.terms) == ["jacov_1", "jacov_2", "jacov_3"]
    assert len(set(score.terms.values())) == 3
    assert score.value == pytest.approx(np.mean(list(score.terms.values())))
    assert Repeated(name="jacov", proxy=Jacov(images=4), times=3)(network(), PROBE) == score
    with pytest.raises(ScoreError, match="times"):
        Repeated(name="jacov", proxy=Jacov(), times=1)


def test_weights_that_are_not_drawn_are_those_that_came_each_time() -> None:
    def spoils(model: nn.Module) -> float:
        weight = next(model.parameters())
        value = float(weight.detach().sum())
        nn.init.zeros_(weight)
        return value

    kept = Repeated(name="jacov", proxy=Jacov(images=4, initialization="as_built"))
    assert not kept.draws_weights and not Repeated(name="sum", proxy=spoils).draws_weights
    assert Repeated(name="jacov", proxy=Jacov(images=4)).draws_weights
    value = float(next(network().parameters()).detach().sum())
    assert set(Repeated(name="sum", proxy=spoils)(network(), PROBE).terms.values()) == {value}


@pytest.mark.parametrize("k", [2, 3, 5])
def test_reliability_is_the_share_of_variance_that_is_the_networks_own(k: int) -> None:
    """Own ~ N(0, 1) and chance ~ N(0, σ²): the mean of k has the share 1 / (1 + σ²/k), by normal ranks nearly."""
    rng = np.random.default_rng(k)
    own = rng.normal(size=20_000)
    for deviation in (0.3, 1.0, 2.0):
        repetitions = [own + deviation * rng.normal(size=len(own)) for _ in range(k)]
        assert reliability(repetitions) == pytest.approx(1 / (1 + deviation**2 / k), abs=0.03)


def test_reliability_of_two_is_that_of_spearman_and_brown_and_never_negative() -> None:
    rng = np.random.default_rng(0)
    a, noise = rng.normal(size=50), rng.normal(size=50)
    rho = float(stats.spearmanr(a, a + noise).statistic)
    assert reliability([a, a + noise]) == pytest.approx(2 * rho / (1 + rho))
    assert reliability([a, np.exp(a)]) == pytest.approx(1)
    assert reliability([a, -a]) == 0
    assert reliability([a, np.ones(50)]) == 0, "what does not vary orders nothing"
    assert reliability([a[:2], a[:2]]) == 0 and reliability([a[:0], a[:0]]) == 0
