"""What the choices of `race_quality.py` lose, against hand-worked curves."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from tests.benchmarks import race_quality
from tests.benchmarks.race_quality import DRAWS, NETWORKS, SHORTLIST, drawn, losses, part_of, race_choice
from tests.benchmarks.trained.images import read_images
from vkdnw_search.racing.schedule import Rung


def test_the_race_goes_by_what_is_seen_at_the_ends_of_its_rungs() -> None:
    late, early, steady = [0.1, 0.2, 0.9], [0.6, 0.7, 0.7], [0.5, 0.6, 0.8]
    rungs = (Rung(3, 1), Rung(2, 3))
    assert race_choice([late, early, steady], rungs) == 2, "the late one is out after the first epoch"
    assert race_choice([late, early, steady], (Rung(3, 3),)) == 0


def test_a_race_that_sees_everything_loses_nothing_and_a_random_choice_the_mean() -> None:
    curves = [[place / 100] for place in range(NETWORKS)]
    lost = losses(curves, [-place for place in range(NETWORKS)], (Rung(SHORTLIST, 1),))
    assert set(lost["race"]) == {0.0} and len(lost["random"]) == DRAWS
    assert all(abs(value - 6.5) < 5 for value in lost["first by score"]), "the least of eight of twelve is chosen"
    mean = sum(lost["random"]) / DRAWS
    assert abs(mean - 13 / 9 * 3.5) < 0.3, "ordered places of eight of twelve are 13/9 apart"


def test_the_networks_are_of_one_class() -> None:
    assert len(drawn()) == NETWORKS and {network.part for network in drawn()} == {"class"}
    assert race_quality.SPACE.least_stem == 8


def test_a_part_of_the_images_is_their_beginning(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    pixels = np.arange(5 * 2 * 2, dtype=np.uint8).reshape(5, 2, 2)
    for part in ("train", "t10k"):
        images, labels = pixels.tobytes(), bytes(range(5))
        (whole / f"{part}-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(bytes((0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 2)) + images)
        )
        (whole / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes((0, 0, 8, 1, 0, 0, 0, 5)) + labels))
    part = read_images(part_of(whole, tmp_path / "part", train=3, test=4))
    assert part.train.numpy().tolist() == pixels[:3].tolist() and part.train_labels.tolist() == [0, 1, 2]
    assert part.test.numpy().tolist() == pixels[:4].tolist()
