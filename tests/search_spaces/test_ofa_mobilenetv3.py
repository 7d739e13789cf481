"""Once-for-all's MobileNetV3 space against its published table, and against its definition."""

from __future__ import annotations

import csv
import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from search_spaces.ofa_mobilenetv3 import OfaMobileNetV3, SubNetwork
from search_spaces.ofa_mobilenetv3_network import SqueezeExcitation, StageUnit, Unit
from tests.support.generated_source import assert_same_network, load_network
from vkdnw_search.commands.main import main
from vkdnw_search.contracts import Probe
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.cost.peak_memory import PeakMemory
from vkdnw_search.errors import SpaceError
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.ranking.tables import read_csv

SPACE = OfaMobileNetV3()
SMALL = OfaMobileNetV3(resolution=33, num_classes=5)
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "ofa_mobilenetv3_published.json").read_text())["networks"]
TABLE = Path(__file__).parents[3] / "shared" / "data" / "ofa_mbv3_imagenet.csv"

genomes = st.tuples(*[st.integers(0, 2)] * 45)
needs_table = pytest.mark.skipif(not TABLE.is_file(), reason=f"the published table {TABLE.name} is not here")


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row['macs'] // 10**6}M")
def test_a_published_network_has_its_published_size(row):
    network = SPACE.parse(row["text"])
    cost = CostCounter(SPACE).cost(network)
    assert (cost.parameters, cost.macs) == (row["parameters"], row["macs"])
    assert cost.layers == sum(map(int, row["depth"].split()))
    assert network.key == row["text"]


@needs_table
def test_parameters_and_multiply_adds_are_those_of_all_1417_published_networks():
    with TABLE.open(newline="") as file:
        assert sum(1 for _ in csv.DictReader(file)) == 1417
    table, counter = read_csv(TABLE, canonical=lambda text: SPACE.parse(text).key), CostCounter(SPACE)
    costs = [counter.cost(SPACE.parse(key)) for key in table.architectures]
    assert [cost.parameters for cost in costs] == table.column("params").tolist()
    assert [cost.macs for cost in costs] == table.column("macs").tolist()


@given(genomes)
def test_a_network_survives_its_genome_and_its_text(genome):
    network = SPACE.decode(genome)
    assert SPACE.decode(SPACE.encode(network)) == network == SPACE.parse(network.key)


@given(genomes)
def test_genes_of_blocks_beyond_the_depth_say_nothing(genome):
    network = SPACE.decode(genome)
    cut = list(genome)
    for stage, blocks in enumerate(network.stages):
        start = 9 * stage
        assert len(blocks) == 2 + genome[start]
        cut[start + 1 + 2 * len(blocks) : start + 9] = [0] * (8 - 2 * len(blocks))
    assert SPACE.decode(tuple(cut)) == network


def test_a_mutation_of_the_depth_adds_a_block_like_the_last():
    network = SPACE.parse("k3e4_k7e6-k3e3_k3e3-k3e3_k3e3-k3e3_k3e3-k3e3_k3e3")
    deeper = list(SPACE.encode(network))
    deeper[0] += 1
    assert SPACE.decode(tuple(deeper)).key.startswith("k3e4_k7e6_k7e6-")


@pytest.mark.parametrize("genome", [(0,) * 45, (2, 1, 0) * 15])
def test_parts_chain_source_and_network_agree(genome):
    network, counter, memory = SMALL.decode(genome), CostCounter(SMALL), PeakMemory(SMALL)
    assert counter.cost(network) == counter.whole(network)
    assert memory(network) == memory.whole(network)
    made = load_network(SMALL.source(network))
    assert_same_network(SMALL.build(network), made(), torch.randn(2, 3, 33, 33))
    assert made(num_classes=7, channels_in=1).eval()(torch.randn(1, 1, 33, 33)).shape == (1, 7)


@pytest.mark.parametrize("selection", ["first", "last", "spread"])
def test_the_fast_derivatives_of_every_layer_are_the_literal_ones(selection):
    """Checked, a score is another one as soon as a derivative differs from its definition."""
    network = SMALL.decode((0, 1, 2) * 15)
    quick = VkdnwSingle(images=16, parameters=64, selection=selection, directions=4, draws=2)
    scores = []
    for proxy in (quick, replace(quick, check=True)):
        torch.manual_seed(0)
        scores.append(proxy(SMALL.build(network), Probe(SMALL.input_shape, SMALL.num_classes, seed=0)).value)
    assert scores[0] == scores[1]


