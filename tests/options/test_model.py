"""Options: what becomes of a factory's parameters, and what values they take."""

from pathlib import Path
from typing import Annotated, Literal

import annotated_types as at
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from tests.support.toy_recipes import STEADY
from vkdnw_search.errors import PluginError
from vkdnw_search.options.model import options_model


def option(annotation, default=...):
    """The model of a factory whose one option, ``x``, has this type."""

    def factory(*, x): ...

    factory.__annotations__ = {"x": annotation}
    factory.__kwdefaults__ = None if default is ... else {"x": default}
    return options_model(factory)


@pytest.mark.parametrize(
    ("annotation", "accepted", "refused"),
    [
        (int, {5: 5, 6e8: 600_000_000, "1.5k": 1500, -3: -3}, [True, 1.5, "64", "5M5", None, 2**63, float("nan"), [1]]),
        (float, {0.5: 0.5, 3: 3.0, -1e-9: -1e-9}, [True, "0.5", float("nan"), float("inf"), None, 10**400]),
        (bool, {True: True, False: False}, [1, 0, "true", "yes", None]),
        (str, {"": "", "a b": "a b"}, [1, True, None, "a\nb", "\x1b[0m", "x" * 1001]),
        (Literal["a", "b"], {"a": "a"}, ["c", "A", None, 1]),
        (Literal[1, 2], {1: 1, 2.0: 2}, [True, 3, "1"]),
        (Literal[True, "auto"], {True: True, "auto": "auto"}, [1, False]),
        (int | None, {None: None, 3: 3}, ["x", True]),
        (tuple[int, ...], {(1, 2): (1, 2), (): ()}, [1, "12", (1, "x"), (True,)]),
        (tuple[int, str], {(1, "a"): (1, "a")}, [(1,), ("a", 1), (1, "a", 2)]),
        (Annotated[int, at.Interval(ge=1, le=4)], {1: 1, 4: 4}, [0, 5]),
        (Annotated[int, Field(gt=1, description="words")], {2: 2}, [1]),
        (Annotated[float, at.Interval(gt=0, lt=1)], {0.5: 0.5}, [0, 1, 0.0, 1.0]),
        (Annotated[int, at.MultipleOf(8)], {16: 16}, [12]),
        (Annotated[tuple[int, ...], at.Len(1, 2)], {(1,): (1,)}, [(), (1, 2, 3)]),
        (Annotated[int, at.Ge(1)] | Literal["all"], {3: 3, "all": "all", "1k": 1000}, [0, "al", True]),
        (Annotated[int | Literal["all"], at.Interval(ge=1, le=9), "words"], {3: 3, "all": "all"}, [0, 10, "al"]),
        (Annotated[int | None, at.Ge(1)], {None: None, 1: 1}, [0]),
    ],
    ids=str,
)
def test_an_option_takes_what_its_type_says_and_nothing_else(annotation, accepted, refused):
    model = option(annotation)
    for value, expected in accepted.items():
        result = model(x=list(value) if isinstance(value, tuple) else value).x
        assert result == expected and type(result) is type(expected)
    for value in refused:
        with pytest.raises(ValidationError) as caught:
            model(x=list(value) if isinstance(value, tuple) else value)
        [fault] = caught.value.errors()
        assert fault["msg"].startswith("must be ") and ", but is " in fault["msg"], value


@STEADY
@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_bounds_hold_at_both_ends(low, high, value):
    annotation = Annotated[int, at.Interval(ge=low, le=high)]
    try:
        assert option(annotation)(x=value).x == value and low <= value <= high
    except ValidationError:
        assert not low <= value <= high


@pytest.mark.parametrize(
    "annotation", [dict, dict[str, int], object, complex, Path, tuple, list, "Nowhere", bytes, set[int]]
)
def test_a_type_that_no_recipe_can_express_is_an_error_of_the_plug_in(annotation):
    with pytest.raises(PluginError, match="factory"):
        option(annotation)


def test_a_default_that_its_own_type_refuses_is_an_error_of_the_plug_in():
    with pytest.raises(PluginError, match="default of x: must be a whole number from 1 to 4, but is 5"):
        option(Annotated[int, at.Interval(ge=1, le=4)], 5)


@pytest.mark.parametrize("name", ["use", "_hidden", "copy", "json", "model_fields"])
def test_a_name_that_cannot_be_an_option_is_refused(name):
    scope = {}
    exec(f"def factory(*, {name}: int = 1): ...", scope)
    with pytest.raises(PluginError, match="cannot be the name of an option"):
        options_model(scope["factory"])
