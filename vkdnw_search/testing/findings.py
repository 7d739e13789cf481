"""What a check has found so far: of every kind of fault the first one met, since one is enough to mend it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from vkdnw_search.errors import ConformanceError, named

LONGEST = 600
"""Number of characters of a foreign error that are repeated."""


class Findings:
    """Collects sentences about ``subject`` and raises them together."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self._found: dict[str, str] = {}

    def add(self, kind: str, sentence: str) -> None:
        """Note the first fault of a kind; later ones are the same mistake."""
        self._found.setdefault(kind, sentence)

    def require(self, holds: bool, kind: str, sentence: str) -> bool:
        """Note ``sentence`` unless it ``holds``. Returns whether it holds."""
        if not holds:
            self.add(kind, sentence)
        return holds

    @contextmanager
    def no_error(self, kind: str, what: str, mend: str) -> Iterator[None]:
        """Note an exception in the block: ``what`` must work, but raised it; ``mend`` says how to mend it."""
        try:
            yield
        except Exception as error:
            self.add(kind, f"{what}, but raised {said(error)}. {mend}")

    def report(self) -> None:
        """Raise ConformanceError if anything was found."""
        if self._found:
            raise ConformanceError(self.subject, self._found.values())


def said(error: Exception) -> str:
    """An exception in one line of text."""
    return " ".join(named(error).split())[:LONGEST]


def global_random_state() -> tuple[object, ...]:
    """The states of the random generators that everybody shares, in a form that can be compared."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return random.getstate(), name, np.asarray(keys).tobytes(), *rest, torch.random.get_rng_state().numpy().tobytes()
