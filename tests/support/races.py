"""Races of tiny networks on the digits of scikit-learn: what the tests of racing share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vkdnw_search import Race
from vkdnw_search.execution.executors import inline
from vkdnw_search.racing.race import Plan, run_race
from vkdnw_search.runs.reader import RunReader

RECIPE: dict[str, Any] = {
    "space": {"use": "nasbench201", "cells": 1, "channels": 4, "resolution": 16},
    "score": "trainable_layers",
    "optimizer": {"use": "random", "children": 10},
    "stop": {"evaluations": 12},
    "executor": "inline",
    "finalists": 4,
}
WORDS = ("--size", "8", "--batch", "64")
PLAN = Plan(data="digits", epochs=3, words=WORDS)


def raced(run: Path, out: Path, plan: Plan = PLAN, **more: Any) -> Race | None:
    """A race in this process, of five networks unless ``more`` says otherwise."""
    with RunReader(run) as visited:
        return run_race(visited, plan, out=out, executor=inline(), networks=more.pop("networks", 5), **more)


@contextmanager
def unchecked() -> Iterator[None]:
    """Modules are not compared with what was searched, which takes seconds and has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vkdnw_search.output.module._must_equal", lambda modules, check: None)
        yield
