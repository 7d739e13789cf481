"""Kriging of scores, against the formula written out in loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vkdnw_search.optimizers.surrogate import predict
from vkdnw_search.records import Gene

GENES = (
    Gene("width", tuple(range(9)), ordered=True),
    Gene("operation", ("none", "skip", "conv")),
    Gene("fixed", ("only",)),
    Gene("depth", (1, 2, 3), ordered=True),
)
SOME = [(0, 0, 0, 0), (8, 1, 0, 2), (4, 2, 0, 1), (2, 1, 0, 1), (7, 0, 0, 0)]

genomes = st.tuples(*(st.integers(0, len(gene.choices) - 1) for gene in GENES))


def gower(a, b):
    return abs(a[0] - b[0]) / 8 + (a[1] != b[1]) + abs(a[3] - b[3]) / 2


@given(
    known=st.lists(st.tuples(genomes, st.floats(-5, 5)), min_size=2, max_size=9), asked=st.lists(genomes, max_size=4)
)
def test_the_mean_of_the_process_is_that_of_the_formula(known, asked):
    points, values = [g for g, _ in known], [v for _, v in known]
    ell = np.median([gower(a, b) for a in points for b in points]) or 1.0
    K = [[math.exp(-gower(a, b) / ell) + 0.1 * (i == j) for j, b in enumerate(points)] for i, a in enumerate(points)]
    ranks = [sum(other < v for other in values) + (1 + values.count(v)) / 2 for v in values]
    y = np.array(ranks) / len(values)
    alpha = np.linalg.inv(np.array(K)) @ (y - y.mean())
    expected = [
        y.mean() + sum(math.exp(-gower(a, g) / ell) * w for a, w in zip(points, alpha, strict=True)) for g in asked
    ]
    assert predict(GENES, points, values, asked) == pytest.approx(expected, abs=1e-8)


def test_what_resembles_the_good_ones_comes_before_what_resembles_the_bad_ones():
    rng = np.random.default_rng(0)
    drawn = [tuple(int(rng.integers(len(gene.choices))) for gene in GENES) for _ in range(60)]
    worth = [g[0] + 3 * (g[1] == 2) - 2 * g[3] for g in drawn]
    predicted = predict(GENES, drawn[:40], worth[:40], drawn[40:])
    assert stats.spearmanr(predicted, worth[40:]).statistic > 0.9


@pytest.mark.parametrize("change", [lambda v: 1e6 * v - 3, math.exp, lambda v: v if v > 0 else -1e9])
def test_only_the_order_of_the_values_counts(change):
    values = [0.1, 0.5, 0.3, -0.2, 0.4]
    again = predict(GENES, SOME, [change(v) for v in values], SOME)
    assert again == pytest.approx(predict(GENES, SOME, values, SOME))


def test_one_known_genome_or_equal_values_prefer_nothing():
    assert np.ptp(predict(GENES, SOME[:1], [3.0], SOME)) == 0
    assert np.ptp(predict(GENES, SOME, [2.0] * 5, SOME)) == pytest.approx(0)
