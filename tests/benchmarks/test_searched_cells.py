"""The benchmark of whole searches in NAS-Bench-201, where accuracy is the number of convolutions."""

from __future__ import annotations

import json
from itertools import product

from search_spaces.nasbench201 import NasBench201
from tests.benchmarks import searched_cells

TINY = ("nb201", "space.cells=1", "space.channels=4", "score=trainable_layers", "stop.evaluations=30", "finalists=3")


def accuracy(key: str) -> float:
    return 50 + key.count("nor_conv")


def test_the_winner_is_placed_among_the_visited_by_its_accuracy(tmp_path):
    space = NasBench201()
    keys = sorted({space.decode(genome).key for genome in product(range(5), repeat=6)})
    table = tmp_path / "accuracies.csv"
    table.write_text("\n".join(["arch,cifar10", *(f"{key},{accuracy(key)}" for key in keys)]) + "\n")
    words = ["--out", str(tmp_path / "runs"), "--accuracies", str(table), "--seeds", "2"]
    searched_cells.main([*TINY, "executor=inline", *words, "--json", str(tmp_path / "figures.json")])
    rows = json.loads((tmp_path / "figures.json").read_text())["rows"]["cifar10"]
    assert [row[0] for row in rows] == [0, 1]
    for _, visited, winner, place, finalist, best, median in rows:
        assert visited == 30
        assert winner == finalist == best  # the score orders as the accuracy does
        assert place == 1 and median < best


def test_cells_are_residual_by_the_edge_from_input_to_output():
    residual = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    other = "|skip_connect~0|+|none~0|none~1|+|nor_conv_1x1~0|skip_connect~1|none~2|"
    # without a convolution a network has more than half of the FLOPs of one with
    rows = searched_cells.cells({residual: 90.0, other: 80.0})
    assert rows == [
        ["all", 2, "85.00", 2, "", "", "", "90.00", "90.00"],
        ["residual", 1, "90.00", 1, "", "", "", "90.00", "90.00"],
    ]
