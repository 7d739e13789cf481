"""Tables of Once-for-all's MobileNetV3 space: numbers become a network's text, what is measured twice its mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search_spaces.ofa_mobilenetv3 import OfaMobileNetV3
from vkdnw_search.errors import RankingError
from vkdnw_search.ranking.tables import AccuracyTable, read_csv

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "ofa_mobilenetv3_published.json").read_text())["networks"]
KERNELS, EXPANSIONS, DEPTHS = "3 5 0 0 " * 4 + "7 7 7 0", "3 4 0 0 " * 4 + "6 6 6 0", "2 2 2 2 3"
TEXT = "k3e3_k5e4-" * 4 + "k7e6_k7e6_k7e6"


def key(text: str) -> str:
    return OfaMobileNetV3().parse(text).key


def read(folder: Path, *lines: str, header: str = "ks,expand,depth,top1") -> AccuracyTable:
    path = folder / "table.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return read_csv(path, canonical=key)


def test_numbers_become_the_text_of_the_space(tmp_path):
    table = read(tmp_path, f"{KERNELS},{EXPANSIONS},{DEPTHS},75.5")
    assert table.architectures == (TEXT,) and table.column("top1").tolist() == [75.5]


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row['macs'] // 10**6}M")
def test_a_published_line_is_read_as_its_network(tmp_path, row):
    line = ",".join(str(row[name]) for name in ("ks", "expand", "depth", "imagenet_top1"))
    assert read(tmp_path, line, header="ks,expand,depth,imagenet_top1").architectures == (row["text"],)


def test_a_network_that_was_measured_twice_has_the_mean(tmp_path):
    other = f"{KERNELS.replace('3 5', '5 5', 1)},{EXPANSIONS},{DEPTHS}"
    lines = [f"{KERNELS},{EXPANSIONS},{DEPTHS},75", f"{other},70", f"{KERNELS},{EXPANSIONS},{DEPTHS},76"]
    table = read(tmp_path, *lines)
    assert len(table) == 2 and table.column("top1").tolist() == [75.5, 70]


def test_accuracies_and_sizes_are_told_by_their_names_and_other_columns_are_left_out(tmp_path):
    header = "run,ks,expand,depth,resolution,params,macs,imagenet_top1,predicted_acc"
    table = read(tmp_path, f"first,{KERNELS},{EXPANSIONS},{DEPTHS},224,5000,600,75,81", header=header)
    assert {name: values.tolist() for name, values in table.columns.items()} == {
        "params": [5000], "macs": [600], "imagenet_top1": [75], "predicted_acc": [81],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"{KERNELS},{EXPANSIONS},2 2 2 2,75", r"line 2, depth: must be 5 whole numbers, but is '2 2 2 2'"),
        (f"3 5,{EXPANSIONS},{DEPTHS},75", r"line 2, ks: must be 20 whole numbers, but is '3 5'"),
        (f"{KERNELS.replace('7', 'x')},{EXPANSIONS},{DEPTHS},75", r"ks: must be 20 whole numbers"),
        (
            f"{KERNELS},{EXPANSIONS},2 2 2 2 4,75",
            r"stage 5: must have kernel and expansion of 4 blocks, and",
        ),
        (f"{KERNELS},{EXPANSIONS},2 2 2 2 2,75", r"stage 5: .* of 2 blocks, .* has \(kernel, expansion\) \(7, 6\)"),
        (f"{KERNELS},{EXPANSIONS.replace('3 4', '3 0', 1)},{DEPTHS},75", r"stage 1: must have .* \(5, 0\)"),
        (f"{KERNELS},{EXPANSIONS},5 2 2 2 3,75", r"stage 1: must have .* 5 blocks"),
        (f"{KERNELS.replace('3', '9')},{EXPANSIONS},{DEPTHS},75", r"line 2: the architecture is not of this space"),
        (f"{KERNELS},{EXPANSIONS},{DEPTHS},high", r"line 2, top1: must be a number, but is 'high'"),
        (f"{KERNELS},{EXPANSIONS},{DEPTHS}", r"line 2: must have 4 fields, but has 3"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path, line, words):
    with pytest.raises(RankingError, match=words):
        read(tmp_path, line)


def test_networks_measured_at_different_resolutions_are_refused(tmp_path):
    lines = [f"{KERNELS},{EXPANSIONS},{DEPTHS},{size},75" for size in (224, 192)]
    with pytest.raises(RankingError, match=r"line 3, resolution: must be 224, as in the lines before, but is 192"):
        read(tmp_path, *lines, header="ks,expand,depth,resolution,top1")


def test_columns_must_differ(tmp_path):
    with pytest.raises(RankingError, match=r"line 1: must be 'arch' .* or have 'ks,expand,depth' and accuracies"):
        read(tmp_path, header="ks,expand,depth,top1,top1")
