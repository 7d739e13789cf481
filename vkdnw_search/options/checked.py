"""The base of all settings: frozen, without unknown keys or silent conversions; its errors are sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, TypeAlias

from annotated_types import Interval
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ValidationInfo, ValidatorFunctionWrapHandler

from vkdnw_search.errors import close_matches
from vkdnw_search.options.mismatches import mismatch
from vkdnw_search.options.type_descriptions import LONGEST, describe, shown
from vkdnw_search.quantities import LARGEST, whole


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable text")
    return text


Whole = Annotated[int, BeforeValidator(whole), Interval(ge=-LARGEST, le=LARGEST)]
Text = Annotated[str, AfterValidator(_printable)]

MISSING = "is missing"
"""The beginning of the sentence about a key that must be there and is not."""

MOST_TOLD = 20
"""Number of faults of one mapping that are put into words; a file that is no recipe at all may have thousands."""

NOT_TOLD = "is wrong too"
"""The sentence about each of the other faults."""

Elsewhere: TypeAlias = Mapping[str, list[str]]
"""A key in small letters → the full names of all keys of other mappings that are called so."""


@dataclass(frozen=True, slots=True)
class Context:
    """The knowledge of a validation besides the values.

    Attributes:
        elsewhere: keys of other mappings, to be suggested.
        options_of: gives the model of a plug-in's options by (kind, name); None: as the plug-in itself has them.
    """

    elsewhere: Elsewhere = field(default_factory=dict)
    options_of: Callable[[Any, str], Any] | None = None


_WORDED = "worded"
"""The type of an error whose message is already a sentence for the user."""


class Checked(BaseModel):
    """Frozen settings. A ValidationError from it has, at each location, a sentence that begins with *must* or *is*."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        str_max_length=LONGEST,
        validate_default=True,
        protected_namespaces=(),
    )

    @field_validator("*", mode="wrap")
    @classmethod
    def _say_what_must_hold(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """Word all faults of a value as one; a nested model has worded its own."""
        try:
            return handler(value)
        except ValidationError as error:
            faults = error.errors(include_url=False)
            if all(fault["type"] == _WORDED for fault in faults):
                raise
            reasons = [str(fault["ctx"]["error"]) for fault in faults if fault["type"] == "value_error"]
            if reasons:
                raise worded(f"{reasons[0]}, but is {shown(value)}") from None
            declared = annotation_of(cls, str(info.field_name))
            raise worded(mismatch(declared, value, accepts=partial(_accepts, handler))) from None

    @model_validator(mode="wrap")
    @classmethod
    def _say_which_keys(cls, value: Any, handler: ModelWrapValidatorHandler[Any], info: ValidationInfo) -> Any:
        """Word the faults that concern the keys. The context of a validation may be a :class:`Context`."""
        try:
            return handler(value)
        except ValidationError as error:
            found = error.errors(include_url=False)
            faults: list[InitErrorDetails] = [
                {
                    "type": worded(cls._worded(fault, info.context.elsewhere if info.context else {})),
                    "loc": fault["loc"],
                    "input": fault["input"],
                }
                for fault in found[:MOST_TOLD]
            ]
            faults += [{"type": worded(NOT_TOLD), "loc": fault["loc"], "input": None} for fault in found[MOST_TOLD:]]
            raise ValidationError.from_exception_data(cls.__name__, faults) from None

    @classmethod
    def _worded(cls, fault: Mapping[str, Any], elsewhere: Elsewhere) -> str:
        if fault["type"] == _WORDED:
            return str(fault["msg"])
        if fault["type"] == "extra_forbidden":
            return unknown_key(str(fault["loc"][-1]), list(cls.model_fields), elsewhere)
        if fault["type"] == "missing":
            return f"{MISSING}: must be {describe(annotation_of(cls, str(fault['loc'][-1])))}"
        if fault["type"] == "value_error":
            return str(fault["ctx"]["error"])
        return f"must be a mapping with keys among {', '.join(cls.model_fields)}, but is {shown(fault['input'])}"


def worded(message: str) -> PydanticCustomError:
    """An error, to be raised in a validator, whose message reaches the user as it is."""
    return PydanticCustomError(_WORDED, "{message}", {"message": message})


def unknown_key(key: str, known: list[str], elsewhere: Elsewhere | None = None) -> str:
    """The sentence about a key that is none of ``known``, with the nearest key, here or elsewhere."""
    choices = f"must be one of {', '.join(known)}" if known else "there are none to set"
    *others, last = _close_keys(key, known, elsewhere or {}) or [""]
    names = f"{', '.join(map(repr, others))} or {last!r}" if others else repr(last)
    return f"is not a known key: {choices}" + (f". Did you mean {names}?" if last else "")


def _close_keys(key: str, known: list[str], elsewhere: Elsewhere) -> list[str]:
    """What ``key`` may stand for: one of ``known``, or else full names of keys elsewhere."""
    same = [name for name in known if name.lower() == key.lower()] or elsewhere.get(key.lower(), [])
    near = close_matches(key, elsewhere, cutoff=0.8)  # far from here only what is nearly the same
    return same or close_matches(key, known) or [name for match in near for name in elsewhere[match]]


def _accepts(handler: ValidatorFunctionWrapHandler, candidate: Any) -> bool:
    try:
        handler(candidate)
    except ValidationError:
        return False
    return True


def annotation_of(model: type[BaseModel], name: str) -> Any:
    """The type of a model's field with its metadata, as it was declared."""
    field = model.model_fields[name]
    metadata = [*field.metadata, *filter(None, [field.description])]
    return Annotated[(field.annotation, *metadata)] if metadata else field.annotation
