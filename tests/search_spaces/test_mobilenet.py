import contextlib
import math
import pickle
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from search_spaces import mobilenet_network as network
from search_spaces.mobilenet import MobileNet
from search_spaces.mobilenet_mutation import PUBLISHED_TYPES, mutated, near_widths
from search_spaces.mobilenet_structure import TYPES, Structure, SuperBlock
from tests.support.generated_source import assert_same_network, load_network
from tests.support.golden import MOBILENETS
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.errors import SpaceError

SPACE = MobileNet()
AS_PUBLISHED = MobileNet(least_width=0, least_waist=0, least_stem=8)
SMALL = MobileNet(resolution=33, num_classes=5, last_width=16, max_width=64)
COUNTER = CostCounter(SPACE)
STEM, LAST = "SuperConvK3BNRELU(3,32,2,1)", "SuperConvK1BNRELU(40,2048,1,1)"

golden = pytest.mark.parametrize("entry", MOBILENETS, ids=lambda entry: entry["name"])


def genomes(space, *, max_depth=5):
    """Genomes of ``space``; small ``max_depth`` for networks that are built."""
    most = [
        min(max_depth - gene.choices[0], len(gene.choices) - 1) if "depth" in gene.name else len(gene.choices) - 1
        for gene in space.genes
    ]
    return st.tuples(*[st.integers(0, last) for last in most])


def block_lines(key):
    """(expansion, kernel, in, out, stride, btn, depth) of every super-block of a text, read by a pattern."""
    pattern = r"SuperResIDWE(\d)K(\d)\((\d+),(\d+),(\d),(\d+),(\d+)\)"
    return [tuple(map(int, groups)) for groups in re.findall(pattern, key)]


def round8(width):
    return max(8, round(width / 8) * 8)


def by_arithmetic(key, resolution, num_classes):
    """(multiply-adds, fvcore's FLOPs, parameters) of a structure, from the definition of the space alone."""
    stem, last = (int(re.search(rf"SuperConvK{k}BNRELU\(\d+,(\d+)", key)[1]) for k in (3, 1))
    r = math.ceil(resolution / 2)
    macs, normed, parameters = 27 * stem * r * r, stem * r * r, 27 * stem + 2 * stem
    width = stem
    for expansion, kernel, _, out, stride, btn, depth in block_lines(key):
        for unit in range(2 * depth):
            target, step = (btn, stride if unit == 0 else 1) if unit % 2 == 0 else (out, 1)
            w, after = round8(target * expansion), math.ceil(r / step)
            macs += width * w * r * r + w * kernel**2 * after**2 + w * target * after**2
            normed += w * r * r + w * after**2 + target * after**2
            parameters += width * w + w * kernel**2 + w * target + 2 * (w + w + target)
            if unit == 0 or width != target:
                macs += width * target * after**2
                normed += target * after**2
                parameters += width * target + target + 2 * target
            width, r = target, after
    macs += width * last * r * r + last * num_classes
    normed += last * r * r
    parameters += width * last + 2 * last + last * num_classes + num_classes
    return macs, macs + 2 * normed + last * r * r, parameters


@golden
def test_a_published_structure_is_printed_as_it_was_written(entry):
    structure = SPACE.parse(entry["structure"])
    assert structure.key == entry["structure"]
    assert AS_PUBLISHED.decode(AS_PUBLISHED.encode(structure)) == structure


@golden
def test_a_published_structure_costs_what_formulas_say(entry):
    cost = COUNTER.cost(SPACE.parse(entry["structure"]))
    assert round(cost.macs / 1e6, 1) == entry["macs_millions"]
    assert round(cost.flops / 1e6, 1) == entry["flops_millions"]
    assert round(cost.parameters / 1e6, 2) == entry["parameters_millions"]
    assert cost.tensors == entry["tensors"]
    assert cost.layers == entry["layers"]


@pytest.mark.slow  # importing what this counter needs takes seconds
def test_the_reference_has_mobilenetv2s_widths_and_strides_and_the_genes_can_express_it():
    """Of table 2 of arXiv 1801.04381: 24, 32, 64, 96, 160 and 320 channels after strides of 2, 2, 2, 1, 2 and 1."""
    (name, text), *others = SPACE.references.items()
    structure = SPACE.parse(text)
    assert (name, others) == ("mobilenetv2_like", []) and SPACE.decode(SPACE.encode(structure)) == structure
    assert [b.out for b in structure.blocks] == [24, 32, 64, 96, 160, 320] and structure.stem == 32
    assert [b.stride for b in structure.blocks] == [2, 2, 2, 1, 2, 1]
    assert [b.depth for b in structure.blocks] == [math.ceil(units / 2) for units in (2, 3, 4, 3, 3, 1)]


