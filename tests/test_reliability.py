"""The report of the fault tests against the tests themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.reliability import FAILED, NAME, Report, main, reliability_table

TESTS = """
import pytest
from tests.support.reliability import injected
pytestmark = pytest.mark.fault

@pytest.mark.parametrize("times", [2, 3])
def test_survived(injected, times):
    injected("a fault", times, "nothing happened")
    injected("another", 1, "nothing happened")

def test_not_survived(injected):
    injected("a fault", 5, "nothing happened")
    assert False

def test_never_injected(injected):
    injected("a third", 0, "nothing happened")
"""


def test_the_report_has_what_passing_tests_told_and_names_those_that_failed(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = fault\n")
    words = ["-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path / "test_it.py"]
    assert (
        pytest.main(list(map(str, words)), plugins=[Report(str(tmp_path / "told.json"))])
        == pytest.ExitCode.TESTS_FAILED
    )
    rows = json.loads((tmp_path / "told.json").read_text())
    assert [(row["fault"], row["times"], row["outcome"]) for row in rows] == [
        ("never injected", 0, FAILED),
        ("not survived", 0, FAILED),
        *[("a fault", 2, "nothing happened"), ("another", 1, "nothing happened")],
        *[("a fault", 3, "nothing happened"), ("another", 1, "nothing happened")],
    ]
    assert "| a fault | 5 | nothing happened |\n| another | 2 | nothing happened |\n" in reliability_table(rows)


def test_the_table_is_written_between_its_marks(tmp_path: Path) -> None:
    readme, report = tmp_path / "README.md", tmp_path / "told.json"
    readme.write_text(f"Above\n<!-- {NAME}: how -->\nold\n<!-- end of {NAME} -->\nBelow\n")
    report.write_text(json.dumps([{"test": "t", "fault": "f", "times": 3, "outcome": "o"}]))
    for _ in range(2):
        main([str(report), str(readme)])
        assert readme.read_text() == (
            f"Above\n<!-- {NAME}: how -->\n| fault | times injected | outcome |\n|---|---|---|\n| f | 3 | o |\n"
            f"<!-- end of {NAME} -->\nBelow\n"
        )
