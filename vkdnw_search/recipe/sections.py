"""The sections of a recipe: what may stand in each, with meaning, bounds and defaults."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeAlias

from annotated_types import Interval
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    field_validator,
    model_validator,
)

from vkdnw_search.errors import PluginError, RecipeError, SpaceError
from vkdnw_search.options.checked import Checked, Text, Whole, worded
from vkdnw_search.options.type_descriptions import shown
from vkdnw_search.quantities import compact, microseconds, percentage, share_of
from vkdnw_search.recipe.registry import Kind, find, options_of
from vkdnw_search.records import GeneValue

if TYPE_CHECKING:
    from vkdnw_search.contracts import Architecture, SearchSpace


def fits_a_folder(name: str) -> bool:
    """Whether ``name`` can be that of a folder on any system."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name) is not None


def _fit_for_a_folder(name: str) -> str:
    if not fits_a_folder(name):
        raise ValueError(
            "must be at most 64 letters, digits, dots, dashes and underscores, the first of the former two"
        )
    return name


FolderName = Annotated[Text, AfterValidator(_fit_for_a_folder)]
Count = Annotated[Whole, Interval(ge=1, le=10**15)]
Microseconds = Annotated[
    int, BeforeValidator(microseconds), Interval(ge=1, le=10**12), PlainSerializer(lambda value: f"{value}us")
]
Percentage = Annotated[str, BeforeValidator(percentage)]
Steps = Annotated[Whole, Interval(ge=1, le=10**8)]
MOST_BANDS = 16

CROSSED = "min must not exceed max"
"""The beginning of the sentence about a limit that leaves no room."""


def _ascending(bands: list[int]) -> list[int]:
    if len(bands) > MOST_BANDS or any(a >= b for a, b in pairwise(bands)):
        raise worded(f"must be at most {MOST_BANDS} numbers, each greater than the one before, but is {shown(bands)}")
    return bands


def _several(value: Any) -> Any:
    """A list of one for a value alone."""
    return [value] if isinstance(value, bool | int | float | str) else value


Bands = Annotated[list[Count], AfterValidator(_ascending)]
Networks = Annotated[list[Text], BeforeValidator(_several)]
MOST_LAYERS = 10_000
Depth = Annotated[Whole, Interval(ge=1, le=MOST_LAYERS)]

OptionsSource: TypeAlias = Callable[[Kind, str], type[Checked]]
"""Where the models of options come from: :func:`options_of`, or :func:`options_in_source`, which imports nothing."""


class Section(Checked):
    """The choice of a plug-in: ``{use: NAME, option: value, …}``, or the name alone.

    Attributes:
        use: the name it is installed under.
        options: all of its options, defaults included.
    """

    kind: ClassVar[Kind]

    use: Text
    options: Mapping[str, Any]

    @model_validator(mode="before")
    @classmethod
    def _reshaped(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"use": value}
        if not isinstance(value, Mapping) or "use" not in value:
            raise worded(f"must be the name of a plug-in or {{use: NAME, …}}, but is {shown(value)}")
        own = {"use", *cls.own_keys()}
        options = {key: item for key, item in value.items() if key not in own}
        return {**{key: value[key] for key in value if key in own}, "options": options}

    @classmethod
    def own_keys(cls) -> list[str]:
        """The keys beside ``use`` that are of the section itself, whatever the plug-in."""
        return [key for key in cls.model_fields if key not in Section.model_fields]

    def resolved(self) -> dict[str, Any]:
        """The section as a recipe has it, defaults of options included, and own keys that say something."""
        own = {key: value for key in self.own_keys() if (value := getattr(self, key))}
        return {"use": self.use, **self.options, **own}

    @field_validator("use")
    @classmethod
    def _must_be_installed(cls, name: str, info: ValidationInfo) -> str:
        try:
            cls._options(name, info)
        except PluginError as error:
            raise worded(str(error)) from error
        return name

    @field_validator("options", mode="before")
    @classmethod
    def _must_fit(cls, options: Any, info: ValidationInfo) -> Any:
        if "use" not in info.data:
            return {}  # without the plug-in nothing can be said of its options
        return cls._options(info.data["use"], info).model_validate(options, context=info.context).model_dump()

    @classmethod
    def _options(cls, name: str, info: ValidationInfo) -> type[Checked]:
        """The model of a plug-in's options, from where the context of the validation says, or from the plug-in."""
        source: OptionsSource = (info.context and info.context.options_of) or options_of
        return source(cls.kind, name)

    def build(self, *arguments: object) -> Any:
        """Build the plug-in from its options; an optimizer is given its problem, too."""
        return find(self.kind, self.use)(*arguments, **self.options)


Choices = Annotated[list[GeneValue], BeforeValidator(_several)]


