"""What the tests of races begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.quick import leave_out_the_end
from tests.support.races import RECIPE, unchecked
from vkdnw_search import search


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        leave_out_the_end(patch)
        search(RECIPE, out=folder).close()
    return folder


@pytest.fixture(autouse=True)
def _unchecked() -> Iterator[None]:
    with unchecked():
        yield
