"""Every option of every shipped plug-in is refused the same, in the same words, from a recipe and from Python."""

import inspect
import json
import math
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types as at
import numpy as np
import pytest
import torch

from search_spaces.nasbench201 import NasBench201
from search_spaces.stages import Stages
from vkdnw_search.errors import OptionError, RecipeError, ScoreError, SpaceError, VkdnwSearchError
from vkdnw_search.optimizers.algorithms import Evolution
from vkdnw_search.options import check_options, strict_options
from vkdnw_search.proxies.aggregate import LogRankSum, make_vkdnw_agg
from vkdnw_search.proxies.jacov import Jacov
from vkdnw_search.proxies.probing import ImageProxy
from vkdnw_search.proxies.size import Flops
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.proxies.zen import Zen
from vkdnw_search.ranking.plan import identity
from vkdnw_search.recipe.recipe import load_recipe, parse_recipe
from vkdnw_search.recipe.registry import KINDS, Kind, find, shipped

SECTIONS: dict[Kind, str] = {
    "spaces": "space",
    "proxies": "score",
    "optimizers": "optimizer",
    "executors": "executor",
    "latencies": "latency",
}
ERRORS: dict[Kind, type[Exception]] = {"spaces": SpaceError, "proxies": ScoreError}


def written_options(factory: Any) -> dict[str, Any]:
    """Option → its annotation, read from the source without the code under test."""
    function = inspect.unwrap(factory.__init__ if inspect.isclass(factory) else factory)
    hints = get_type_hints(factory if hasattr(factory, "__dataclass_fields__") else function, include_extras=True)
    parameters = inspect.signature(factory).parameters.values()
    return {p.name: hints[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}


def wrong_values(annotation: Any) -> Iterator[Any]:
    """Values that are no ``annotation``: of a wrong type, none of the choices, out of bounds."""
    base, *notes = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    parts = get_args(base) if get_origin(base) in (Union, UnionType) else (base,)
    if NoneType not in parts:
        yield None
    yield {"a": 1}
    for part in parts:
        if get_origin(part) is Literal:
            yield from (f"{choice}x" for choice in get_args(part))
            yield from (" ", [*get_args(part)], True)
        elif get_origin(part) is tuple and len(parts) == 1:
            yield from ("text", 1, [1], [["text"]])
        elif get_origin(part) is tuple:  # of a fixed length, in place of one number
            yield from ("text", [64], [64, 64, 64], [["text"], 64], *([value, 64] for value in beyond_item(part)))
        elif get_origin(part) is Annotated:
            yield from (True, 1.5, "64", math.nan, *beyond_item(tuple[part]))
        elif part is bool:
            yield from (0, 1, "true", "yes", [True])
        elif part is int:
            yield from (True, 1.5, "64", "many", [64], math.nan, 2**63)
        elif part is float:
            yield from (True, "0.5", "much", [0.5], math.nan, math.inf)
        elif part is str:
            yield from (5, True, ["text"], "two\nlines", "x" * 1001)
    yield from beyond(notes)


def beyond_item(annotation: Any) -> Iterator[Any]:
    """Values just outside the bounds of the first item of a tuple."""
    return beyond(list(get_args(get_args(annotation)[0])[1:]))


def beyond(notes: list[Any]) -> Iterator[Any]:
    """Values just outside the bounds among the metadata of an annotation."""
    flat = [bound for note in notes for bound in (note if isinstance(note, at.GroupedMetadata) else (note,))]
    for bound in flat:
        match bound:
            case at.Ge(ge=least):
                yield least - 1
            case at.Gt(gt=least):
                yield least
            case at.Le(le=most):
                yield most + 1
            case at.Lt(lt=most):
                yield most
            case at.MultipleOf(multiple_of=divisor):
                yield divisor * 16 + 1
            case at.MinLen(min_length=least):
                yield ["x"] * (least - 1)
            case at.MaxLen(max_length=most):
                yield ["x"] * (most + 1)


OPTIONS = [
    (kind, name, option) for kind in KINDS for name in shipped(kind) for option in written_options(find(kind, name))
]


def from_a_recipe(kind: Kind, name: str, option: str, value: Any) -> str:
    """What a recipe is told with ``value``, without its place; YAML writes .nan and .inf for what Python has."""
    sections = {"space": "nasbench201", SECTIONS[kind]: {"use": name, option: value}}
    text = json.dumps(sections).replace("NaN", ".nan").replace("Infinity", ".inf")
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, source="r")
    place = f"r, {SECTIONS[kind]}.{option}: "
    told = str(caught.value)
    assert told.startswith(place) and told.endswith(" (line 1)") and "\n" not in told
    return told.removeprefix(place).removesuffix(" (line 1)")


