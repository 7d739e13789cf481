"""Vision transformers of AutoFormer against the published DeiT, PyTorch's own transformer, and their definition."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from search_spaces.autoformer import SIZES, AutoFormer
from search_spaces.autoformer_network import TransformerBlock
from tests.support.generated_source import assert_same_network, load_network
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.errors import SpaceError

SPACE = AutoFormer()
SMALL = AutoFormer(resolution=16, patch=8, num_classes=5)

genomes = st.tuples(*[st.integers(0, len(gene.choices) - 1) for gene in SPACE.genes])


@pytest.mark.parametrize(
    ("size", "text", "parameters", "gigaflops"),
    [("tiny", "e192" + 12 * "-h3r4", 5_717_416, 1.3), ("small", "e384" + 12 * "-h6r4", 22_050_664, 4.6)],
)
def test_deit_is_in_the_space_and_costs_what_was_published(size, text, parameters, gigaflops):
    """DeiT-Ti and DeiT-S (arXiv 2012.12877): 5.7M and 22.1M parameters, 1.3G and 4.6G FLOPs."""
    space = AutoFormer(size=size)
    transformer = space.parse(text)
    cost = CostCounter(space).cost(transformer)
    assert space.decode(space.encode(transformer)) == transformer
    assert (cost.parameters, round(cost.flops / 1e9, 1)) == (parameters, gigaflops)


@given(genomes)
def test_a_network_survives_its_genome_and_its_text(genome):
    transformer = SPACE.decode(genome)
    assert SPACE.decode(SPACE.encode(transformer)) == transformer == SPACE.parse(transformer.key)


@given(genomes)
def test_genes_of_blocks_beyond_the_depth_say_nothing(genome):
    depth = SIZES["tiny"].depth[genome[1]]
    assert len(SPACE.decode(genome).blocks) == SPACE.layers(SPACE.decode(genome)) == depth
    cut = (*genome[: 2 + 2 * depth], *(0 for _ in genome[2 + 2 * depth :]))
    assert SPACE.decode(cut).key == SPACE.decode(genome).key


@pytest.mark.parametrize("genome", [(0, 0, *[0, 1, 1, 0] * 7), (2, 1, *[1, 1, 0, 0] * 7)])
def test_parts_source_and_network_agree(genome):
    transformer, counter = SMALL.decode(genome), CostCounter(SMALL)
    assert counter.cost(transformer) == counter.whole(transformer)
    network = load_network(SMALL.source(transformer))
    assert_same_network(SMALL.build(transformer), network(), torch.randn(2, 3, 16, 16))
    assert network(num_classes=7, channels_in=1).eval()(torch.randn(1, 1, 16, 16)).shape == (1, 7)


def test_a_block_computes_what_pytorchs_own_encoder_layer_computes():
    ours = TransformerBlock(128, 2, 96).eval()
    theirs = nn.TransformerEncoderLayer(128, 2, 96, activation="gelu", batch_first=True, norm_first=True).eval()
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(ours.attention.qkv.weight)
        theirs.self_attn.in_proj_bias.copy_(ours.attention.qkv.bias)
    theirs.self_attn.out_proj.load_state_dict(ours.attention.project.state_dict())
    theirs.linear1.load_state_dict(ours.mlp[0].state_dict())
    theirs.linear2.load_state_dict(ours.mlp[2].state_dict())
    x = torch.randn(2, 7, 128)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


def test_other_resolutions_work_and_resize_the_position_embedding():
    embedding = SMALL.build(SMALL.decode((0,) * len(SMALL.genes))).embedding
    with torch.no_grad():
        embedding.position[:, 1:] = 3.0
        embedding.patches.weight.zero_(), embedding.patches.bias.zero_()
        tokens = embedding(torch.randn(1, 3, 40, 24))
    assert tokens.shape == (1, 1 + 5 * 3, 192)
    torch.testing.assert_close(tokens[:, 1:], torch.full_like(tokens[:, 1:], 3.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("e192", "position 4: expected '-h', but the text ends"),
        ("e192-h3r3.4", "expected an MLP ratio such as 3.5, but found '3.4'"),
        ("e192-h0r4", "expected heads to be at least 1"),
    ],
)
def test_an_error_in_a_text_says_where_it_is_and_what_was_expected(text, message):
    with pytest.raises(SpaceError, match=message):
        SPACE.parse(text)


def test_what_the_genes_cannot_express_is_refused_naming_the_gene():
    with pytest.raises(SpaceError, match="gene depth: must be one of 12, 13, 14, but is 15"):
        SPACE.encode(SPACE.parse("e192" + 15 * "-h3r4"))
    with pytest.raises(SpaceError, match=r"gene block12.heads: must be one of 3, 4, but is 6"):
        SPACE.encode(SPACE.parse("e192" + 11 * "-h3r4" + "-h6r4"))


def test_a_resolution_that_patches_do_not_fill_is_refused():
    with pytest.raises(SpaceError, match="must be a multiple of the patch, 16, but is 40"):
        AutoFormer(resolution=40)


def test_spaces_and_architectures_can_be_pickled_and_equal_their_copies():
    SPACE.genes  # noqa: B018  # remembered in the instance, which must not disturb
    architecture = SPACE.parse("e192-h3r4")
    assert pickle.loads(pickle.dumps((SPACE, architecture))) == (SPACE, architecture)