class SpaceSection(Section):
    """The search space, and which of its choices are taken away (:func:`vkdnw_search.choices.narrowing.narrowed`)."""

    kind = "spaces"

    fix: Annotated[dict[Text, GeneValue], "gene: the one choice that is left of it, such as {stem.out: 32}"] = Field(
        default_factory=dict
    )
    exclude: Annotated[dict[Text, Choices], "gene: choices that are taken away, such as {layer1.kernel: [5, 7]}"] = (
        Field(default_factory=dict)
    )

    @field_validator("use")
    @classmethod
    def _must_leave_own_keys(cls, name: str, info: ValidationInfo) -> str:
        for key in cls.own_keys():
            if key in cls._options(name, info).model_fields:
                raise worded(f"must have no option called {key}, which is a key of every space, but {name} has one")
        return name

    def narrowed(self, space: SearchSpace[Architecture]) -> SearchSpace[Architecture]:
        """``space`` without the choices that are taken away. Raises RecipeError if it has no such genes or choices."""
        if not self.fix and not self.exclude:
            return space
        from vkdnw_search.choices import narrowed  # torch, which takes seconds to import

        try:
            return narrowed(space, fix=self.fix, exclude=self.exclude)
        except SpaceError as error:
            raise RecipeError(f"space ({self.use}), {error}") from error


class ScoreSection(Section):
    """The proxy that scores candidates."""

    kind = "proxies"


class OptimizerSection(Section):
    """The optimizer, which proposes candidates."""

    kind = "optimizers"


class ExecutorSection(Section):
    """The executor, where candidates are evaluated."""

    kind = "executors"


class LatencySection(Section):
    """The source of latencies."""

    kind = "latencies"


class Bounds(Checked):
    """An interval with both ends included; a number alone is ``max``.

    A minimum that is a share of the maximum moves with it, and without a maximum there is none.
    """

    min: Annotated[Count | Percentage | None, "at least this much, or this share of max, such as 70%"] = None
    max: Annotated[Count | None, "at most this much"] = None

    @property
    def least(self) -> int | None:
        """The minimum as a number; None where there is none."""
        if isinstance(self.min, str):
            return None if self.max is None else share_of(self.min, self.max)
        return self.min

    @model_validator(mode="before")
    @classmethod
    def _reshaped(cls, value: Any) -> Any:
        if isinstance(value, str) and ".." in value:
            raise worded(f"must be a number, the most, or such as {{min: 300M, max: 600M}}, but is {shown(value)}")
        return value if isinstance(value, Mapping) else {"max": value}

    @model_validator(mode="after")
    def _must_leave_room(self) -> Self:
        if self.min is None and self.max is None:
            raise worded("must have min, max or both")
        if self.least is not None and self.max is not None and self.least > self.max:
            raise worded(f"{CROSSED}, but {compact(self.least)} > {compact(self.max)}")
        return self


class DepthBounds(Bounds):
    """An interval of numbers of layers; a number alone is ``max``."""

    min: Annotated[Depth | None, "at least this deep"] = None
    max: Annotated[Depth | None, "at most this deep"] = None


class LatencyBounds(Bounds):
    """An interval of times; a time alone is ``max``."""

    min: Annotated[Microseconds | None, "at least this long"] = None
    max: Annotated[Microseconds | None, "at most this long"] = None


def within_limits(bands: list[int], of: str, limit: Bounds | None) -> list[int]:
    """``bands`` of the cost ``of``, which must lie within its ``limit``."""
    deepest = MOST_LAYERS if of == "layers" else None
    low, high = (None, deepest) if limit is None else (limit.least, limit.max or deepest)
    if bands and low is not None and bands[0] < low:
        hint = "" if of == "layers" or bands[0] > MOST_LAYERS else ". For numbers of layers say bands_of: layers"
        raise worded(f"must not be below limits.{of}.min, but {compact(bands[0])} < {compact(low)}{hint}")
    if bands and high is not None and bands[-1] > high:
        raise worded(f"must not exceed limits.{of}, but {compact(bands[-1])} > {compact(high)}")
    return bands


class Limits(Checked):
    """The limits on what a candidate may cost; a candidate outside is recorded but never scored."""

    flops: Annotated[Bounds | None, "as fvcore counts them, a multiply-add being 1, at the input of the space"] = None
    macs: Annotated[Bounds | None, "multiply-adds of convolutions and linear layers alone"] = None
    parameters: Annotated[Bounds | None, "trainable scalars"] = None
    layers: Annotated[DepthBounds | None, "depth, as the search space counts it"] = None
    memory: Annotated[Bounds | None, "peak bytes of activations at inference of one input, such as 8M"] = None
    latency: Annotated[
        LatencyBounds | None,
        "of one input, such as 20ms, on the device that `latency` says: one thread of this machine",
    ] = None
    int8_size: Annotated[Bounds | None, "bytes of weights quantized to int8, their scales included, such as 1M"] = None
    int8_memory: Annotated[Bounds | None, "peak bytes of int8 activations on a microcontroller, such as 320k"] = None

    @property
    def names(self) -> list[str]:
        """The names of the limits that are set."""
        return [name for name in type(self).model_fields if getattr(self, name) is not None]


class Stop(Checked):
    """The limits at which a run stops, whichever is reached first."""

    evaluations: Annotated[Steps, "candidates visited, scored or not"] = 1000
    seconds: Annotated[Annotated[float, Interval(gt=0, le=10**8)] | None, "wall-clock time"] = None
    generations: Annotated[Steps | None, "times the optimizer is asked"] = None


SECTIONS: dict[str, Kind] = {
    "space": "spaces",
    "score": "proxies",
    "optimizer": "optimizers",
    "executor": "executors",
    "latency": "latencies",
}
"""The sections that choose a plug-in, with the kind of it."""
