"""One thread per test process: the processes of ``pytest -n 2`` and of the searches under test share two cores."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from tests.support.processes import long, short
from tests.support.reliability import Report, injected

__all__ = ["injected", "long", "short"]

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", metavar="FILE", help="(as --faults=FILE) write there which faults tests met")


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption("--faults")
    if file is not None and not hasattr(config, "workerinput"):  # a worker of xdist has its results reported
        config.pluginmanager.register(Report(file))