def test_another_counter_finds_twice_the_multiply_adds():
    structure = SPACE.parse(MOBILENETS[-1]["structure"])
    model = SPACE.build(structure).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *SPACE.input_shape))
    assert counter.get_total_flops() == 2 * COUNTER.cost(structure).macs


@settings(max_examples=50, deadline=None)
@given(genomes(SPACE))
def test_costs_follow_from_the_text_by_arithmetic(genome):
    structure = SPACE.decode(genome)
    cost = COUNTER.cost(structure)
    assert (cost.macs, cost.flops, cost.parameters) == by_arithmetic(structure.key, 224, 1000)
    assert cost.layers == 2 + sum(line[-1] for line in block_lines(structure.key))


@given(genomes(SPACE))
def test_a_network_survives_its_genome_and_its_text(genome):
    structure = SPACE.decode(genome)
    assert SPACE.parse(structure.key) == structure
    assert SPACE.decode(SPACE.encode(structure)) == structure


@given(genomes(SPACE), st.integers(1, 4), st.integers(0, 11), st.integers(0, 7), st.integers(0, 7))
def test_the_genes_of_an_absent_block_do_not_matter(genome, stage, kind, out, btn):
    names = [gene.name for gene in SPACE.genes]
    absent, other = list(genome), list(genome)
    absent[names.index(f"stage{stage}.block2.depth")] = other[names.index(f"stage{stage}.block2.depth")] = 0
    for part, value in (("type", kind), ("out", out), ("btn", btn)):
        other[names.index(f"stage{stage}.block2.{part}")] = value
    assert SPACE.decode(tuple(absent)).key == SPACE.decode(tuple(other)).key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "position 0: expected 'SuperConvK3BNRELU(3,', but the text ends"),
        (STEM, "position 27: expected SuperResIDWE…K… or SuperConvK1BNRELU, but the text ends"),
        (STEM + "SuperResIDWE3K3(32,40,2,24,1)", "position 27: expected SuperResIDWE{1,2,4,6}K{3,5,7} or"),
        (STEM + "SuperResIDWE1K3(24,40,2,24,1)", "position 43: expected the input channels of SuperResIDWE1K3, which"),
        (STEM + "SuperResIDWE1K3(32,40,3,24,1)", "position 49: expected the stride of SuperResIDWE1K3 to be 1 or 2"),
        (STEM + "SuperResIDWE1K3(32,40,2,24)", "position 53: expected ',', but found ')'"),
        (STEM + "SuperResIDWE1K3(32,40,2,24,0)", "position 54: expected the depth of SuperResIDWE1K3 to be at least 1"),
        (STEM + "SuperResIDWE1K3(32,٤٠,2,24,1)", "position 46: expected the output channels of SuperResIDWE1K3"),
        (STEM + "SuperResIDWE1K3(32,123456,2,24,1)", "position 46: expected the output channels of SuperResIDWE1K3"),
        (STEM + "SuperResIDWE1K3(32,40,2,24,1)" + LAST + "x", "position 86: expected the end, but found 'x'"),
    ],
)
def test_an_error_in_a_text_says_where_it_is_and_what_was_expected(text, message):
    with pytest.raises(SpaceError, match=re.escape(message)):
        SPACE.parse(text)


def test_a_misspelt_block_is_told_the_nearest_name():
    with pytest.raises(SpaceError, match="Did you mean 'SuperResIDWE1K3'"):
        SPACE.parse(STEM + "SuperResIDW1K3(32,40,2,24,1)")


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (Structure(32, (SuperBlock(1, 3, 40, 2, 24, 1),), 2048), "must have 4 stages"),
        (Structure(32, (SuperBlock(1, 3, 40, 1, 24, 1),), 2048), "first super-block must have stride 2"),
        (Structure(32, (SuperBlock(1, 3, 40, 2, 24, 1),) * 4, 1024), "last_width: is 2048, but the network has 1024"),
        (Structure(33, (SuperBlock(1, 3, 40, 2, 24, 1),) * 4, 2048), "gene stem.out: must be one of 16, 24, 32, 40"),
        (
            Structure(32, (SuperBlock(1, 3, 4, 2, 24, 1),) * 4, 2048),
            "stage1.block1.out: must be one of 8, 16, 24 … 128",
        ),
        (Structure(32, (SuperBlock(1, 3, 40, 2, 40, 6),) * 4, 2048), "stage1.block1.depth: must be one of 1, 2, 3, 4"),
        (Structure(8, (SuperBlock(1, 3, 40, 2, 24, 1),) * 4, 2048), "least_stem: the stem must have 16 channels"),
    ],
)
def test_what_the_genes_cannot_express_is_said_when_encoding(structure, message):
    with pytest.raises(SpaceError, match=message):
        SPACE.encode(structure)


