from __future__ import annotations

import pytest

from search_spaces.nasbench201 import NasBench201
from vkdnw_search.errors import RankingError
from vkdnw_search.ranking.features import OPERATIONS, SUBSETS, graph_features

NONE, SKIP, ONE, THREE, POOL = "none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"

# input 0 → 1 conv3, 0 → 2 skip, 1 → 2 conv1, 0 → 3 nothing, 1 → 3 pool, 2 → 3 conv3.
# Its paths: nothing; conv3 pool; skip conv3; conv3 conv1 conv3.
MIXED = f"|{THREE}~0|+|{SKIP}~0|{ONE}~1|+|none~0|{POOL}~1|{THREE}~2|"


def test_a_mixed_cell_by_hand():
    features = graph_features(MIXED)
    assert {name: features[f"count[{name}]"] for name in (SKIP, ONE, THREE, POOL, NONE)} == {
        SKIP: 1, ONE: 1, THREE: 2, POOL: 1, NONE: 1,
    }  # fmt: skip
    by_hand = {  # most, input_out, output_in, degree
        THREE: (2, 1, 1, 0.5),  # two of three on the longest path, a surplus of one; one of two on others
        SKIP: (1, 1, 0, 0.25),
        POOL: (1, 0, 1, 0.25),
        NONE: (1, 1, 1, 0.25),  # the direct edge is a path of nothing else
        ONE: (0, 0, 0, 0.25),  # on no path has it a surplus; of two paths with one too few the shorter one counts
        f"{SKIP}+{THREE}": (2, 2, 1, 0.75),
        f"{ONE}+{THREE}": (3, 1, 1, 0.75),
        f"{SKIP}+{ONE}+{THREE}+{POOL}": (3, 2, 2, 1.25),
    }
    for subset, expected in by_hand.items():
        names = ("most", "input_out", "output_in", "degree")
        assert tuple(features[f"{name}[{subset}]"] for name in names) == expected, subset


def test_every_cell_has_the_same_125_features_in_the_same_order():
    space = NasBench201()
    cells = [space.decode(genome).key for genome in ((0,) * 6, (1, 2, 3, 4, 1, 2), (3,) * 6, (0, 0, 0, 1, 0, 0))]
    names = {tuple(graph_features(cell)) for cell in cells}
    assert len(names) == 1 and len(names.pop()) == 5 + 4 * 30 == 5 + 4 * len(SUBSETS)
    assert len({tuple(graph_features(cell).values()) for cell in cells}) == len(cells)


def test_features_count_edges_once_for_each_set_that_holds_their_operation():
    features = graph_features(MIXED)
    degrees = [features[f"degree[{'+'.join(o for o in OPERATIONS if o in subset)}]"] for subset in SUBSETS]
    assert sum(degrees) == 6 * 15 / 4  # each of six edges is in 15 of the 30 sets, over four nodes


@pytest.mark.parametrize("text", ["", "00112233", MIXED[:-4], MIXED.replace(POOL, "max_pool_3x3")])
def test_what_is_no_cell_is_refused(text):
    with pytest.raises(RankingError, match="must be a NAS-Bench-201 cell"):
        graph_features(text)
