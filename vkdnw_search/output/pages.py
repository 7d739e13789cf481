"""What all HTML pages share: templates in which every text is escaped, their style, and how they show numbers."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def templates() -> Environment:
    """The templates beside this file; what a page is given that it does not know of is an error."""
    environment = Environment(
        loader=PackageLoader("vkdnw_search.output"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"si": si, "signed": signed}
    return environment


def si(value: float) -> str:
    """``598.2M``."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def signed(value: float) -> str:
    """The number with its sign, ``0`` without."""
    return "0" if value == 0 else ("+" if value > 0 else "−") + si(abs(value))