@pytest.mark.parametrize("genome", [(0,) * 48, (-1,) + (0,) * 48, (8,) + (0,) * 48])
def test_a_genome_of_another_length_or_beyond_the_choices_is_refused(genome):
    with pytest.raises(SpaceError, match=r"must have 49 indices|gene stem.out: must be in 0 … 6"):
        SPACE.decode(genome)


@settings(max_examples=6, deadline=None)
@given(st.sampled_from(TYPES), st.sampled_from([(8, 16), (16, 8), (24, 16)]), st.integers(1, 3), st.integers(1, 3))
def test_a_block_that_continues_the_one_before_is_the_same_network_as_one_deeper_block(kind, widths, first, second):
    out, btn = widths
    rows = ((*kind, out, 2, btn, first), (*kind, out, 1, btn, second))
    structure = Structure(8, tuple(SuperBlock(*row) for row in rows), 16)
    assert [block.depth for block in structure.blocks] == [first + second]
    apart = network.SuperBlockNetwork(stem=8, blocks=rows, last=16, num_classes=5).eval()
    merged = SMALL.build(structure).eval()
    merged.load_state_dict(dict(zip(merged.state_dict(), apart.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 33, 33)
    with torch.no_grad():
        assert torch.equal(merged(x), apart(x))


def test_a_block_without_bottleneck_is_another_network_when_split():
    half = SuperBlock(1, 3, 16, 2, 16, 1)
    whole = Structure(8, (SuperBlock(1, 3, 16, 2, 16, 2),), 16)
    split = Structure(8, (half, SuperBlock(1, 3, 16, 1, 16, 1)), 16)
    sizes = [sum(p.numel() for p in SMALL.build(structure).parameters()) for structure in (whole, split)]
    assert whole.key != split.key
    assert sizes[0] < sizes[1]  # a super-block begins with a projection


def test_a_deep_block_is_encoded_in_several_slots():
    structure = Structure(16, tuple(SuperBlock(1, 3, 40, 2, 24, depth) for depth in (12, 1, 6, 1)), 2048)
    genome = SPACE.encode(structure)
    depths = [SPACE.genes[i].choices[index] for i, index in enumerate(genome) if "depth" in SPACE.genes[i].name]
    assert depths == [5, 5, 2, 1, 0, 0, 5, 1, 0, 1, 0, 0]
    assert SPACE.decode(genome) == structure


@settings(max_examples=6, deadline=None)
@given(genomes(SMALL, max_depth=2))
def test_the_source_is_the_same_network(genome):
    structure = SMALL.decode(genome)
    ours = SMALL.build(structure)
    assert_same_network(ours, load_network(SMALL.source(structure))(), torch.randn(2, *SMALL.input_shape))


def test_the_source_takes_any_number_of_classes():
    structure = SMALL.decode((0,) * len(SMALL.genes))
    assert load_network(SMALL.source(structure))(num_classes=7)(torch.randn(1, 3, 40, 24)).shape == (1, 7)


def test_every_batch_norm_has_the_published_epsilon():
    norms = [m for m in SPACE.build(SPACE.parse(MOBILENETS[0]["structure"])).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.eps for m in norms} == {1e-3}


def test_the_stages_of_a_network_are_its_stem_units_and_last_convolution():
    structure = SPACE.parse(MOBILENETS[-1]["structure"])
    names = [type(m).__name__ for m in SPACE.build(structure).stages()]
    assert names == ["ConvBN", *["Unit"] * 2 * (SPACE.layers(structure) - 2), "ConvBN"]


@pytest.mark.parametrize(
    ("width", "published"),
    [(8, [8, 16]), (32, [16, 24, 32, 40, 48, 64, 80]), (96, [40, 48, 64, 80, 96, 120, 144, 192, 240])],
)
def test_channels_mutate_to_the_published_list_up_to_the_cap(width, published):
    assert list(near_widths(width, 4096)) == published
    assert list(near_widths(width, 64)) == sorted({min(64, w) for w in published})


def mutations(stages, *, count, seed=0, **options):
    settings = {"caps": (64, 4096, 4096, 4096, 4096), "replacements": 1, "types": TYPES, "slots": 3, "max_depth": 5}
    rng = np.random.default_rng(seed)
    return [mutated(8, stages, rng=rng, **(settings | options)) for _ in range(count)]


def near(count, of, share):
    """Whether a count of independent draws is within five standard deviations of what ``share`` gives."""
    return abs(count - of * share) < 5 * math.sqrt(of * share * (1 - share))


START = [[SuperBlock(6, 3, out, 2, btn, 1)] for out, btn in ((32, 8), (48, 32), (96, 48), (128, 96))]


def test_every_place_is_drawn_alike_and_the_last_convolution_never_changes():
    changed = Counter()
    for stem, stages in mutations(START, count=3000):
        differing = [i for i, (new, old) in enumerate(zip(stages, START, strict=True)) if new != old]
        assert len(differing) + (stem != 8) <= 1
        changed[differing[0] if differing else "stem" if stem != 8 else "none"] += 1
    assert near(changed["stem"], 3000, 1 / 6 * 1 / 2)  # the stem may become 8 or 16
    variants = {"out": 7, "btn": 2, "depth": 3, "type": 12}  # of the first block: 32 → 7, 8 → 2 choices, depth 1 … 3
    assert near(changed[0], 3000, 1 / 6 * (1 - 1 / math.prod(variants.values())))


@pytest.mark.parametrize(("types", "shares"), [(TYPES, [1 / 12] * 12), (PUBLISHED_TYPES, None)], ids=["uniform", "pub"])
def test_types_are_drawn_alike_or_as_published(types, shares):
    shares = shares or [weight / 89 for weight in (12, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)]
    block = SuperBlock(6, 3, 4000, 2, 4000, 3)
    drawn = Counter()
    for _, [[new]] in mutations([[block]], count=6000, types=types):
        if new != block:
            drawn[new.expansion, new.kernel] += 1
    order = [(e, k) for k in (3, 5, 7) for e in (1, 2, 4, 6)]
    total = sum(drawn.values())
    assert all(abs(drawn[kind] / total - share) < 0.02 for kind, share in zip(order, shares, strict=True))


def test_depth_changes_by_up_to_two_each_alike_and_never_below_one():
    block = SuperBlock(6, 3, 400, 2, 300, 2)
    depths = Counter(stages[0][0].depth for _, stages in mutations([[block]], count=3000))
    assert set(depths) == {1, 2, 3, 4}
    assert all(near(depths[depth], 3000, 1 / 3 * 1 / 4) for depth in (1, 3, 4))  # of three places one is the block


def test_a_block_of_depth_six_or_seven_becomes_three_and_the_rest_where_a_slot_is_free():
    block = SuperBlock(6, 3, 400, 2, 300, 5)
    results = [stages[0] for _, stages in mutations([[block]], count=500, replacements=3)]
    split = [stage for stage in results if len(stage) == 2]
    assert {tuple(b.depth for b in stage) for stage in split} == {(3, 3), (3, 4)}
    for first, second in split:
        assert (first.stride, second.stride) == (2, 1)
        assert replace(second, stride=2, depth=3) == first
    assert {tuple(b.depth for b in stage) for stage in results if len(stage) == 1} == {(3,), (4,), (5,)}


def test_without_a_free_slot_a_deep_block_is_cut():
    block = SuperBlock(6, 3, 400, 2, 300, 5)
    results = [stages[0] for _, stages in mutations([[block]], count=200, replacements=3, slots=1)]
    assert {tuple(b.depth for b in stage) for stage in results} == {(3,), (4,), (5,)}


@settings(max_examples=60)
@given(genomes(SPACE), st.integers(0, 2**32), st.integers(1, 4))
def test_a_mutation_gives_another_network_that_is_a_function_of_genome_and_generator(genome, seed, replacements):
    space = MobileNet(replacements=replacements)
    child = space.mutate(genome, np.random.default_rng(seed))
    assert space.decode(child) != space.decode(genome)
    assert child == space.mutate(genome, np.random.default_rng(seed))


@settings(max_examples=60)
@given(genomes(SPACE), st.integers(0, 2**32))
def test_one_replacement_changes_at_most_one_block_and_never_the_strides(genome, seed):
    space = MobileNet(replacements=1, least_width=0, least_waist=0)
    child = space.mutate(genome, np.random.default_rng(seed))
    before, after = (Counter(space.decode(g).blocks) for g in (genome, child))
    assert sum((before - after).values()) <= 3  # itself and, through merging, its neighbours
    assert sum(b.stride == 2 for b in space.decode(child).blocks) == 4


def narrow_places(structure, *, least_width, least_waist, least_bottleneck=0):
    """The blocks that are narrower than allowed."""
    inputs = [structure.stem, *(block.out for block in structure.blocks)]
    return [
        block
        for place, block in enumerate(structure.blocks)
        if block.out < least_width * max(inputs[: place + 1])
        or block.btn < max(least_waist * max(inputs[: place + 1]), least_bottleneck * block.out)
    ]


SHARES = [
    *[(0.7, 0.5, 0.0), (1.0, 1.0, 0.0), (0.5, 0.0, 0.0), (0.0, 0.6, 0.0)],
    *[(0.5, 0.0, 0.4), (0.0, 0.6, 1.0)],
]
"""Shares of least_width, least_waist and least_bottleneck."""


@settings(max_examples=100)
@given(genomes(SPACE), st.integers(0, 2**32), st.sampled_from(SHARES))
def test_no_network_of_the_space_is_narrower_than_its_options_allow(genome, seed, least):
    options = dict(zip(("least_width", "least_waist", "least_bottleneck"), least, strict=True))
    space = MobileNet(**options)
    child = space.mutate(genome, np.random.default_rng(seed))
    for structure in (space.decode(genome), space.decode(child)):
        assert narrow_places(structure, **options) == [] and structure.stem >= 16
        assert space.decode(space.encode(structure)) == structure


@settings(max_examples=100)
@given(genomes(SPACE), st.integers(0, 2**32))
def test_only_what_is_too_narrow_is_widened(genome, seed):
    free = MobileNet(least_width=0, least_waist=0)
    structure = free.decode(genome)
    widened = SPACE.decode(genome)
    assert (widened == structure) == (not narrow_places(structure, least_width=0.7, least_waist=0.5))
    with contextlib.suppress(SpaceError):
        SPACE.encode(structure)
        assert widened == structure


@golden
def test_published_winners_are_no_narrower_inside_than_two_fifths_of_their_blocks(entry):
    structure = SPACE.parse(entry["structure"])
    narrow = narrow_places(structure, least_width=0, least_waist=0, least_bottleneck=0.4)
    assert bool(narrow) == (entry["name"] == "initial"), "the start of the published searches has a block of 8 in 32"


def test_a_network_with_a_waist_cannot_be_expressed_and_the_message_says_how_it_could():
    structure = Structure(32, tuple(SuperBlock(6, 3, out, 2, out, 1) for out in (48, 16, 64, 128)), 2048)
    with pytest.raises(
        SpaceError, match=r"the block 16, 16 \(out, btn\) would have to be 40, 24: .* Set these options to 0"
    ):
        SPACE.encode(structure)
    assert MobileNet(least_width=0, least_waist=0).encode(structure)


@pytest.mark.parametrize("resolution", [8, 65, 224])
def test_any_resolution_gives_logits(resolution):
    space = MobileNet(resolution=resolution, num_classes=6, last_width=8)
    network = space.build(space.decode((0,) * len(space.genes)))
    assert network(torch.randn(2, *space.input_shape)).shape == (2, 6)


def test_spaces_and_architectures_can_be_pickled_and_equal_their_copies():
    SPACE.genes  # noqa: B018  # remembered in the instance, which must not disturb
    architecture = SPACE.parse(MOBILENETS[1]["structure"])
    assert pickle.loads(pickle.dumps((SPACE, architecture))) == (SPACE, architecture)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"resolution": 4}, "resolution: must be a whole number from 8 to 1024 or a list of 2 such, but is 4"),
        ({"max_width": 100}, "max_width: must be a whole number from 64 to 4096, a multiple of 8, but is 100"),
        (
            {"type_bias": "publishd"},
            "type_bias: must be one of 'uniform', 'published', but is 'publishd'. Did you mean",
        ),
    ],
)
def test_an_option_out_of_bounds_is_refused_in_words(option, message):
    with pytest.raises(SpaceError, match=f"MobileNet, {message}"):
        MobileNet(**option)