def test_rank_reads_a_table_of_kernels_expansions_and_depths(tmp_path, capsys):
    path = tmp_path / "table.csv"
    lines = ["ks,expand,depth,imagenet_top1"]
    lines += [f"{row['ks']},{row['expand']},{row['depth']},{row['imagenet_top1']}" for row in GOLDEN]
    path.write_text("\n".join(lines) + "\n")
    words = ["rank", "ofa_mobilenetv3", "--accuracies", str(path), "--proxies", "flops,parameters"]
    assert main([*words, "--out", str(tmp_path / "study"), "--no-figures", "-q"]) == 0
    assert "ofa_mobilenetv3: 4 networks" in capsys.readouterr().out


def test_stages_differ_as_mobilenetv3_has_them():
    """Activation, squeeze-excitation and width of the first and the second block of each stage (arXiv 1905.02244)."""
    found = []
    for stage in range(5):
        for first in (True, False):
            unit = StageUnit(stage, 5, 4, first=first)
            kinds = {type(module).__name__ for module in unit.main[0]}
            gated = any(isinstance(module, SqueezeExcitation) for module in unit.main)
            found.append((*({"ReLU", "Hardswish"} & kinds), gated, unit.shortcut, unit.main[-1][0].out_channels))
            assert unit.main[1][0].stride == ((2, 2) if first and stage != 3 else (1, 1))
    assert found == [
        ("ReLU", False, False, 24), ("ReLU", False, True, 24), ("ReLU", True, False, 40), ("ReLU", True, True, 40),
        ("Hardswish", False, False, 80), ("Hardswish", False, True, 80), ("Hardswish", True, False, 112),
        ("Hardswish", True, True, 112), ("Hardswish", True, False, 160), ("Hardswish", True, True, 160),
    ]  # fmt: skip


def test_squeeze_excitation_multiplies_by_a_hard_sigmoid_of_the_means():
    gate = SqueezeExcitation(24).eval()
    _, squeeze, _, excite, _ = gate.gate
    assert squeeze.out_channels == 8  # a quarter, rounded to a multiple of 8
    x = torch.randn(2, 24, 3, 5)
    inner = torch.relu(x.mean((2, 3)) @ squeeze.weight.flatten(1).T + squeeze.bias)
    factor = ((inner @ excite.weight.flatten(1).T + excite.bias + 3) / 6).clamp(0, 1)
    torch.testing.assert_close(gate(x), x * factor[:, :, None, None])


@pytest.mark.parametrize(("stride", "outputs", "shortcut"), [(1, 8, True), (2, 8, False), (1, 16, False)])
def test_a_shortcut_adds_the_input_where_the_shape_stays(stride, outputs, shortcut):
    unit = Unit(8, outputs, kernel=3, expansion=3, stride=stride).eval()
    for parameter in unit.main[-1].parameters():
        nn.init.zeros_(parameter)  # so that the last convolution says nothing
    x = torch.rand(1, 8, 4, 4)
    y = unit(x)
    torch.testing.assert_close(y, x if shortcut else torch.zeros_like(y))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "position 0: expected 'k', but the text ends"),
        ("k3e4_k4e3", "position 6: expected a kernel to be 3 or 5 or 7, but found '4e3'"),
        ("k3e5_k3e3", "position 3: expected an expansion to be 3 or 4 or 6, but found '5_k3e3'"),
        ("k3e3-k3e3", "position 0: expected a stage of 2 to 4 blocks, but found 'k3e3-k3e3'"),
        ("k3e3_k3e3-" + "_".join(["k3e3"] * 5), "position 10: expected a stage of 2 to 4 blocks"),
        ("-".join(["k3e3_k3e3"] * 4), "position 39: expected '-', but the text ends"),
        ("-".join(["k3e3_k3e3"] * 6), "position 49: expected the end, but found '-k3e3"),
    ],
)
def test_an_error_in_a_text_says_where_it_is_and_what_was_expected(text, message):
    with pytest.raises(SpaceError, match=message):
        SPACE.parse(text)


def test_a_network_must_have_five_stages_of_two_to_four_blocks():
    with pytest.raises(SpaceError, match=r"5 stages of 2 to 4 blocks, but they have \[2, 2, 2, 2, 1\]"):
        SubNetwork((((3, 3), (3, 3)),) * 4 + (((3, 3),),))


def test_what_the_genes_cannot_express_is_refused_naming_the_gene():
    with pytest.raises(SpaceError, match=r"gene stage1.block2.kernel: must be one of 3, 5, 7, but is 9"):
        SPACE.encode(SubNetwork((((3, 3), (9, 3)),) * 5))


def test_spaces_and_architectures_can_be_pickled_and_equal_their_copies():
    SPACE.genes  # noqa: B018  # remembered in the instance, which must not disturb
    network = SPACE.parse(GOLDEN[0]["text"])
    assert pickle.loads(pickle.dumps((SPACE, network))) == (SPACE, network)
