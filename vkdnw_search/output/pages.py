"""What all HTML pages share: templates in which every text is escaped, their style, and how they show numbers."""

from __future__ import annotations

from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined

from vkdnw_search.quantities import amount, score_text


def templates() -> Environment:
    """The templates beside this file; what a page is given that it does not know of is an error."""
    environment = Environment(
        loader=PackageLoader("vkdnw_search.output"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"si": si, "signed": signed, "score": score_text, "amount": amount, "plain": plain}
    return environment


def si(value: float) -> str:
    """``598.2M``."""
    return amount("", value)


def plain(value: object) -> str:
    """What stands in a file of JSON, as a person writes it: ``torch 2.5, numpy 2.1`` rather than braces and quotes."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain(of_it)}" for name, of_it in value.items())
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    return {"None": "none", "True": "yes", "False": "no"}.get(str(value), str(value))


def signed(value: float) -> str:
    """The number with its sign, ``0`` without."""
    return "0" if value == 0 else ("+" if value > 0 else "−") + si(abs(value))
