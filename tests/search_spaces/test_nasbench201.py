import json
import pickle
from itertools import pairwise, product
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from search_spaces.nasbench201 import EDGES, OPERATIONS, NasBench201
from search_spaces.nasbench201_network import operation
from tests.support.generated_source import assert_same_network, load_network
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.errors import SpaceError

SPACE = NasBench201()
SMALL = NasBench201(resolution=8, channels=4, cells=1)
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "nasbench201_published.json").read_text())["networks"]
NOTHING = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"

genomes = st.tuples(*[st.integers(0, len(OPERATIONS) - 1)] * len(EDGES))


def all_genomes():
    return product(range(len(OPERATIONS)), repeat=len(EDGES))


def test_15625_genomes_are_9445_different_networks():
    assert len({SPACE.decode(genome).key for genome in all_genomes()}) == 9445


def test_residual_cells_are_exactly_those_with_an_identity_from_input_to_output():
    residual = NasBench201(residual=True)
    found = {residual.decode(genome).key for genome in product(range(len(OPERATIONS)), repeat=len(EDGES) - 1)}
    everything = {SPACE.decode(genome).key for genome in all_genomes()}
    assert found == {key for key in everything if key.split("+")[2].startswith("|skip_connect~0|")}


def test_a_residual_cell_survives_its_genome_and_others_have_none_but_are_read_and_built():
    residual = NasBench201(residual=True, channels=4, cells=1)
    for genome in ((0, 1, 2, 3, 4), (3, 3, 3, 3, 3)):
        architecture = residual.decode(genome)
        assert residual.decode(residual.encode(architecture)) == architecture == residual.parse(architecture.key)
    other = residual.parse("|nor_conv_1x1~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|")
    with pytest.raises(SpaceError, match="must have skip_connect from node 0 to node 3, but has nor_conv_3x3"):
        residual.encode(other)
    assert residual.build(other)(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    with pytest.raises(SpaceError, match="must be five indices"):
        residual.decode((0,) * 6)


def test_exactly_the_edges_on_a_path_from_input_to_output_are_alive():
    paths = [(0, 3), (0, 1, 3), (0, 2, 3), (0, 1, 2, 3)]
    for genome in all_genomes():
        given_operations = dict(zip(EDGES, (OPERATIONS[index] for index in genome), strict=True))
        complete = [list(pairwise(p)) for p in paths if all(given_operations[e] != "none" for e in pairwise(p))]
        alive = {edge for path in complete for edge in path}
        expected = [name if edge in alive else "none" for edge, name in given_operations.items()]
        assert list(SPACE.decode(genome).operations) == expected


def test_the_operations_are_the_benchmarks_in_its_order():
    assert OPERATIONS == ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


@given(genomes)
def test_a_network_survives_its_genome_and_its_text(genome):
    architecture = SPACE.decode(genome)
    assert SPACE.decode(SPACE.encode(architecture)) == architecture
    assert SPACE.parse(architecture.key) == architecture


def test_a_text_with_dead_edges_is_the_network_without_them():
    text = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|none~0|nor_conv_1x1~1|none~2|"
    assert SPACE.parse(text).key == "|skip_connect~0|+|none~0|none~1|+|none~0|nor_conv_1x1~1|none~2|"


def test_the_benchmarks_text_is_the_canonical_text():
    text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
    assert SPACE.parse(text).key == text
    assert SPACE.parse(text).operations == (
        "nor_conv_3x3",
        "nor_conv_3x3",
        "avg_pool_3x3",
        "skip_connect",
        "nor_conv_3x3",
        "skip_connect",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "position 0: expected '|', but the text ends"),
        ("|none~0|", "position 8: expected '+|', but the text ends"),
        ("|nor_conv3x3~0|+", "position 1: expected one of none, skip_connect, .*Did you mean 'nor_conv_3x3'"),
        ("|none~0|+|none~0|none~0|", "position 21: expected '~1|', but found '~0|'"),
        ("|none~0|+|~0|none~1|", "position 10: expected an operation for edge 0 → 2, but found"),
        (NOTHING + "+", "position 47: expected the end, but found '+'"),
    ],
)
def test_an_error_in_a_text_says_where_it_is_and_what_was_expected(text, message):
    with pytest.raises(SpaceError, match=message.replace("|", r"\|").replace("+", r"\+")):
        SPACE.parse(text)


@pytest.mark.parametrize("genome", [(), (0,) * 5, (0, 0, 0, 0, 0, 5), (0, 0, 0, 0, 0, -1)])
def test_a_genome_of_another_length_or_beyond_the_choices_is_refused(genome):
    with pytest.raises(SpaceError, match="six indices in 0 … 4"):
        SPACE.decode(genome)


