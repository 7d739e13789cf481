"""The linear correction of summed latencies, against lines that are known."""

import math

import numpy as np
import pytest

from vkdnw_search.cost.correction import Correction, fitted


def test_a_line_is_found_exactly_and_its_error_is_nothing() -> None:
    sums = [1.0, 2.0, 3.0, 5.0, 8.0]
    line = fitted(sums, [0.5 + 2 * x for x in sums])
    assert (line.offset, line.factor) == (pytest.approx(0.5), pytest.approx(2.0))
    assert line.networks == 5 and line.rank == pytest.approx(1.0) and line.error < 1e-12
    assert line(4.0) == pytest.approx(8.5) and Correction(-9.0, 1.0, 5, 0.1, 1.0)(4.0) == 0.0


def test_the_error_is_that_of_networks_left_out_of_the_fit() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(1, 2, 12)
    y = (0.3 + x) * rng.uniform(0.8, 1.2, 12)
    left_out = []
    for i in range(12):
        kept = np.arange(12) != i
        slope, offset = np.polyfit(x[kept], y[kept], 1, w=1 / y[kept])  # weights of residuals, by numpy's convention
        left_out.append(abs(offset + slope * x[i] - y[i]) / y[i])
    assert fitted(x, y).error == pytest.approx(np.mean(left_out))


@pytest.mark.parametrize(
    ("sums", "wholes"), [([1, 2, 3], [1, 2, 3]), ([1, 2, 3, 4], [4, 3, 2, 1]), ([1, 2, 3, 4], [0, 1, 2, 3])]
)
def test_what_is_no_line_that_grows_is_refused(sums, wholes) -> None:
    with pytest.raises(ValueError, match="a correction"):
        fitted(sums, wholes)


def test_networks_that_the_runtime_makes_nothing_of_do_not_decide_the_fit() -> None:
    sums = [1.0, 2.0, 3.0, 5.0, 8.0]
    wholes = [0.5 + 2 * x for x in sums]
    line = fitted([*sums, 4.0, 6.0], [*wholes, 0.0, 1e-3])
    assert (line.offset, line.factor, line.networks) == (pytest.approx(0.5), pytest.approx(2.0), 5)


def test_a_rank_correlation_of_constants_is_not_known() -> None:
    assert math.isnan(fitted([1.0] * 4, [2.0] * 4).rank)
