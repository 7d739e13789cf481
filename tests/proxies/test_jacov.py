from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from vkdnw_search.contracts import Probe
from vkdnw_search.errors import DegenerateNetwork, ScoreError
from vkdnw_search.proxies.jacov import Jacov

PROBE = Probe(input_shape=(3, 6, 6), num_classes=4, seed=1)


def test_a_linear_network_pulls_every_image_the_same_way():
    """All correlations are 1, so the eigenvalues are N and N − 1 zeros."""
    N, k = 5, 1e-5
    value = Jacov(images=N)(nn.Sequential(nn.Flatten(), nn.Linear(108, 4)), PROBE).value
    expected = -(math.log(N + k) + 1 / (N + k)) - (N - 1) * (math.log(k) + 1 / k)
    assert value == pytest.approx(expected, rel=1e-6)


def test_the_score_agrees_with_numpy_on_gradients_taken_image_by_image():
    class Squares(nn.Module):
        def forward(self, x):
            return (x**3).flatten(1).sum(1, keepdim=True) + x.flatten(1)[:, :4]

    proxy = Jacov(images=7)
    x = proxy.inputs(PROBE).double().numpy()
    J = (3 * x**2).reshape(7, -1)
    J[:, :] *= 4  # the sum over four logits, each of which holds the sum of cubes
    J[:, :4] += 1
    v = np.linalg.eigvalsh(np.corrcoef(J))
    expected = -np.sum(np.log(v + 1e-5) + 1 / (v + 1e-5))
    assert proxy(Squares(), PROBE).value == pytest.approx(expected, rel=1e-4)


def test_it_works_for_one_class_and_is_a_function_of_the_seed():
    def score(seed: int) -> float:
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(128, 1)
        )
        return Jacov(images=8)(model, Probe(input_shape=(3, 6, 6), num_classes=1, seed=seed)).value

    first = score(3)
    assert score(3) == first != score(4)  # although dropout and the building of networks draw from a global stream


def test_a_network_that_ignores_its_input_is_degenerate():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return self.logits.expand(len(x), 4) + 0 * x.sum()

    with pytest.raises(DegenerateNetwork, match="exactly zero"):
        Jacov(images=4)(Constant(), PROBE)


def test_an_option_out_of_bounds_is_named():
    with pytest.raises(ScoreError, match="Jacov, images: must be a whole number from 2 to 4096, but is 1"):
        Jacov(images=1)


def test_images_share_a_part_of_their_variance_unless_they_are_white_noise():
    for brightness, expected in ((0.0, 0.0), (0.8, 0.8)):
        x = Jacov(images=512, resolution=8, brightness=brightness).inputs(PROBE)
        assert float(x.var()) == pytest.approx(1, abs=0.08)
        means = x.mean(dim=(2, 3))  # (N, C): the white part adds (1 − brightness) / 64
        assert float(means.var()) == pytest.approx(expected + (1 - brightness) / 64, abs=0.08)
