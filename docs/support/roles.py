"""Docstrings name other objects as Sphinx does, such as ``:class:`Score```; the site shows them as code."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:mod|class|func|meth|attr|data):`~?([^`]+)`")
LITERAL = re.compile(r"``([^`]+)``")
BLOCK = re.compile(r"::$", flags=re.MULTILINE)
SESSION = re.compile(r"^>>> .*(?:\n.+)*", flags=re.MULTILINE)


class Roles(griffe.Extension):
    """Turns roles, double backticks and sessions into Markdown's code, and ``::`` before a block into a colon."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object, before it is parsed."""
        if obj.docstring is not None:
            text = LITERAL.sub(r"`\1`", ROLE.sub(r"`\1`", obj.docstring.value))
            obj.docstring.value = SESSION.sub(r"```pycon\n\g<0>\n```", BLOCK.sub(":", text))
