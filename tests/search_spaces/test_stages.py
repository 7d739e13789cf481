"""Spaces written as timm's strings, against MobileNetV2 and EfficientNet as published, and against their definition."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.stages import Stages
from search_spaces.stages_network import Unit
from search_spaces.stages_structure import EFFICIENTNET_B0, MOBILENET_V2
from tests.support.generated_source import assert_same_network, load_network
from vkdnw_search.choices import narrowed
from vkdnw_search.contracts import input_shape_of
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.cost.limits import Limits, Range
from vkdnw_search.cost.peak_memory import PeakMemory
from vkdnw_search.engine.tasks import Task, score_candidate
from vkdnw_search.errors import SpaceError
from vkdnw_search.recipe.recipe import parse_recipe
from vkdnw_search.records import Score
from vkdnw_search.testing import check_search_space

SPACE = Stages()
EVERYTHING = Stages(
    stages=(
        "cn_r1_k3_s1_c8",
        "ds_r1/2_k3/5_s1_c8/12_se0/0.25",
        "er_r1/2_k3_s2_e2/4_c12",
        "ir_r1/2_k5_s1/2_e3_c12_se0.5",
    ),
    stem=8,
    stem_stride=1,
    last=16,
    activation="silu",
    resolution=9,
    num_classes=5,
)

genomes = st.tuples(*[st.integers(0, len(gene.choices) - 1) for gene in EVERYTHING.genes])


@pytest.mark.parametrize(
    ("space", "text", "parameters", "millions"),
    [(SPACE, MOBILENET_V2, 3_504_872, 301), (Stages(activation="silu"), EFFICIENTNET_B0, 5_288_548, 386)],
    ids=["MobileNetV2", "EfficientNet-B0"],
)
def test_a_published_network_has_its_published_size(space, text, parameters, millions):
    """What torchvision documents for mobilenet_v2 and efficientnet_b0 (0.30G and 0.39G multiply-adds)."""
    network = space.parse(text)
    cost = CostCounter(space).cost(network)
    assert network.key == text
    assert (cost.parameters, round(cost.macs / 1e6)) == (parameters, millions)


def test_published_networks_have_names_where_the_activation_is_theirs():
    assert SPACE.references == {"mobilenetv2": MOBILENET_V2}
    assert Stages(activation="silu").references == {"efficientnet_b0": EFFICIENTNET_B0}
    assert Stages(activation="hardswish").references == {}
    small = Stages(stem_stride=1)
    assert small.decode(small.encode(small.parse(small.references["mobilenetv2"]))).stem_stride == 1


def test_peak_memory_is_that_of_the_networks_own_stem():
    memory = PeakMemory(SPACE)
    network = SPACE.parse("c16_s1-ds_r1_k3_s1_c16-c1280")
    assert memory(network) == memory.whole(network)


def test_the_default_space_contains_mobilenet_v2():
    network = SPACE.parse(MOBILENET_V2)
    assert SPACE.decode(SPACE.encode(network)) == network


@given(genomes)
def test_a_network_survives_its_genome_and_its_text(genome):
    network = EVERYTHING.decode(genome)
    assert EVERYTHING.decode(EVERYTHING.encode(network)) == network == EVERYTHING.parse(network.key)


@pytest.mark.parametrize("genome", [(0,) * len(EVERYTHING.genes), (1,) * len(EVERYTHING.genes)])
def test_parts_source_and_network_agree(genome):
    network, counter = EVERYTHING.decode(genome), CostCounter(EVERYTHING)
    assert counter.cost(network) == counter.whole(network)
    made = load_network(EVERYTHING.source(network))
    assert_same_network(EVERYTHING.build(network), made(), torch.randn(2, 3, 9, 9))
    assert made(num_classes=7, channels_in=1).eval()(torch.randn(1, 1, 9, 9)).shape == (1, 7)


def test_two_stages_that_continue_each_other_are_one_network_with_one_key():
    apart = SPACE.parse("c32_s2-ir_r1_k3_s2_e6_c24-ir_r2_k3_s1_e6_c24-c64")
    assert apart == SPACE.parse("c32_s2-ir_r3_k3_s2_e6_c24-c64")
    assert apart.key == "c32_s2-ir_r3_k3_s2_e6_c24-c64"


def test_a_gene_is_made_of_each_field_with_choices_and_of_no_other():
    genes = {gene.name: gene.choices for gene in EVERYTHING.genes}
    assert genes == {
        "stage2.r": (1, 2), "stage2.k": (3, 5), "stage2.c": (8, 12), "stage2.se": (0.0, 0.25),
        "stage3.r": (1, 2), "stage3.e": (2, 4), "stage4.r": (1, 2), "stage4.s": (1, 2),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("type", "stride", "outputs", "shortcut"),
    [
        ("ir", 1, 8, True),
        ("er", 1, 8, True),
        ("ds", 1, 8, True),
        ("cn", 1, 8, False),
        ("ir", 2, 8, False),
        ("ir", 1, 16, False),
    ],
)
def test_a_shortcut_adds_the_input_where_the_shape_stays(type, stride, outputs, shortcut):
    unit = Unit(type, 8, outputs, kernel=3, stride=stride, expansion=2, se=0.0, act="relu").eval()
    for parameter in unit.main[-1].parameters():
        torch.nn.init.zeros_(parameter)  # so that the last convolution says nothing
    x = torch.rand(1, 8, 4, 4)
    y = unit(x)
    torch.testing.assert_close(y, x if shortcut else torch.zeros_like(y))


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("xx_r1_k3_s1_c8", "must begin with one of cn, ds, ir, er, but begins with 'xx'"),
        ("ir_r1_k3_s1_c8", "must have the fields r, k, s, e, c, but e is missing"),
        ("ds_r1_k3_s1_e6_c8", "each of r, k, s, c, se at most once, but is 'e6'"),
        ("ds_r1_r2_k3_s1_c8", "at most once, but is 'r2'"),
        ("ds_r1_k_s1_c8", "must be a letter and numbers, such as k3 or k3/5/7.*but is 'k'"),
        ("ds_r1_k3/4_s1_c8", r"field k: must be different odd whole numbers in 1 … 11, but is 3/4"),
        ("ds_r1_k3_s3_c8", r"field s: must be different whole numbers in 1 … 2, but is 3"),
        ("ds_r1/1_k3_s1_c8", r"field r: must be different whole numbers in 1 … 32, but is 1/1"),
        ("ds_r1_k3_s1_c8.5", r"field c: must be different whole numbers in 1 … 8192, but is 8.5"),
        ("ds_r1_k3_s1_c8_se0.12345/0.12346", "field se: must be different numbers in 0 … 1"),
        ("cn_r1_k3_s1_c8_se0.5", "each of r, k, s, c at most once, but is 'se0.5'"),
        ("ds_r1_k3_s1_c8", "at least one field must have choices"),
    ],
)
def test_a_stage_that_is_not_well_written_is_refused_in_words(stage, message):
    with pytest.raises(SpaceError, match=message):
        Stages(stages=(stage,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c32-c64", "position 3: expected '_s', but found '-c64'"),
        ("c32_s2-ir_r1/2_k3_s2_e6_c24-c64", "position 7: expected a stage without choices"),
        ("c32_s2-ir_r1_k3_s2_e6_c24", "position 25: expected '-', but the text ends"),
        ("c32_s2-c64x", "position 10: expected the end, but found 'x'"),
    ],
)
def test_an_error_in_a_text_says_where_it_is_and_what_was_expected(text, message):
    with pytest.raises(SpaceError, match=message):
        SPACE.parse(text)


def test_what_the_stages_cannot_express_is_refused_with_what_they_can():
    with pytest.raises(SpaceError, match=r"must be a choice of c32_s2-ds_r1_k3_s1_c16/24-.*-c1280, but is c8_s1-"):
        SPACE.encode(EVERYTHING.decode((0,) * len(EVERYTHING.genes)))


def test_a_recipe_gives_the_stages_as_a_list():
    text = "space: {use: stages, stages: [ds_r1_k3_s1_c16, ir_r1/2_k3/5_s2_e3/6_c24/32], resolution: 32}\n"
    space = parse_recipe(text, source="mine.yaml").build_space()
    assert [gene.name for gene in space.genes] == ["stage2.r", "stage2.k", "stage2.e", "stage2.c"]


def test_stages_must_be_a_list_of_text_within_bounds():
    with pytest.raises(SpaceError, match=r"Stages, stages: must be a list, .* but is 'ds'. Did you mean \['ds'\]"):
        Stages(stages="ds")
    with pytest.raises(SpaceError, match=r"stages: must be a list, .* of a length of at least 1, .* but is \(\)"):
        Stages(stages=())


def test_spaces_and_architectures_can_be_pickled_and_equal_their_copies():
    architecture = SPACE.parse(MOBILENET_V2)
    assert pickle.loads(pickle.dumps((SPACE, architecture))) == (SPACE, architecture)


SIDES = Stages(resolutions=(24, 16), stages=("ds_r1_k3_s1_c8/16",), stem=8, last=16, num_classes=5)


def test_a_resolution_among_several_is_a_gene_and_part_of_the_text():
    assert [(gene.name, gene.choices) for gene in SIDES.genes] == [("resolution", (16, 24)), ("stage1.c", (8, 16))]
    network = SIDES.decode((0, 1))
    assert network.key == "16px-c8_s2-ds_r1_k3_s1_c16-c16"
    assert SIDES.parse(network.key) == network and SIDES.encode(network) == (0, 1)
    assert SIDES.parse("c8_s2-ds_r1_k3_s1_c16-c16").key == "24px-c8_s2-ds_r1_k3_s1_c16-c16"
    with pytest.raises(SpaceError, match="gene resolution: must be one of 16, 24, but is 20"):
        SIDES.encode(SIDES.parse("20px-c8_s2-ds_r1_k3_s1_c16-c16"))
    with pytest.raises(SpaceError, match="begin with a resolution only where the option resolutions has several"):
        SPACE.parse(network.key)
    with pytest.raises(SpaceError, match="resolutions: must be different, but are 16, 16"):
        Stages(resolutions=(16, 16))


def test_one_resolution_alone_is_no_gene():
    space = Stages(resolutions=(96,))
    assert space.genes == SPACE.genes and space.input_shape == (3, 96, 96)


@pytest.mark.parametrize(("index", "side"), [(0, 16), (1, 24)])
@pytest.mark.parametrize("around", [lambda space: space, lambda space: narrowed(space, fix={"stage1.c": 8})])
def test_costs_are_those_at_the_resolution_of_the_network(index, side, around):
    space = around(SIDES)
    alike = Stages(resolution=side, stages=SIDES.stages, stem=8, last=16, num_classes=5)
    network, same = space.decode((index, 0)), alike.decode((0,))
    assert space.input_shape == (3, 24, 24) and input_shape_of(space, network) == (3, side, side)
    limits = Limits(memory=Range(maximum=1), int8_memory=Range(maximum=1), int8_size=Range(maximum=1))
    cost = CostCounter(space, limits).cost(network)
    assert cost == CostCounter(alike, limits).cost(same) == CostCounter(space, limits).whole(network)
    assert PeakMemory(space).whole(network) == cost.memory


def test_a_space_of_several_resolutions_keeps_its_contract():
    check_search_space(SIDES, samples=2)


def test_a_score_looks_at_images_of_the_networks_own_resolution():
    seen = []

    def proxy(model, probe):
        seen.append(probe.input_shape)
        return Score(0.0)

    for index in (0, 1):
        network = SIDES.decode((index, 0))
        score_candidate(Task(SIDES, proxy, (index, 0), network.key, CostCounter(SIDES).cost(network), 0))
    assert seen == [(3, 16, 16), (3, 24, 24)]
