"""The spaces of TransNAS-Bench-101 against its published tables, and against its definition."""

from __future__ import annotations

import csv
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from search_spaces.transnas_heads import Tiles
from search_spaces.transnas_macro import TransNasMacro
from search_spaces.transnas_micro import EDGES, MODULES, TransNasMicro
from search_spaces.transnas_network import Shift
from search_spaces.transnas_tasks import TABLE_OUTPUTS, TASKS
from tests.support.generated_source import assert_same_network, load_network
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.cost.peak_memory import PeakMemory
from vkdnw_search.errors import SpaceError
from vkdnw_search.testing import check_search_space

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_table = pytest.mark.skipif(not DATA.is_dir(), reason="the published tables are not beside the repository")
SPACES: dict[str, Any] = {"micro": TransNasMicro, "macro": TransNasMacro}
TEXTS = {"micro": "8-41414-1_02_333", "macro": "8-1242-basic"}

cells = st.tuples(*[st.integers(0, 3)] * 6)
modules = st.tuples(st.integers(0, 2), *[st.integers(0, 3)] * 6)


def rows(kind: str) -> list[dict[str, str]]:
    with (DATA / f"transnas_{kind}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def geometry(digits: str) -> list[tuple[int, int, int, int]]:
    """(inputs, outputs, stride, resolution) of each unit behind a stem of 64 channels, for images of 256 pixels."""
    units, width, side = [], 64, 64
    for digit in digits:
        outputs, stride = width * (2 if digit in "24" else 1), 2 if digit in "34" else 1
        units += [(width, outputs, stride, side), (outputs, outputs, 1, side // stride)]
        width, side = outputs, side // stride
    return units


def weights(choice: int, inputs: int, outputs: int, stride: int) -> int:
    """Weights of an operation, by hand; each but an identity has a batch norm of two for each channel."""
    if choice == 0 or (choice == 1 and stride == 1 and inputs == outputs):
        return 0
    return (9 if choice == 3 else 1) * inputs * outputs + 2 * outputs


def frame(width: int) -> int:
    return 27 * 32 + 2 * 32 + 9 * 32 * 64 + 2 * 64 + (width + 1) * TABLE_OUTPUTS


def edge_weights(choice: int, source: int) -> int:
    return sum(
        weights(choice, i, o, s) if source == 1 else weights(choice, o, o, 1) for i, o, s, _ in geometry(MODULES)
    )


@needs_table
def test_parameters_of_cells_are_the_published_ones_less_those_of_dead_edges():
    space = TransNasMicro(num_classes=TABLE_OUTPUTS)
    counter, whole = CostCounter(space), 0
    for row in rows("micro"):
        digits = [int(digit) for digit in row["arch_str"].split("-")[2].replace("_", "")]
        architecture = space.parse(row["arch_str"])
        published, ours = ([edge_weights(c, s) for c, (s, _) in zip(d, EDGES, strict=True)]
                           for d in (digits, architecture.operations))  # fmt: skip
        assert frame(512) + sum(published) == round(1e6 * float(row["params_m"])), row["arch_str"]
        assert counter.cost(architecture).parameters == frame(512) + sum(ours), row["arch_str"]
        whole += tuple(digits) == architecture.operations
    assert whole > 200, "networks without dead edges have all of the published parameters"


@needs_table
def test_parameters_of_whole_networks_are_the_published_ones():
    space = TransNasMacro(num_classes=TABLE_OUTPUTS)
    counter = CostCounter(space)
    of_scenes = [row for row in rows("macro") if row["class_scene_mflops"]]  # the others were counted with decoders
    assert len(of_scenes) == 445
    for row in of_scenes:
        assert counter.cost(space.parse(row["arch_str"])).parameters == round(1e6 * float(row["params_m"]))


def elementwise(model: nn.Module) -> int:
    """What the benchmark counts besides multiply-adds: two for each number that a batch norm gives, one for each that
    a ReLU gives, and for each pooled channel (H + 1) (W + 1)."""
    counted = 0

    def hook(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal counted
        counted += output.numel() * (2 if isinstance(module, nn.BatchNorm2d) else 1)

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.ReLU):
            module.register_forward_hook(hook)
    _, channels, height, width = model.encoder(torch.empty(1, 3, 256, 256, device="meta")).shape
    return counted + channels * (height + 1) * (width + 1)


@needs_table
@pytest.mark.parametrize("kind", SPACES)
def test_flops_are_the_published_ones_for_images_of_256_pixels(kind):
    space = SPACES[kind](num_classes=TABLE_OUTPUTS)
    counter, seen = CostCounter(space), 0
    for row in rows(kind)[:: 60 if kind == "macro" else 30]:
        architecture = space.parse(row["arch_str"])
        if not row["class_scene_mflops"] or (kind == "micro" and architecture.key != row["arch_str"]):
            continue  # the benchmark counts dead edges
        with torch.device("meta"):
            model = space.build(architecture).eval()
        flops = counter.cost(architecture).macs + elementwise(model)
        assert flops == round(1e6 * float(row["class_scene_mflops"])), row["arch_str"]
        seen += 1
    assert seen >= 5


@pytest.mark.parametrize(
    ("kind", "text", "parameters"),
    [("micro", "64-41414-1_33_223", 23_237_983), ("macro", "64-1242-basic", 11_218_783)],
)
def test_a_row_of_the_published_tables_is_met_without_them(kind, text, parameters):
    space = SPACES[kind](num_classes=TABLE_OUTPUTS)
    assert CostCounter(space).cost(space.parse(text)).parameters == parameters


def test_the_whole_networks_are_as_many_as_published():
    space = TransNasMacro()
    keys = {space.decode(genome).key for genome in product(*(range(len(gene.choices)) for gene in space.genes))}
    texts = ["".join(digits) for depth in (4, 5, 6) for digits in product("1234", repeat=depth)]
    allowed = {
        f"64-{text}-basic"
        for text in texts
        if 1 <= sum(d in "24" for d in text) <= 3 and 1 <= sum(d in "34" for d in text) <= 4
    }
    assert keys == allowed and len(keys) == 3256


def test_exactly_the_edges_on_a_path_from_input_to_output_are_alive():
    space = TransNasMicro()
    paths = [((1, 4),), ((1, 2), (2, 4)), ((1, 3), (3, 4)), ((1, 2), (2, 3), (3, 4))]
    found = set()
    for genome in product(range(4), repeat=6):
        chosen = dict(zip(EDGES, genome, strict=True))
        alive = {edge for path in paths if all(chosen[e] for e in path) for edge in path}
        assert space.decode(genome).operations == tuple(c if e in alive else 0 for e, c in chosen.items())
        found.add(space.decode(genome).key)
    assert len(found) == 2128


@given(cells)
def test_a_cell_survives_its_genome_and_its_text(genome):
    space = TransNasMicro()
    architecture = space.decode(genome)
    assert space.decode(space.encode(architecture)) == architecture == space.parse(architecture.key)
    text = "".join(map(str, genome))
    assert space.parse(f"64-41414-{text[0]}_{text[1:3]}_{text[3:]}") == architecture


@given(modules)
def test_a_whole_network_survives_its_genome_and_its_text(genome):
    space = TransNasMacro()
    architecture = space.decode(genome)
    assert space.decode(space.encode(architecture)) == architecture == space.parse(architecture.key)


@pytest.mark.parametrize(("channels_in", "sides"), [(3, (64, 64)), (2, (64, 128))], ids=["square", "oblong"])
@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("task", TASKS)
def test_the_parts_and_the_source_are_the_network_of_every_task(kind, task, channels_in, sides):
    space = SPACES[kind](task=task, channels=8, channels_in=channels_in, resolution=sides)
    architecture = space.parse(TEXTS[kind])
    counter, model = CostCounter(space), space.build(architecture)
    assert counter.cost(architecture) == counter.whole(architecture)
    assert PeakMemory(space)(architecture) == PeakMemory(space).whole(architecture)
    network, images = load_network(space.source(architecture)), torch.randn(2, channels_in, *sides)
    assert_same_network(model, network(), images)
    outputs = network(num_classes=5)(images)
    assert outputs.shape == ((2, 5, *sides) if space.is_dense else (2, 5))
    assert len(model.stages()) == 1 + 2 * len(architecture.key.split("-")[1])


def test_the_tasks_have_the_published_outputs_unless_others_are_asked_for():
    outputs = {task: (TransNasMicro(task=task).num_classes, TransNasMicro(task=task).likelihood) for task in TASKS}
    assert outputs == {
        "class_scene": (47, "categorical"), "class_object": (75, "categorical"), "jigsaw": (1000, "categorical"),
        "room_layout": (9, "gaussian"), "autoencoder": (3, "gaussian"), "normal": (3, "gaussian"),
        "segmentsemantic": (17, "categorical"),
    }  # fmt: skip
    assert TransNasMacro(task="normal", num_classes=1).num_classes == 1


def test_a_decoder_has_the_channels_of_the_published_one():
    space = TransNasMacro(task="segmentsemantic", resolution=64)
    head = space.build(space.parse("64-1344-basic")).head
    convolutions = [module for module in head if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    assert [c.out_channels for c in convolutions] == [1024, 512, 256, 128, 64, 32, 32, 17]
    assert [isinstance(c, nn.ConvTranspose2d) for c in convolutions] == [False] * 2 + [True] * 5 + [False]


def test_tiles_are_cut_line_by_line():
    images = torch.arange(2 * 3 * 7 * 11).view(2, 3, 7, 11)
    tiles = Tiles()(images)
    expected = [
        images[n, :, 2 * y : 2 * y + 2, 3 * x : 3 * x + 3] for n in range(2) for y in range(3) for x in range(3)
    ]
    assert torch.equal(tiles, torch.stack(expected))


def test_an_encoder_sees_each_tile_of_a_jigsaw_by_itself():
    space = TransNasMacro(task="jigsaw", channels=4, resolution=96, num_classes=7)
    model = space.build(space.parse("4-1242-basic")).eval()
    image = torch.randn(1, 3, 96, 96)
    tiles = [image[:, :, 32 * y : 32 * y + 32, 32 * x : 32 * x + 32] for y in range(3) for x in range(3)]
    with torch.no_grad():
        features = torch.cat([model.encoder(tile).mean(dim=(2, 3)) for tile in tiles], dim=1)
        torch.testing.assert_close(model(image), model.head.linear(features))


def test_a_skip_that_changes_the_shape_sees_the_image_and_the_image_moved_by_a_pixel():
    shift = Shift(1, 2, stride=2)
    with torch.no_grad():
        shift.still.weight.fill_(1)
        shift.moved.weight.fill_(1)
    image = torch.arange(1.0, 17).view(1, 1, 4, 4)
    still, moved = shift.eval()(image)[0]
    scale = (1 + shift.norm.eps) ** 0.5
    torch.testing.assert_close(still * scale, image[0, 0, ::2, ::2])
    torch.testing.assert_close(moved * scale, image[0, 0, 1::2, 1::2])


def test_a_cell_without_a_path_gives_zeros_of_the_right_shape():
    space = TransNasMicro(channels=4, resolution=32)
    cell = space.build(space.parse("4-41414-0_00_000")).encoder[1]
    outputs = cell(torch.randn(2, 4, 7, 7))
    assert outputs.shape == (2, 8, 4, 4) and not outputs.any()


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("micro", "32-41414-1_00_210", "position 0: expected the channels of the stem to be 64, but found '32-41414"),
        ("micro", "64-4141-1_00_210", "position 2: expected '-41414-'"),
        ("micro", "64-41414-1_0_210", "position 12: expected 0, 1, 2 or 3 for the edge 2>3, but found '_210'"),
        ("micro", "64-41414-1_00_2104", "position 17: expected the end, but found '4'"),
        ("macro", "64-1252-basic", "position 5: expected '-basic', but found '52-basic'"),
        ("macro", "64-111-basic", "must have 4 to 6 modules, .* but 111 has 3, 0 and 0"),
        ("macro", "64-4444-basic", "1 to 3 double the channels .* but 4444 has 4, 4 and 4"),
    ],
)
def test_an_error_in_a_text_says_where_it_is_and_what_was_expected(kind, text, message):
    with pytest.raises(SpaceError, match=message):
        SPACES[kind]().parse(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "normal", "resolution": 96}, "TransNasMicro, task normal: resolution must be a multiple of 64"),
        ({"task": "normal", "resolution": (64, 96)}, "a multiple of 64, but is .64, 96."),
        ({"task": "jigsaw", "num_classes": 1}, "num_classes must be at least 2, or 0 for the benchmark's, but is 1"),
        ({"resolution": 8}, "resolution: must be a whole number from 16 to 1024"),
        ({"task": "segment"}, "task: must be .*segmentsemantic"),
        ({"channels": 5}, "channels: must be a whole number from 4 to 256, a multiple of 2, but is 5"),
    ],
)
def test_an_option_that_does_not_fit_is_refused_in_words(options, message):
    with pytest.raises(SpaceError, match=message):
        TransNasMicro(**options)


@pytest.mark.parametrize(
    ("kind", "task"), [("micro", "class_scene"), ("micro", "segmentsemantic"), ("macro", "jigsaw"), ("macro", "normal")]
)
def test_the_spaces_keep_their_contract(kind, task):
    check_search_space(SPACES[kind](task=task, channels=4, resolution=64), samples=4)


def test_the_named_networks_are_residual():
    micro, macro = TransNasMicro(channels=4), TransNasMacro(channels=4)
    counts = [
        sum(isinstance(m, nn.Conv2d) for m in space.build(space.parse(text)).modules())
        for space in (micro, macro)
        for text in space.references.values()
    ]
    assert counts == [2 + 10 * 2 + 2 * 3, 2 + 8 * 2 + 3], "two of the stem, two of each unit, and changing shortcuts"
    assert prod(macro.build(macro.parse("4-1444-basic")).encoder(torch.zeros(1, 3, 64, 64)).shape[1:]) == 32 * 2 * 2
