"""The examples do what their first lines say."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import pytest

from tests.support.documents import ROOT, run
from tests.support.generated_source import load

EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.slow


def test_a_search_from_a_recipe_continues_exports_and_its_winner_learns(tmp_path: Path) -> None:
    told = run(["bash", str(EXAMPLES / "search_from_recipe.sh"), "found"], tmp_path)
    assert "vkdnw_single" in told
    with (tmp_path / "found/results.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 45
    second = load(tmp_path / "found.second.py").Network(num_classes=10)
    assert sum(p.numel() for p in second.parameters()) > 0
    told = run([sys.executable, str(EXAMPLES / "train_the_winner.py"), "found/best/model.py", "2"], tmp_path)
    accuracy = re.search(r"test accuracy (\S+)", told)
    assert accuracy is not None and float(accuracy[1]) > 0.5  # by chance: 0.1


def test_a_search_from_python_leaves_a_module_and_a_figure(tmp_path: Path) -> None:
    told = run([sys.executable, str(EXAMPLES / "search_from_python.py"), "found"], tmp_path)
    assert "the winner" in told and "on the Pareto front" in told
    assert load(tmp_path / "found/model.py").Network(num_classes=4)
    assert (tmp_path / "found/search.png").stat().st_size > 1000
