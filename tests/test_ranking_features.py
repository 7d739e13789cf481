from __future__ import annotations

import pytest

from search_spaces.nasbench201 import NasBench201
from vkdnw_search.errors import RankingError
from vkdnw_search.ranking.features import SUBSETS, graph_features

SKIP, ONE, THREE, POOL = "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"

# input 0 → 1 conv3, 0 → 2 skip, 1 → 2 conv1, 0 → 3 nothing, 1 → 3 pool, 2 → 3 conv3.
# Its paths: conv3 pool; conv3 conv1 conv3; skip conv3.
MIXED = f"|{THREE}~0|+|{SKIP}~0|{ONE}~1|+|none~0|{POOL}~1|{THREE}~2|"

# The direct edge alone.
DIRECT = f"|none~0|+|none~0|none~1|+|{ONE}~0|none~1|none~2|"


def test_a_mixed_cell_by_hand():
    features = graph_features(MIXED)
    assert {name: features[f"count[{name}]"] for name in (SKIP, ONE, THREE, POOL, "none")} == {
        SKIP: 1, ONE: 1, THREE: 2, POOL: 1, "none": 1,
    }  # fmt: skip
    by_hand = {  # shortest, most, input_out, output_in, inner_in, inner_out
        f"{THREE}": (4, 2, 1, 1, 0.5, 0.5),  # no path of 3×3 alone; two of them on the path of three edges
        f"{SKIP}": (4, 1, 1, 0, 0.5, 0),
        f"{SKIP}+{THREE}": (2, 2, 2, 1, 1.0, 0.5),
        f"{ONE}+{THREE}": (3, 3, 1, 1, 1.0, 1.0),
        f"{THREE}+{POOL}": (2, 2, 1, 2, 0.5, 1.0),
        f"{SKIP}+{ONE}+{THREE}+{POOL}": (2, 3, 2, 2, 1.5, 1.5),
    }
    for subset, expected in by_hand.items():
        names = ("shortest", "most", "input_out", "output_in", "inner_in", "inner_out")
        assert tuple(features[f"{name}[{subset}]"] for name in names) == expected, subset


def test_the_direct_edge_by_hand():
    features = graph_features(DIRECT)
    for subset in SUBSETS:
        label = "+".join(name for name in (SKIP, ONE, THREE, POOL) if name in subset)
        has = ONE in subset
        assert features[f"shortest[{label}]"] == (1 if has else 4)
        assert features[f"most[{label}]"] == features[f"input_out[{label}]"] == features[f"output_in[{label}]"] == has
        assert features[f"inner_in[{label}]"] == features[f"inner_out[{label}]"] == 0
    assert features["count[none]"] == 5


def test_every_cell_has_the_same_95_features_in_the_same_order():
    space = NasBench201()
    cells = [space.decode(genome).key for genome in ((0,) * 6, (1, 2, 3, 4, 1, 2), (3,) * 6, (0, 0, 0, 1, 0, 0))]
    names = {tuple(graph_features(cell)) for cell in cells}
    assert len(names) == 1 and len(names.pop()) == 5 + 6 * 15
    assert len({tuple(graph_features(cell).values()) for cell in cells}) == len(cells)


def test_the_cell_of_nothing_has_no_path():
    features = graph_features(NasBench201().decode((0,) * 6).key)
    assert all(value == 4 for name, value in features.items() if name.startswith("shortest"))
    assert features["count[none]"] == 6 and sum(features.values()) == 4 * 15 + 6


@pytest.mark.parametrize("text", ["", "00112233", MIXED[:-4], MIXED.replace(POOL, "max_pool_3x3")])
def test_what_is_no_cell_is_refused(text):
    with pytest.raises(RankingError, match="must be a NAS-Bench-201 cell"):
        graph_features(text)
