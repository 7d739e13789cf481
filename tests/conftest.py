"""One thread per test process: the processes of ``pytest -n 2`` and of the searches under test share two cores."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from tests.support.processes import long, short
from tests.support.reliability import Report, injected
from vkdnw_search.recipe import registry

__all__ = ["injected", "long", "short"]

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _plug_ins_leave_with_the_test_that_they_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_joined", {kind: dict(joined) for kind, joined in registry._joined.items()})
    monkeypatch.setattr(registry, "_sources", list(registry._sources))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", metavar="FILE", help="(as --faults=FILE) write there which faults tests met")


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption("--faults")
    if file is not None and not hasattr(config, "workerinput"):  # a worker of xdist has its results reported
        config.pluginmanager.register(Report(file))
