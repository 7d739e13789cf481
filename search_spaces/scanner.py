"""Reads an architecture's text from left to right, so that an error can say where and what was expected."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vkdnw_search.errors import SpaceError

_NUMBER = re.compile(r"[0-9]{1,5}(?![0-9])")


@dataclass
class Scanner:
    """A position in a text that moves on with everything read.

    Attributes:
        text: what is read.
        subject: what the text is, for errors, such as ``cell``.
        position: index of the next character.
    """

    text: str
    subject: str
    position: int = 0

    def literal(self, expected: str) -> None:
        """Read exactly ``expected``."""
        if not self.text.startswith(expected, self.position):
            raise self.error(repr(expected))
        self.position += len(expected)

    def pattern(self, pattern: re.Pattern[str], what: str) -> str:
        """Read the longest match of ``pattern``, described by ``what`` in errors."""
        match = pattern.match(self.text, self.position)
        if match is None:
            raise self.error(what)
        self.position = match.end()
        return match.group()

    def number(self, what: str, *, allowed: tuple[int, ...] = ()) -> int:
        """Read a positive whole number of at most five digits, one of ``allowed`` if that is not empty."""
        start = self.position
        value = int(self.pattern(_NUMBER, f"{what}, a whole number of at most five digits"))
        if value < 1 or (allowed and value not in allowed):
            must = " or ".join(map(str, allowed)) if allowed else "at least 1"
            raise self.error(f"{what} to be {must}", at=start)
        return value

    def end(self) -> None:
        """Insist that everything was read."""
        if self.position < len(self.text):
            raise self.error("the end")

    def error(self, expected: str, *, hint: str = "", at: int | None = None) -> SpaceError:
        """The error that at this position (or ``at``) something else was expected."""
        position = self.position if at is None else at
        rest = self.text[position : position + 24]
        found = f"found {rest!r}" if rest else "the text ends"
        return SpaceError(f"{self.subject} {self.text!r}, position {position}: expected {expected}, but {found}.{hint}")
