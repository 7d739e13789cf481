"""Figures of `equal_depth.py` against hand-worked ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.benchmarks.equal_depth import columns_of, first_ten


def test_the_first_ten_of_all_are_those_of_the_highest_values() -> None:
    values = np.arange(20.0)
    assert first_ten(values, values, of=20) == 14.5 and first_ten(-values, values, of=20) == 4.5


def test_a_network_without_a_score_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text(
        "architecture,seed,fashion_mnist,vkdnw_single,vkdnw_single.trainable_layers,vkdnw_single.decile_1\n"
        "a,0,80,9.5,8,.1\nb,0,81,,,\n"
    )
    columns = columns_of(tmp_path / "scores.csv")
    assert {name: values.tolist() for name, values in columns.items()} == {
        "fashion_mnist": [80.0],
        "vkdnw_single": [9.5],
        "vkdnw_single.trainable_layers": [8.0],
    }
