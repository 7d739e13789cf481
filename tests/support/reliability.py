"""What the fault tests did and what came of it, from their own report to a table of docs/what-survives.md.

    python -m pytest -m fault --faults=faults.json
    python -m tests.support.reliability faults.json docs/what-survives.md

A test says how often it injected a fault once it has seen the outcome. One that fails says nothing, and stands in the
table as failed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vkdnw_search.recipe.reference_table import put

Injected = Callable[[str, int, str], None]
"""(fault, times it was injected, outcome): for a test to call after its last assertion on them."""

NAME = "reliability table"
FAILED = "**not survived: the test failed**"


@pytest.fixture
def injected(record_property: Callable[[str, object], None]) -> Injected:
    """Reports a fault that the test injected and what came of it."""

    def report(fault: str, times: int, outcome: str) -> None:
        assert times > 0, f"{fault}: was not injected at all"
        record_property("fault", {"fault": fault, "times": times, "outcome": outcome})

    return report


class Report:
    """A pytest plug-in that gathers what tests report and writes it at the end."""

    def __init__(self, file: str) -> None:
        self._file = Path(file).absolute()
        self._rows: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take over what one test reports."""
        if report.when == "call" and report.passed:
            told = (value for name, value in report.user_properties if name == "fault")
            self._rows += [{"test": report.nodeid, **row} for row in told if isinstance(row, dict)]
        elif report.failed and "fault" in report.keywords:
            name = report.nodeid.partition("::test_")[2].replace("_", " ")
            self._rows.append({"test": report.nodeid, "fault": name, "times": 0, "outcome": FAILED})

    def pytest_sessionfinish(self) -> None:
        """Write the report, in an order that does not depend on which process ran which test."""
        rows = sorted(self._rows, key=lambda row: str(row["test"]))
        self._file.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def reliability_table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of a report; the times of a fault with the same outcome in several tests are added up."""
    times: dict[tuple[str, str], int] = {}
    for row in rows:
        place = (row["fault"], row["outcome"])
        times[place] = times.get(place, 0) + row["times"]
    lines = [f"| {fault} | {number} | {outcome} |\n" for (fault, outcome), number in times.items()]
    return "| fault | times injected | outcome |\n|---|---|---|\n" + "".join(lines)


def main(arguments: list[str]) -> int:
    """Print the table of a report, or write it between its two marks in the file that is named second."""
    report, *target = map(Path, arguments)
    table = reliability_table(json.loads(report.read_text(encoding="utf-8")))
    if target:
        put(table, target[0], NAME)
    else:
        print(table, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