def from_python(kind: Kind, name: str, option: str, value: Any) -> str:
    """What a call with ``value`` is told."""
    factory = find(kind, name)
    problem = [None] if kind == "optimizers" else []
    with pytest.raises(ERRORS.get(kind, OptionError)) as caught:
        factory(*problem, **{option: value})
    assert isinstance(caught.value, VkdnwSearchError) and isinstance(caught.value, ValueError)
    place = f"{factory.__name__}, {option}: "
    assert str(caught.value).startswith(place)
    return str(caught.value).removeprefix(place)


@pytest.mark.parametrize(("kind", "name", "option"), OPTIONS, ids=".".join)
def test_a_wrong_value_is_refused_alike_from_a_recipe_and_from_python(kind, name, option):
    values = list(wrong_values(written_options(find(kind, name))[option]))
    assert len(values) > 3
    for value in values:
        told = from_a_recipe(kind, name, option, value)
        assert told.startswith("must be ") and ", but is " in told, value
        assert from_python(kind, name, option, value) == told, value


def test_all_plug_ins_with_options_are_among_those_tried():
    assert {"vkdnw_single", "jacov", "vkdnw_agg", "zen", "evolution", "aging", "stages", "processes", "dask"} <= {
        name for _, name, _ in OPTIONS
    }
    assert len(OPTIONS) > 100


def test_all_wrong_options_are_named_at_once_with_what_was_meant():
    with pytest.raises(ScoreError) as caught:
        VkdnwSingle(batch_norm="calibrate", positions="frist", smoothing=2.0)
    assert str(caught.value).splitlines() == [
        "VkdnwSingle, positions: must be one of 'aligned', 'first', 'random', but is 'frist'. Did you mean 'first'?",
        "VkdnwSingle, batch_norm: must be one of 'calibrated', 'initial', but is 'calibrate'. "
        "Did you mean 'calibrated'?",
        "VkdnwSingle, smoothing: must be a number of at least 0, below 1, but is 2.0",
    ]
    with pytest.raises(ScoreError, match=r"Did you mean 'as_built'\?$"):
        Jacov(initialization="as-built")


@pytest.mark.parametrize(
    ("section", "options"),
    [
        ("score", {"use": "vkdnw_single", "images": 6e1, "memory": "1.5G", "smoothing": 0, "directions": "all"}),
        ("score", {"use": "zen", "alpha": 1}),
        ("score", {"use": "vkdnw_agg", "images": 128.0, "resolution": 32}),
        ("space", {"use": "stages", "stages": ["ds_r1/2_k3_s1_c16"], "stem": "1k", "stem_stride": 1.0}),
        ("space", {"use": "nasbench201", "cells": 3}),
    ],
    ids=str,
)
def test_what_a_recipe_may_write_python_may_and_the_two_are_the_same(section, options):
    recipe = load_recipe({"space": "nasbench201", section: options})
    built = recipe.build_space() if section == "space" else recipe.build_proxy()
    given = {name: value for name, value in options.items() if name != "use"}
    ours = find("spaces" if section == "space" else "proxies", options["use"])(**given)
    assert ours == built and identity(ours) == identity(built)


