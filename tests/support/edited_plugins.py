"""A plug-in file that is edited between two starts of the program, and starts that happen in one process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vkdnw_search.execution import same_code
from vkdnw_search.recipe import registry

TEXT = '''
from dataclasses import dataclass
from vkdnw_search.records import Score


@dataclass(frozen=True, kw_only=True)
class Edited:
    """A number for each tensor."""

    def score_cost(self, cost):
        return Score({factor} * cost.tensors)

    def __call__(self, model, probe):
        return self.score_cost(probe.cost)


PROXIES = {{"edited": Edited}}
'''


def write_plugin(path: Path, *, factor: int) -> Path:
    """The proxy ``edited``, which gives ``factor`` for each tensor."""
    path.write_text(TEXT.format(factor=factor), encoding="utf-8")
    return path


@contextmanager
def fresh_start() -> Iterator[None]:
    """As in a process that has just been started: no plug-in has joined, and no code was compared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_joined", {kind: {} for kind in registry.KINDS})
        patch.setattr(registry, "_sources", [])
        patch.setattr(same_code, "_compared", [])
        before = {*sys.modules}
        yield
    for name in {*sys.modules} - before:
        if name.startswith("vkdnw_plugin_"):
            del sys.modules[name]
