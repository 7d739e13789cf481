"""A plug-in's keyword-only parameters → a model that checks its options and says what is wrong with them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import cache
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, Strict, ValidationError, create_model

from vkdnw_search.errors import PluginError
from vkdnw_search.options.checked import Checked, Text, Whole
from vkdnw_search.options.type_descriptions import split
from vkdnw_search.quantities import whole

Factory = Callable[..., Any]
"""A class or function that makes a space, proxy, optimizer or executor."""


def options_model(factory: Factory, *, positional: int = 0, objects: tuple[str, ...] = ()) -> type[Checked]:
    """The options of ``factory``: one field for each keyword-only parameter.

    Bounds come from ``annotated_types`` metadata, closed sets from ``Literal``, the meaning from a text in
    ``Annotated``: ``images: Annotated[int, Interval(ge=1, le=4096), "images in the random batch"] = 64``.

    Args:
        factory: a class or function.
        positional: how many arguments it will be given by position (an optimizer: 1, the problem).
        objects: keyword-only parameters that are no options, since only Python can give them.

    Raises:
        PluginError: it takes other positional arguments, or a parameter's type is not one a recipe can express.
    """
    return _options_model(inspect.unwrap(factory), positional, objects)


@cache
def _options_model(factory: Factory, positional: int, objects: tuple[str, ...]) -> type[Checked]:
    where = f"{factory.__module__}.{factory.__qualname__}"
    found = _keyword_only(inspect.signature(factory), where, positional)
    options = {name: option for name, option in found.items() if name not in objects}
    hints = _hints(factory, where, options)
    return _model({name: option.replace(annotation=hints[name]) for name, option in options.items()}, where)


def options_of_signature(signature: inspect.Signature, where: str, *, positional: int = 0) -> type[Checked]:
    """As :func:`options_model`, of whatever is called with ``signature``, the types in which are evaluated.

    Args:
        signature: of a class or function.
        where: how errors name it, ``package.module.name``.
        positional: how many arguments it will be given by position.

    Raises:
        PluginError: as of :func:`options_model`.
    """
    return _model(_keyword_only(signature, where, positional), where)


def _model(options: Mapping[str, inspect.Parameter], where: str) -> type[Checked]:
    fields: dict[str, Any] = {
        name: (
            _adapted(parameter.annotation, f"{where}, {name}"),
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for name, parameter in options.items()
    }
    model = create_model(where.rpartition(".")[2], __base__=Checked, **fields)
    try:
        model.model_validate({})
    except ValidationError as error:
        for fault in error.errors():
            if not model.model_fields[str(fault["loc"][0])].is_required():
                raise PluginError(f"{where}, default of {fault['loc'][0]}: {fault['msg']}") from None
    return model


def _keyword_only(signature: inspect.Signature, where: str, positional: int) -> dict[str, inspect.Parameter]:
    """The parameters that are options, after checking that the others are what the factory will be given."""
    parameters = signature.parameters.values()
    others = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(others) != positional:
        expected = f"take {positional} argument by position" if positional else "take nothing by position"
        raise PluginError(f"{where}: must {expected} and its options by keyword only (*), but has {others}")
    options = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}
    for name in options:
        if name == "use" or name.startswith("_") or hasattr(BaseModel, name):
            raise PluginError(f"{where}: {name!r} cannot be the name of an option; rename the parameter")
    return options


def _hints(factory: Factory, where: str, options: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """The types of the options. Only theirs are resolved: others may be known to type checkers alone."""
    if not options:
        return {}
    try:
        if is_dataclass(factory):  # its __init__ has no globals of its own
            hints = get_type_hints(factory, include_extras=True)
        else:
            function = inspect.unwrap(factory.__init__ if inspect.isclass(factory) else factory)
            written = {name: hint for name, hint in inspect.get_annotations(function).items() if name in options}
            hints = get_type_hints(
                SimpleNamespace(__annotations__=written), globalns=function.__globals__, include_extras=True
            )
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise PluginError(f"{where}: the types of its options cannot be resolved ({error})") from error
    if missing := [name for name in options if name not in hints]:
        raise PluginError(f"{where}: every option needs a type annotation, but {', '.join(missing)} has none")
    return hints


def _adapted(annotation: Any, where: str) -> Any:
    """``annotation`` made to accept what YAML has for it (6e8 and 600M for int, lists for tuples) and nothing else."""
    base, notes = split(annotation)
    origin, arguments = get_origin(base), get_args(base)
    if origin in (Union, UnionType):
        bounds = tuple(note for note in notes if not isinstance(note, str))  # of the parts that can have any
        notes = tuple(note for note in notes if isinstance(note, str))
        parts = [Annotated[(part, *bounds)] if bounds and _has_bounds(part) else part for part in arguments]
        base = Union[tuple(_adapted(part, where) for part in parts)]  # noqa: UP007 the parts are not known here
    elif origin is Literal:
        base = Annotated[base, BeforeValidator(_one_of(arguments))]
    elif origin in (list, tuple) and arguments:
        items = tuple(part if part is Ellipsis else _adapted(part, where) for part in arguments)
        base = Annotated[origin[items], Strict(False), BeforeValidator(_listed)]
    elif base in (int, str):
        base = Whole if base is int else Text
    elif base not in (bool, float, None, NoneType):
        known = "bool, int, float, str, Literal, list and tuple of these, or unions of them"
        raise PluginError(f"{where}: the type of an option must be one of {known}, but is {base!r}")
    return Annotated[(base, *notes)] if notes else base


def _has_bounds(annotation: Any) -> bool:
    base = split(annotation)[0]
    return get_origin(base) is not Literal and base not in (bool, None, NoneType)


def _listed(value: Any) -> Any:
    """Replaces a set, a generator and the like, which are no lists, by something that is refused."""
    return value if isinstance(value, list | tuple) else ...


def _one_of(choices: tuple[Any, ...]) -> Callable[[Any], Any]:
    """Replaces what equals a choice without being one (True for 1) by something that is refused."""

    def check(value: Any) -> Any:
        alike = (x for x in (value, whole(value)) if any(x == choice and type(x) is type(choice) for choice in choices))
        return next(alike, ...)

    return check