@pytest.mark.parametrize("entry", GOLDEN, ids=lambda e: f"{e['dataset']}-{e['cell']}")
def test_parameters_and_multiply_adds_are_those_the_benchmark_publishes(entry):
    space = NasBench201(resolution=entry["resolution"], num_classes=entry["num_classes"])
    architecture = space.parse(entry["cell"])
    cost = CostCounter(space).cost(architecture)
    assert cost.parameters == sum(p.numel() for p in space.build(architecture).parameters()) == entry["parameters"]
    assert cost.macs + entry["num_classes"] == entry["flop"]


@settings(max_examples=15, deadline=None)
@given(genomes)
def test_tensors_are_21_and_layers_8_plus_45_and_15_for_each_convolution(genome):
    architecture = SPACE.decode(genome)
    convolutions = architecture.key.count("nor_conv")
    network = SPACE.build(architecture)
    assert len(list(network.parameters())) == 21 + 45 * convolutions
    assert SPACE.layers(architecture) == 8 + 15 * convolutions
    assert SPACE.layers(architecture) == sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network.modules())


def whole_cell(names, modules, x):
    """The cell by its definition, dead edges and all: each node is the sum over all nodes before it."""
    nodes = [x]
    for target in (1, 2, 3):
        terms = [torch.zeros_like(x)]
        for (source, end), name, module in zip(EDGES, names, modules, strict=True):
            if end == target and name != "none":
                terms.append(module(nodes[source]))
        nodes.append(torch.stack(terms).sum(dim=0))
    return nodes[3]


@settings(max_examples=60, deadline=None)
@given(genomes, st.integers(0, 2**32))
def test_a_cell_without_its_dead_edges_computes_what_it_computes_with_them(genome, seed):
    names = [OPERATIONS[index] for index in genome]
    architecture = SMALL.decode(genome)
    cell = SMALL.build(architecture).eval().body[0]
    live = {edge[:2]: module for edge, module in zip(cell.edges, cell.operations, strict=True)}
    modules = [
        live.get(edge) or (nn.Identity() if name == "none" else operation(name, 4).eval())
        for edge, name in zip(EDGES, names, strict=True)
    ]
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        torch.testing.assert_close(cell(x), whole_cell(names, modules, x))


def test_average_pooling_at_the_border_averages_what_is_there():
    ones = torch.ones(1, 2, 4, 4)
    assert torch.equal(operation("avg_pool_3x3", 2)(ones), ones)


def test_the_network_without_any_edge_still_gives_finite_logits():
    network = SPACE.build(SPACE.parse(NOTHING))
    logits = network(torch.randn(3, *SPACE.input_shape))
    assert logits.shape == (3, 10)
    assert logits.isfinite().all()


def test_the_stages_of_a_network_are_its_stem_cells_and_reductions():
    network = SPACE.build(SPACE.parse(NOTHING))
    assert [type(m).__name__ for m in network.stages()] == ["Stem", *(["Cell"] * 5 + ["Reduction"]) * 2, *["Cell"] * 5]


@settings(max_examples=15, deadline=None)
@given(genomes)
def test_the_source_is_the_same_network(genome):
    architecture = SMALL.decode(genome)
    network = load_network(SMALL.source(architecture))()
    assert_same_network(SMALL.build(architecture), network, torch.randn(2, *SMALL.input_shape))


def test_the_source_takes_any_number_of_classes():
    network = load_network(SMALL.source(SMALL.parse(NOTHING)))(num_classes=7)
    assert network(torch.randn(1, 3, 8, 8)).shape == (1, 7)


def test_spaces_and_architectures_can_be_pickled_and_equal_their_copies():
    SPACE.genes  # noqa: B018  # remembered in the instance, which must not disturb
    architecture = SPACE.parse(NOTHING)
    assert pickle.loads(pickle.dumps((SPACE, architecture))) == (SPACE, architecture)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"resolution": 30}, "resolution: must be a whole number from 4 to 1024, a multiple of 4 or a list of 2 such"),
        ({"cells": 0}, "cells: must be a whole number from 1 to 64, but is 0"),
        ({"channels": "16"}, "channels: must be a whole number from 1 to 1024, but is '16'. Did you mean 16"),
        ({"num_classes": True}, "num_classes: must be a whole number from 2 to 100k, but is true"),
    ],
)
def test_an_option_out_of_bounds_is_refused_in_words(option, message):
    with pytest.raises(SpaceError, match=f"NasBench201, {message}"):
        NasBench201(**option)


def test_the_resnet_cell_is_two_convolutions_and_what_goes_in():
    space = NasBench201(channels=4, cells=1)
    cell = space.parse(space.references["resnet"])
    assert cell.key == "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
    nothing = space.parse("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    convolutions = [
        sum(isinstance(module, torch.nn.Conv2d) for module in space.build(network).modules())
        for network in (cell, nothing)
    ]
    assert convolutions[0] - convolutions[1] == 2 * 3, "two in each of three stages"
