"""latency: interpolation, what is kept, and that a candidate's time is the sum of its parts'."""

import json

import pytest
from torch import nn

from search_spaces.mobilenet import MobileNet
from search_spaces.nasbench201 import NasBench201
from tests.support.quick import leave_out_the_end
from vkdnw_search import load_recipe, search
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.cost.latency import LatencyTable, measured
from vkdnw_search.cost.limits import Limits, Range
from vkdnw_search.errors import BudgetError, RecipeError
from vkdnw_search.latencies.pytorch import TorchLatency
from vkdnw_search.records import Timing

SPACE = MobileNet(resolution=32, last_width=64)
SMALLEST = SPACE.decode(tuple(0 for _ in SPACE.genes))


@pytest.fixture
def bilinear(monkeypatch):
    """In place of the clock: (1 + inputs) (2 + outputs) of the first convolution of a part, in milliseconds."""
    asked = []

    def pretended(source, model, input_shape):
        conv = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
        asked.append(type(model).__name__)
        if conv is None:
            return Timing(1e-3)
        return Timing(1e-3 * (1 + conv.in_channels // conv.groups) * (2 + conv.out_channels))

    monkeypatch.setattr(TorchLatency, "of", pretended)
    return asked


def test_between_the_widths_of_the_grid_a_bilinear_time_is_met_exactly(bilinear):
    for part in SPACE.parts(SPACE.decode(tuple(len(gene.choices) - 2 for gene in SPACE.genes))):
        if len(part.widths) != 2 or part.kind[0] != "conv":
            continue
        inputs, outputs = part.widths
        table = LatencyTable(SPACE)
        assert table._interpolated(part) == pytest.approx(1e-3 * (1 + inputs) * (2 + outputs), rel=1e-12)


def test_a_network_takes_the_sum_of_its_parts_and_a_part_is_measured_once(bilinear):
    table = LatencyTable(SPACE)
    first = table.seconds(SMALLEST)
    assert first == pytest.approx(sum(table._interpolated(part) for part in SPACE.parts(SMALLEST)))
    measurements = len(bilinear)
    assert table.seconds(SMALLEST) == first and len(bilinear) == measurements


def test_what_was_measured_is_kept_and_read_back_without_measuring(bilinear):
    kept = []
    first = LatencyTable(SPACE, keep=kept.append).seconds(SMALLEST)
    bilinear.clear()
    assert LatencyTable(SPACE, text=kept[-1]).seconds(SMALLEST) == first and not bilinear


@pytest.mark.parametrize("text", ["", "[1]", '{"a": "1"}', '{"a": -1.0}', '{"a": NaN}', "[" * 100_000])
def test_a_table_that_is_none_is_refused(text):
    with pytest.raises(BudgetError, match="latency table"):
        LatencyTable(SPACE, text=text)


def test_a_space_without_parts_is_measured_network_by_network(bilinear):
    class Whole:
        name, input_shape, num_classes = "whole", (3, 32, 32), 10
        genes = SPACE.genes

        def decode(self, genome):
            return SPACE.decode(genome)

        def build(self, architecture):
            return SPACE.build(architecture)

        def source(self, architecture):
            return SPACE.source(architecture)

    LatencyTable(Whole()).seconds(SMALLEST)
    assert bilinear == [type(SPACE.build(SMALLEST)).__name__]


def test_a_measured_time_is_positive_and_the_cost_is_in_microseconds():
    space = NasBench201(cells=1)
    assert measured(nn.Linear(4, 2), (4,)) > 0
    cost = CostCounter(space, Limits(latency=Range(maximum=1))).cost(space.decode((3,) * 6))
    assert isinstance(cost.latency, int) and cost.latency > 0


def test_a_search_keeps_its_latencies_and_a_continued_one_measures_none_again(tmp_path, bilinear, monkeypatch):
    leave_out_the_end(monkeypatch)
    recipe = {
        "space": {"use": "nasbench201", "cells": 1},
        "limits": {"latency": "9000s", "memory": "1G"},
        "score": {"use": "flops"},
        "optimizer": {"use": "evolution", "population": 8, "children": 4},
        "executor": "inline",
        "finalists": 0,
    }
    search(recipe, ["stop.evaluations=10"], out=tmp_path)
    bilinear.clear()
    result = search(recipe, ["stop.evaluations=20"], out=tmp_path)
    assert set(bilinear) <= {"CellNetwork"}, "whole, a winner that the first search had not"
    assert json.loads(result.store.note("latencies"))
    assert all(e.cost.latency and e.cost.memory for e in result.evaluations())
    assert result.best is not None and result.best.cost.latency <= 9_000_000_000


def test_times_are_written_with_their_unit():
    assert load_recipe("nb201", ["limits.latency=20ms"]).limits.latency.max == 20_000
    assert load_recipe("nb201", ["limits.latency={min: 800us, max: 1.5s}"]).limits.latency.min == 800
    with pytest.raises(
        RecipeError, match=r"limits\.latency: must be a time with its unit, such as 20ms, but is '20 msec'"
    ):
        load_recipe("nb201", ["limits.latency='20 msec'"])
    with pytest.raises(RecipeError, match=r"limits\.latency: must be a time with its unit, such as 20ms, but is 20"):
        load_recipe("nb201", ["limits.latency=20"])
    limited = load_recipe("nb201", ["limits.latency=20ms"])
    assert load_recipe(limited) == limited and "20000us" in limited.to_yaml()
