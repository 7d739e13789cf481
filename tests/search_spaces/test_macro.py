"""NAS-Bench-Macro against its published table, and against its definition."""

from __future__ import annotations

import csv
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from search_spaces.macro import Macro
from tests.support.generated_source import assert_same_network, load_network
from vkdnw_search.commands.main import main
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.errors import SpaceError

SPACE = Macro()
TABLE = Path(__file__).parents[3] / "shared" / "data" / "nas_bench_macro_2000.csv"

genomes = st.tuples(*[st.integers(0, 2)] * 8)
needs_table = pytest.mark.skipif(not TABLE.is_file(), reason=f"the published table {TABLE.name} is not here")


def rows() -> list[dict[str, str]]:
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


@needs_table
def test_parameters_and_multiply_adds_are_those_the_benchmark_publishes():
    counter = CostCounter(SPACE)
    assert len(rows()) == 2000
    for row in rows():
        cost = counter.cost(SPACE.parse(row["arch"]))
        assert (cost.parameters, cost.macs) == (int(row["params"]), int(row["flops"])), row["arch"]


@needs_table
def test_networks_with_one_key_were_trained_as_one_network():
    accuracies: dict[str, set[str]] = {}
    for row in rows():
        accuracies.setdefault(SPACE.parse(row["arch"]).key, set()).add(row["cifar10"])
    assert len(accuracies) < 2000  # some of the networks are there under several texts
    assert all(len(values) == 1 for values in accuracies.values())


def test_a_row_of_the_published_table_is_met_without_the_table():
    cost = CostCounter(SPACE).cost(SPACE.parse("00000011"))
    assert (cost.parameters, cost.macs) == (1_195_306, 20_517_376)


def test_6561_genomes_are_3969_different_networks():
    texts = ["".join(digits) for digits in product("012", repeat=8)]
    keys = {SPACE.parse(text).key for text in texts}
    assert len(texts) == 6561 and len(keys) == 3 * 3 * (3 * 7) ** 2 == 3969
    assert keys <= set(texts)


@given(genomes)
def test_a_network_survives_its_genome_and_its_text(genome):
    architecture = SPACE.decode(genome)
    assert SPACE.decode(SPACE.encode(architecture)) == architecture == SPACE.parse(architecture.key)
    assert SPACE.parse("".join(map(str, genome))) == architecture


@settings(max_examples=5, deadline=None)
@given(genomes)
def test_the_counts_of_the_parts_are_those_of_the_whole(genome):
    counter, architecture = CostCounter(SPACE), SPACE.decode(genome)
    model = SPACE.build(architecture)
    assert counter.cost(architecture) == counter.whole(architecture)
    assert counter.cost(architecture).layers == sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules())


@settings(max_examples=5, deadline=None)
@given(genomes)
def test_the_source_is_the_same_network(genome):
    architecture = SPACE.decode(genome)
    network = load_network(SPACE.source(architecture))
    assert_same_network(SPACE.build(architecture), network(), torch.randn(2, 3, 32, 32))
    assert network(num_classes=7).eval()(torch.randn(1, 3, 32, 32)).shape == (1, 7)


def test_the_stages_are_stem_layers_and_last_convolution_and_identities_are_nothing():
    names = [type(module).__name__ for module in SPACE.build(SPACE.parse("01020000")).stages()]
    assert names == ["Stem", "ConvBN", "Block", "ConvBN", "Block", "ConvBN", "Last"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("0120", "position 4: expected 0, 1 or 2, but the text ends"), ("012012345", "position 6: expected 0, 1 or 2"),
     ("000000000", "position 8: expected the end")],
)  # fmt: skip
def test_an_error_in_a_text_says_where_it_is_and_what_was_expected(text, message):
    with pytest.raises(SpaceError, match=message):
        SPACE.parse(text)


@pytest.mark.parametrize("genome", [(0,) * 7, (0,) * 7 + (3,), (-1,) + (0,) * 7])
def test_a_genome_of_another_length_or_beyond_the_choices_is_refused(genome):
    with pytest.raises(SpaceError, match="eight indices in 0 … 2"):
        SPACE.decode(genome)


@needs_table
def test_rank_reads_the_published_table_and_ranks_it_by_size(tmp_path, capsys):
    words = ["rank", "macro", "--accuracies", str(TABLE), "--column", "cifar10", "--proxies", "flops,trainable_layers"]
    assert main([*words, "--out", str(tmp_path / "study"), "--no-figures", "-q"]) == 0
    assert "trainable_layers" in capsys.readouterr().out
