"""The ResNet-like space against published networks and against its definition."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from search_spaces.resnet import ResNet
from tests.support.generated_source import assert_same_network, load_network
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.errors import SpaceError

SPACE = ResNet()
SMALL = ResNet(resolution=17, num_classes=5, max_width=32, small_images=True)

genomes = st.tuples(*[st.integers(0, min(1, len(gene.choices) - 1)) for gene in SMALL.genes])
"""Narrow and shallow networks, of two types."""

PUBLISHED = {
    "latency01ms": (
        "SuperConvK3BNRELU(3,24,2,1)SuperResK3K3(24,32,2,64,1)SuperResK5K5(32,64,2,32,1)SuperResK5K5(64,168,2,96,1)"
        "SuperResK1K5K1(168,320,1,120,1)SuperResK1K5K1(320,640,2,304,3)SuperResK1K5K1(640,512,1,384,1)"
        "SuperConvK1BNRELU(512,2384,1,1)"
    ),
    "size05M": (
        "SuperConvK3BNRELU(3,64,1,1)SuperResK1K5K1(64,168,1,16,3)SuperResK1K3K1(168,80,2,32,4)"
        "SuperResK1K5K1(80,112,2,16,3)SuperResK1K5K1(112,144,1,24,3)SuperResK1K3K1(144,32,2,40,1)"
        "SuperConvK1BNRELU(32,512,1,1)"
    ),
    "size2M": (
        "SuperConvK3BNRELU(3,32,1,1)SuperResK1K5K1(32,120,1,40,1)SuperResK1K5K1(120,176,2,32,3)"
        "SuperResK1K7K1(176,272,1,24,3)SuperResK1K3K1(272,176,1,56,3)SuperResK1K3K1(176,176,1,64,4)"
        "SuperResK1K5K1(176,216,2,40,2)SuperResK1K3K1(216,72,2,56,2)SuperConvK1BNRELU(72,512,1,1)"
    ),
}
"""Released with ZenNAS, whose README says what they cost: millions of parameters and of FLOPs, rounded."""


@pytest.mark.parametrize(
    ("name", "resolution", "parameters", "flops"),
    [("latency01ms", 224, 30.1, 1.7e3), ("size05M", 32, 0.5, 140), ("size2M", 32, 2.0, 487)],
)
def test_a_published_network_costs_what_was_published(name, resolution, parameters, flops):
    space = ResNet(resolution=resolution, num_classes=10 if resolution == 32 else 1000, small_images=resolution == 32)
    structure = space.parse(PUBLISHED[name])
    cost = CostCounter(space).cost(structure)
    assert structure.key == PUBLISHED[name]
    assert round(cost.parameters / 1e6, 1) == parameters
    assert cost.flops / 1e6 == pytest.approx(flops, rel=0.04 if flops > 1e3 else 0.001)


@given(genomes)
def test_a_network_survives_its_genome_and_its_text(genome):
    structure = SMALL.decode(genome)
    assert SMALL.decode(SMALL.encode(structure)) == structure == SMALL.parse(structure.key)


@settings(max_examples=2, deadline=None)
@given(genomes)
def test_parts_source_and_network_agree(genome):
    structure, counter = SMALL.decode(genome), CostCounter(SMALL)
    assert counter.cost(structure) == counter.whole(structure)
    network = load_network(SMALL.source(structure))
    assert_same_network(SMALL.build(structure), network(), torch.randn(2, 3, 17, 17))
    assert network(num_classes=7, channels_in=1).eval()(torch.randn(1, 1, 17, 17)).shape == (1, 7)


def test_only_the_first_unit_of_a_super_block_has_a_stride_and_a_projection():
    structure = SPACE.parse(PUBLISHED["latency01ms"])
    network = SPACE.build(structure)
    units = [len(block) for block in network.body]
    assert units == [1, 1, 1, 2, 6, 2]  # a depth of K1KxK1 is two units
    for block, described in zip(network.body, structure.blocks, strict=True):
        projections = [isinstance(unit.shortcut.conv, nn.Conv2d) for unit in block if hasattr(unit.shortcut, "conv")]
        assert projections == [True]
        strides = [m.stride for m in block.modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
        assert len(strides) == (2 if described.stride == 2 else 0)
    assert network.stages()[0] is network.stem and len(network.stages()) == sum(units) + 2


def test_images_of_cifar_keep_their_resolution_through_the_first_stage():
    network = SMALL.build(SMALL.decode((0,) * len(SMALL.genes))).eval()
    sizes = []
    for block in network.body:
        block.register_forward_hook(lambda _m, _i, y: sizes.append(y.shape[-1]))
    network(torch.zeros(1, 3, 17, 17))
    assert sizes == [17, 9, 5, 3]


def test_what_the_genes_cannot_express_is_refused_naming_the_gene():
    with pytest.raises(SpaceError, match=r"resnet, gene last.out: must be one of 128, 160, 192 … 2048, but is 2384"):
        SPACE.encode(
            SPACE.parse(PUBLISHED["latency01ms"].replace("168", "160").replace("304", "320").replace("120", "128"))
        )
    with pytest.raises(SpaceError, match=r"must have 4 stages .* but has \[1, 2\]"):
        SPACE.encode(SPACE.parse("SuperConvK3BNRELU(3,8,2,1)SuperResK3K3(8,8,2,8,1)SuperResK3K3(8,8,2,8,1)"
                                 "SuperResK3K3(8,8,1,8,1)SuperConvK1BNRELU(8,512,1,1)"))  # fmt: skip
    with pytest.raises(SpaceError, match=r"strides of stem and stages must be 2 and \(2, 2, 2, 2\)"):
        SPACE.encode(SMALL.decode((0,) * len(SMALL.genes)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SuperConvK3BNRELU(3,8,3,1)", "expected the stride of SuperConvK3BNRELU to be 1 or 2"),
        ("SuperConvK3BNRELU(3,8,2,1)SuperResK3K5(8,8,1,8,1)", "expected one of .*Did you mean 'SuperResK5K5'"),
        ("SuperConvK3BNRELU(3,8,2,1)SuperResK3K3(9,", r"expected '\(8,', but found '\(9,'"),
    ],
)
def test_an_error_in_a_text_says_where_it_is_and_what_was_expected(text, message):
    with pytest.raises(SpaceError, match=message):
        SPACE.parse(text)


def test_spaces_and_architectures_can_be_pickled_and_equal_their_copies():
    SPACE.genes  # noqa: B018  # remembered in the instance, which must not disturb
    architecture = SPACE.parse(PUBLISHED["size2M"])
    assert pickle.loads(pickle.dumps((SPACE, architecture))) == (SPACE, architecture)
