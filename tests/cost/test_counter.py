from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from search_spaces.mobilenet import MobileNet
from search_spaces.nasbench201 import NasBench201
from tests.support.golden import MOBILENETS
from vkdnw_search.cost.counter import CostCounter, count
from vkdnw_search.cost.limits import Limits, Range
from vkdnw_search.errors import BudgetError
from vkdnw_search.records import Cost, Gene, Part

MOBILENET, NASBENCH201 = CostCounter(MobileNet()), CostCounter(NasBench201())
ODD = CostCounter(MobileNet(resolution=65, num_classes=7, last_width=72))
CELLS = [
    CostCounter(NasBench201(resolution=resolution, channels=channels, cells=cells, num_classes=3))
    for resolution, channels, cells in ((8, 4, 1), (32, 16, 2))
]
COST = Cost(flops=812_300_000, macs=800_000_000, parameters=5_000_000, layers=16, tensors=300, modules=200)


def small_network():
    """3 → 8 → 4 channels at 9 × 9, then 10 classes: every number below is computed by hand."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, bias=True),  # 9 → 4 px
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1, groups=4, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 10),
    )


def test_counts_are_those_computed_by_hand():
    macs = 3 * 9 * 8 * 16 + 2 * 4 * 16 + 4 * 10
    assert count(small_network(), (3, 9, 9)) == Cost(
        flops=macs + 2 * 8 * 16 + 4 * 16,
        macs=macs,
        parameters=(216 + 8) + 16 + 8 + (40 + 10),
        layers=3,
        tensors=2 + 2 + 1 + 2,
        modules=4,
    )


def test_flops_are_what_one_line_of_fvcore_says():
    from fvcore.nn import FlopCountAnalysis  # after vkdnw_search.cost.counter, which silences a warning of its import

    model = small_network().eval()
    assert count(model, (3, 9, 9)).flops == FlopCountAnalysis(model, torch.zeros(1, 3, 9, 9)).total()


def test_counting_leaves_the_model_and_the_random_numbers_as_they_were():
    model = small_network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    count(model, (3, 9, 9))
    space = NasBench201(resolution=4)
    for counter in (CostCounter(space), CostCounter(Toy())):  # by parts, and whole
        counter.cost(counter.space.decode((0, 1, 2, 3, 4, 0)))
    assert torch.equal(torch.rand(3), expected)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_frozen_parameters_do_not_count_and_shared_ones_count_once():
    first, second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
    second.weight = first.weight
    frozen = nn.Linear(6, 6).requires_grad_(False)
    cost = count(nn.Sequential(first, second, frozen), (6,))
    assert (cost.parameters, cost.tensors, cost.macs) == (36, 1, 3 * 36)


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(x) + x


def test_an_unknown_operator_is_an_error_that_says_how_to_declare_it_free():
    with pytest.raises(BudgetError, match=r"Sine: .* aten::add, aten::sin .*`free_operators`"):
        count(Sine(), (3,))
    assert count(Sine(), (3,), free_operators=["aten::add", "aten::sin"]).flops == 0


def test_a_network_that_refuses_its_input_is_an_error_that_names_the_shape():
    with pytest.raises(BudgetError, match=r"must accept an input of shape \(1, 4, 9, 9\)"):
        count(small_network(), (4, 9, 9))


@pytest.mark.parametrize("entry", MOBILENETS, ids=lambda entry: entry["name"])
def test_the_parts_of_a_published_mobilenet_add_up_to_fvcores_count_of_the_whole(entry):
    structure = MOBILENET.space.parse(entry["structure"])
    assert MOBILENET.cost(structure) == MOBILENET.whole(structure)


def shallow_genome(space, rng):
    return tuple(
        int(rng.integers(min(2, len(gene.choices)) if "depth" in gene.name else len(gene.choices)))
        for gene in space.genes
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_the_parts_of_random_mobilenets_of_odd_resolution_add_up_to_fvcores_count_of_the_whole(seed):
    structure = ODD.space.decode(shallow_genome(ODD.space, np.random.default_rng(seed)))
    assert ODD.cost(structure) == ODD.whole(structure)


@pytest.mark.slow
def test_the_parts_of_many_random_mobilenets_add_up_to_fvcores_count_of_the_whole():
    rng = np.random.default_rng(0)
    for _ in range(6):
        genome = tuple(int(rng.integers(len(gene.choices))) for gene in MOBILENET.space.genes)
        structure = MOBILENET.space.decode(genome)
        assert MOBILENET.cost(structure) == MOBILENET.whole(structure)


@settings(max_examples=5, deadline=None)
@given(st.tuples(*[st.integers(0, 4)] * 6), st.sampled_from(CELLS))
def test_the_parts_of_random_cells_add_up_to_fvcores_count_of_the_whole(genome, counter):
    architecture = counter.space.decode(genome)
    assert counter.cost(architecture) == counter.whole(architecture)


def test_the_layers_of_a_space_without_a_depth_of_its_own_are_its_modules_with_weights():
    space = NASBENCH201.space
    architecture = space.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|none~0|nor_conv_3x3~1|none~2|")
    model = space.build(architecture)
    by_count = count(model, space.input_shape, free_operators=space.free_operators).layers
    assert by_count == sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules())
    assert NASBENCH201.cost(architecture).layers == space.layers(architecture)


@dataclass(frozen=True)
class Widths:
    """An architecture of the toy spaces below: a convolution from ``inputs`` to ``outputs`` channels."""

    inputs: int
    outputs: int

    @property
    def key(self) -> str:
        return f"{self.inputs}-{self.outputs}"


class Toy:
    """A space of one convolution; it counts how often it builds."""

    name, input_shape, num_classes = "toy", (3, 6, 6), 2
    genes = (Gene("inputs", (3,)), Gene("outputs", (1, 5)))

    def __init__(self) -> None:
        self.built = 0

    def decode(self, genome):
        return Widths(3, (1, 5)[genome[1]])

    def build(self, architecture):
        self.built += 1
        return nn.Conv2d(architecture.inputs, architecture.outputs, 3)

    def source(self, architecture):
        return ""


class ToyOfParts(Toy):
    """The same, counted by one part that ``make`` makes."""

    def __init__(self, make) -> None:
        super().__init__()
        self.make = make

    def parts(self, architecture) -> Iterator[Part]:
        return iter([Part("part", (architecture.inputs, architecture.outputs), self.make)])


def test_a_space_without_parts_is_counted_whole_and_each_key_once():
    space = Toy()
    counter = CostCounter(space)
    costs = [counter.cost(space.decode(genome)) for genome in ((0, 0), (0, 1), (0, 0), (0, 1))]
    assert [cost.flops for cost in costs] == [27 * 16, 5 * 27 * 16] * 2
    assert costs[1].layers == 1
    assert space.built == 2


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60))
def test_a_part_is_counted_exactly_at_widths_that_were_never_measured(inputs, outputs):
    space = ToyOfParts(lambda i, o: (nn.Sequential(nn.Conv2d(i, o, 3), nn.BatchNorm2d(o)), (i, 6, 6)))
    counter = CostCounter(space)
    counter.cost(Widths(3, 5))
    assert counter.cost(Widths(inputs, outputs)) == Cost(
        flops=inputs * outputs * 9 * 16 + 2 * outputs * 16,
        macs=inputs * outputs * 9 * 16,
        parameters=inputs * outputs * 9 + 3 * outputs,
        layers=1,
        tensors=4,
        modules=2,
    )


def test_a_kind_of_part_is_measured_at_four_corners_and_once_to_be_sure():
    made = []

    def make(i, o):
        made.append((i, o))
        return nn.Conv2d(i, o, 1), (i, 2, 2)

    counter = CostCounter(ToyOfParts(make))
    for widths in (Widths(3, 5), Widths(100, 7), Widths(3, 5), Widths(64, 64)):
        counter.cost(widths)
    assert sorted(made) == [(3, 5), (8, 8), (8, 16), (16, 8), (16, 16)]


def test_a_part_whose_counts_are_not_linear_in_a_width_is_an_error():
    counter = CostCounter(ToyOfParts(lambda i, o: (nn.Conv2d(i, o * o, 1), (i, 2, 2))))
    with pytest.raises(BudgetError, match=r"toy, part part: every count must be linear .* at \(3, 5\) it is not"):
        counter.cost(Widths(3, 5))


def test_half_a_width_is_linear_but_only_at_even_widths_whole():
    counter = CostCounter(ToyOfParts(lambda i, o: (nn.Linear(i, o // 2, bias=False), (i,))))
    assert counter.cost(Widths(3, 10)).parameters == 15
    with pytest.raises(BudgetError, match=r"must be whole numbers, but at widths \(3, 5\) they are not"):
        counter.cost(Widths(3, 5))


def test_an_unknown_operator_in_a_part_names_the_part():
    counter = CostCounter(ToyOfParts(lambda i, o: (Sine(), (i,))))
    with pytest.raises(BudgetError, match=r"toy, part part at widths \(8, 8\): .*aten::sin"):
        counter.cost(Widths(3, 5))


def test_an_unknown_operator_in_a_whole_network_names_the_architecture():
    class Odd(Toy):
        def build(self, architecture):
            return Sine()

    with pytest.raises(BudgetError, match=r"toy, 3-5: .*aten::sin"):
        CostCounter(Odd()).cost(Widths(3, 5))


def test_no_limit_is_ever_violated():
    assert Limits().violation(COST) == 0
    assert Limits().reason(COST) == ""


def test_a_violation_is_the_sum_of_the_shares_exceeded():
    limits = Limits(flops=Range(maximum=600e6), parameters=Range(minimum=10_000_000), layers=Range(maximum=14))
    assert limits.violation(COST) == pytest.approx((812.3 - 600) / 600 + 0.5 + 2 / 14)
    assert limits.violation(replace(COST, flops=600_000_000, parameters=10_000_000, layers=14)) == 0


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 10**6))
def test_a_value_is_within_a_range_exactly_when_it_violates_nothing(one, other, value):
    low, high = sorted((one, other))
    assert (Range(low, high).violation(value) == 0) == (low <= value <= high) == (Range(low, high).reason(value) == "")


@pytest.mark.parametrize(
    ("limits", "cost", "reason"),
    [
        (Limits(flops=Range(maximum=600e6)), COST, "flops 812.3M is above the limit 600M (by 35 %)"),
        (Limits(layers=Range(maximum=14)), COST, "layers 16 is above the limit 14 (by 14 %)"),
        (Limits(parameters=Range(minimum=6e6)), COST, "parameters 5M is below the limit 6M (by 17 %)"),
        (Limits(macs=Range(minimum=1, maximum=4e8)), COST, "macs 800M is above the limit 400M (by 100 %)"),
        (
            Limits(flops=Range(maximum=600e6)),
            replace(COST, flops=600_000_001),
            "flops 600,000,001 is above the limit 600,000,000 (by 1.7e-07 %)",
        ),
        (
            Limits(latency=Range(maximum=5000)),
            replace(COST, latency=5200),
            "latency 5.2 ms is above the limit 5 ms (by 4 %)",
        ),
        (Limits(latency=Range(maximum=5000)), COST, "latency is not known"),
        (
            Limits(latency=Range(maximum=50_000), memory=Range(maximum=8_000_000)),
            replace(COST, latency=50_001, memory=8_000_001),
            "memory 8,000,001 bytes is above the limit 8,000,000 bytes (by 1.2e-05 %); "
            "latency 50,001 µs is above the limit 50,000 µs (by 0.002 %)",
        ),
        (
            Limits(flops=Range(maximum=8e8), layers=Range(minimum=20)),
            COST,
            "flops 812.3M is above the limit 800M (by 1.5 %); layers 16 is below the limit 20 (by 20 %)",
        ),
    ],
)
def test_a_reason_says_in_words_what_is_exceeded_and_by_how_much(limits, cost, reason):
    assert limits.reason(cost) == reason


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"maximum": 0}, "maximum: must be a positive number, but is 0"),
        ({"minimum": -1.0}, "minimum: must be a positive number, but is -1.0"),
        ({"maximum": float("nan")}, "maximum: must be a positive number, but is nan"),
        ({"minimum": 2e6, "maximum": 1e6}, r"minimum: must not be above the maximum 1e\+06, but is 2e\+06"),
    ],
)
def test_a_range_that_nothing_can_meet_is_refused(bounds, message):
    with pytest.raises(BudgetError, match=message):
        Range(**bounds)


def test_of_each_limit_with_a_maximum_the_share_used_is_known():
    limits = Limits(flops=Range(maximum=1_624_600_000), layers=Range(minimum=1), parameters=Range(maximum=5_000_000))
    assert limits.used(COST) == {"flops": 0.5, "parameters": 1.0}
    assert limits.violations(COST) == {}
