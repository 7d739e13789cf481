"""search(optimizer=…): what makes an optimizer of the problem, in place of the one the recipe names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.quick import Quick, leave_out_the_end
from vkdnw_search import Result, search
from vkdnw_search.contracts import Problem
from vkdnw_search.errors import OptimizerError, RunFolderError
from vkdnw_search.optimizers.algorithms import RandomSearch
from vkdnw_search.records import Genome

RECIPE: dict[str, Any] = {
    "space": {"use": "nasbench201", "channels": 1, "cells": 1},
    "executor": "inline",
    "finalists": 0,
    "stop": {"evaluations": 12},
}


class InOrder:
    """Asks for one genome after the other; three at a time."""

    def __init__(self, problem: Problem, *, first: int = 0) -> None:
        self.problem, self.next, self.told = problem, first, 0

    def ask(self) -> list[Genome]:
        numbers = range(self.next, self.next + 3)
        return [tuple(n // 5**place % 5 for place in range(len(self.problem.space.genes))) for n in numbers]

    def tell(self, evaluations: Any) -> None:
        self.next += 3


@pytest.fixture(autouse=True)
def without_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_the_end(monkeypatch)


def genomes(result: Result) -> list[Genome]:
    return [e.genome for e in result.evaluations()]


def test_a_class_and_a_function_make_the_optimizer_of_a_search() -> None:
    result = search(RECIPE, proxy=Quick(), optimizer=InOrder)
    assert genomes(result) == [(n % 5, n // 5 % 5, 0, 0, 0, 0) for n in range(12)]
    result = search(RECIPE, proxy=Quick(), optimizer=lambda problem: InOrder(problem, first=7))
    assert genomes(result)[0] == (2, 1, 0, 0, 0, 0)


def test_a_shipped_one_finds_what_the_recipe_that_names_it_finds() -> None:
    named = search({**RECIPE, "optimizer": "random", "seed": 3}, proxy=Quick())
    given = search({**RECIPE, "optimizer": "evolution", "seed": 3}, proxy=Quick(), optimizer=RandomSearch)
    assert genomes(given) == genomes(named)
    assert given.recipe.optimizer is None, "what the recipe says of it is dropped"


def test_a_run_goes_on_with_it_and_is_another_run_without(tmp_path: Path) -> None:
    whole = search(RECIPE, proxy=Quick(), optimizer=InOrder, out=tmp_path / "whole")
    search(RECIPE, ["stop.evaluations=5"], proxy=Quick(), optimizer=InOrder, out=tmp_path / "part")
    part = search(RECIPE, proxy=Quick(), optimizer=InOrder, out=tmp_path / "part")
    assert genomes(part) == genomes(whole)
    assert (tmp_path / "part/results.csv").read_bytes() == (tmp_path / "whole/results.csv").read_bytes()
    with pytest.raises(RunFolderError, match="optimizer"):
        search(RECIPE, proxy=Quick(), out=tmp_path / "part")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda problem: 3, "but gives 3"),
        (lambda problem: RandomSearch, "but gives <class"),
        (42, "but is 42"),
        ("evolution", "but is 'evolution'"),
    ],
)
def test_what_makes_no_optimizer_is_told_what_does(given: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(OptimizerError, match=f"must make an object with ask and tell of a problem.*{message}"):
        search(RECIPE, proxy=Quick(), optimizer=given, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
