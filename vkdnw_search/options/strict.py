"""Options given from Python, held to the annotations that recipes are held to, by the same models.

A frozen dataclass with keyword-only fields says so in one line, which its subclasses inherit::

    def __post_init__(self) -> None:
        check_options(self)

Functions and other classes have a decorator: ``@strict_options()``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from vkdnw_search.errors import OptionError, VkdnwSearchError
from vkdnw_search.options.checked import Checked
from vkdnw_search.options.model import Factory, options_model

F = TypeVar("F", bound=Callable[..., Any])


def check_options(
    plugin: object, error: type[VkdnwSearchError] = OptionError, *, objects: tuple[str, ...] = ()
) -> None:
    """Hold the options of a dataclass to their types, bounds and closed sets, as a recipe would; for ``__post_init__``.

    What a recipe may write otherwise may be so here too, and is replaced by what it stands for: a list by a tuple,
    ``6e8`` and ``"600M"`` by a whole number, a whole number by a float where the type is float.

    Args:
        plugin: a dataclass, which may be frozen.
        error: the class of the exception.
        objects: fields that are no options, since only Python can give them; they are left alone.

    Raises:
        VkdnwSearchError: of the class ``error``; a line for each option that is wrong: what must hold and what came.
        PluginError: the class has options that no recipe can express.
    """
    model = options_model(type(plugin), objects=objects)
    given = {name: getattr(plugin, name) for name in model.model_fields}
    for name, value in _checked(model, given, type(plugin).__name__, error).items():
        if value is not given[name]:
            object.__setattr__(plugin, name, value)  # which a frozen dataclass allows in no other way


def strict_options(error: type[VkdnwSearchError] = OptionError) -> Callable[[F], F]:
    """Decorate a function, or a class with an ``__init__`` of its own, so that each call of it has its options checked.

    Otherwise as :func:`check_options`. Arguments by position are not options.
    """

    def decorate(factory: F) -> F:
        if inspect.isclass(factory):
            factory.__init__ = _strict(factory.__init__, factory, error)  # type: ignore[method-assign]
            return factory
        return _strict(factory, factory, error)  # type: ignore[return-value]  # of the same parameters

    return decorate


def _strict(function: Callable[..., Any], factory: Factory, error: type[VkdnwSearchError]) -> Callable[..., Any]:
    """``function``, called with the checked options of ``factory``."""
    positional = sum(p.kind is not p.KEYWORD_ONLY for p in inspect.signature(factory).parameters.values())

    @functools.wraps(function)
    def strict(*args: Any, **given: Any) -> Any:
        model = options_model(factory, positional=positional)
        options = {name: value for name, value in given.items() if name in model.model_fields}
        if all(name in options for name, field in model.model_fields.items() if field.is_required()):
            given |= _checked(model, options, factory.__name__, error)
        return function(*args, **given)  # a missing or unknown argument is a TypeError, as it is without us

    return strict


def _checked(
    model: type[Checked], options: Mapping[str, Any], where: str, error: type[VkdnwSearchError]
) -> dict[str, Any]:
    """``options`` as ``model`` has them."""
    try:
        values = model.model_validate(options)
    except ValidationError as faults:
        lines = (f"{where}, {fault['loc'][0]}: {fault['msg']}" for fault in faults.errors(include_url=False))
        raise error("\n".join(lines)) from None
    return {name: getattr(values, name) for name in options}