def test_the_text_that_identifies_a_plug_in_in_stored_studies_is_what_it_was():
    assert identity(NasBench201()) == (
        "search_spaces.nasbench201.NasBench201(resolution=32, channels_in=3, num_classes=10, channels=16, cells=5, "
        "residual=False)"
    )
    assert identity(VkdnwSingle()) == (
        "vkdnw_search.proxies.vkdnw.VkdnwSingle(images=64, resolution=None, parameters=128, selection='first', "
        "directions=2, draws=8, positions='aligned', batch_norm='calibrated', smoothing=0.0, layers='tensors', "
        "initializations=1, initialization='kaiming_normal', memory=None, check=False, device='auto')"
    )
    assert identity(Jacov()) == (
        "vkdnw_search.proxies.jacov.Jacov(images=64, resolution=None, initialization='kaiming_normal', brightness=0.8)"
    )


@pytest.mark.parametrize(
    "number", [np.int64(5), np.array(5), torch.tensor(5)], ids=lambda number: type(number).__name__
)
def test_a_number_of_numpy_or_pytorch_is_refused_and_the_plain_one_named(number):
    with pytest.raises(SpaceError, match=r"cells: must be a whole number from 1 to 64, but is .*\. Did you mean 5\?$"):
        NasBench201(cells=number)


def test_a_set_or_a_generator_is_no_list():
    for stages in ({"ds_r1/2_k3_s1_c16"}, (stage for stage in ("ds_r1/2_k3_s1_c16",)), "ds_r1/2_k3_s1_c16"):
        with pytest.raises(SpaceError, match="Stages, stages: must be a list"):
            Stages(stages=stages)


def test_checked_plug_ins_can_be_pickled_and_so_can_their_factories():
    for plugin in (Stages(stages=["ds_r1/2_k3_s1_c16"]), VkdnwSingle(images=8), make_vkdnw_agg(), Zen()):
        assert pickle.loads(pickle.dumps(plugin)) == plugin
    for factory in (make_vkdnw_agg, Evolution, VkdnwSingle):
        assert pickle.loads(pickle.dumps(factory)) is factory


def test_an_unknown_or_a_missing_argument_stays_a_type_error_of_python():
    with pytest.raises(TypeError, match=r"Evolution.__init__\(\) got an unexpected keyword argument 'populaton'"):
        Evolution(None, populaton=8)
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'side'"):
        needs_a_side()


@strict_options()
def needs_a_side(*, side: Annotated[int, at.Ge(1)], title: str = "") -> tuple[int, str]:
    """A function with an option that has no default."""
    return side, title


def test_a_function_of_ones_own_is_checked_by_a_decorator():
    assert needs_a_side(side="1k") == (1000, "")
    assert needs_a_side.__name__ == "needs_a_side" and "title" in inspect.signature(needs_a_side).parameters
    with pytest.raises(OptionError, match=r"^needs_a_side, side: must be a positive whole number, but is 0$"):
        needs_a_side(side=0)


@dataclass(frozen=True, kw_only=True)
class OwnProxy(ImageProxy):
    """A proxy of a stranger's, whose check is inherited."""

    power: Annotated[float, at.Interval(gt=0, le=4)] = 1.0


@dataclass(frozen=True, kw_only=True)
class OwnSpace:
    """A space of a stranger's."""

    depth: Annotated[int, at.Interval(ge=1, le=9)] = 1
    helper: object = None

    def __post_init__(self) -> None:
        check_options(self, SpaceError, objects=("helper",))


def test_a_dataclass_of_ones_own_is_checked_by_one_line_that_subclasses_inherit():
    assert OwnProxy(power=2).power == 2.0 and type(OwnProxy(power=2).power) is float
    for options in ({"power": 0}, {"images": 1}, {"initialization": "kaiming"}):
        with pytest.raises(ScoreError, match=f"OwnProxy, {next(iter(options))}: must be "):
            OwnProxy(**options)
    assert OwnSpace(helper=print).helper is print
    with pytest.raises(SpaceError, match="OwnSpace, depth: must be a whole number from 1 to 9, but is 10"):
        OwnSpace(depth=10)


def test_the_terms_and_weights_of_a_sum_of_ranks_are_checked_too():
    for options in ({"terms": "flops"}, {"weights": (True,)}, {"weights": "1"}, {"terms": (1,)}):
        with pytest.raises(ScoreError, match=f"LogRankSum, {next(iter(options))}: must be a list"):
            LogRankSum(proxies={"flops": Flops()}, **options)
