"""Docstrings name other objects as Sphinx does, such as ``:class:`Score```; the site shows them as code."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:mod|class|func|meth|attr|data):`~?([^`]+)`")
LITERAL = re.compile(r"``([^`]+)``")
BLOCK = re.compile(r"::$", flags=re.MULTILINE)


class Roles(griffe.Extension):
    """Turns roles and double backticks into Markdown's code, and ``::`` before a block into a colon."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object, before it is parsed."""
        if obj.docstring is not None:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = BLOCK.sub(":", LITERAL.sub(r"`\1`", text))
