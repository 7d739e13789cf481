"""A run that goes on from a snapshot is the run that was never stopped."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.quick import Quick, leave_out_the_end
from tests.support.toy_space import Toy, run, sorted_text, toy
from vkdnw_search import Result, search
from vkdnw_search.contracts import HasRefit, HasState, Optimizer
from vkdnw_search.errors import RunFolderError
from vkdnw_search.optimizers.algorithms import AgingEvolution, Evolution, Nsga2, RandomSearch
from vkdnw_search.optimizers.ask_tell import AskTellOptimizer
from vkdnw_search.proxies.aggregate import RankSum
from vkdnw_search.records import Evaluation, Genome

ALL = ("evolution", "aging", "random", "nsga2")
LARGE = toy(20, 5, at_most=0.85)
RARE = toy(15, 8, at_least=0.50, at_most=0.52)  # most draws are refused, some are repaired
SMALL = replace(toy(6, 3, at_most=0.9), key=sorted_text)  # walked through to its end
SPACES = {"large": LARGE, "rare": RARE, "small": SMALL}


def as_read(state: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(state))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("optimizer", [Evolution, AgingEvolution, RandomSearch, Nsga2])
def test_an_optimizer_that_was_restored_asks_what_the_other_asks(optimizer: type[AskTellOptimizer], space: str) -> None:
    chosen = SPACES[space]
    whole = optimizer(chosen.problem())
    done, states = [], []
    while (asked := whole.ask()) and len(done) < 200:
        told = [chosen.evaluate(genome, number=len(done) + i) for i, genome in enumerate(asked)]
        whole.tell(told)
        done += told
        states.append((len(done), as_read(whole.state())))
    assert len(states) > 3 or space == "small"
    for number, state in states[:: max(1, len(states) // 3)] + states[-1:]:
        restored = optimizer(chosen.problem())
        restored.restore(state, iter(done[:number]))
        assert as_read(restored.state()) == state
        assert continued(chosen, restored, number, len(done)) == done[number:]


def continued(space: Toy, optimizer: Optimizer, first: int, last: int) -> list[Evaluation]:
    return [replace(e, number=first + e.number) for e in run(space, optimizer, last - first)] if first < last else []


@pytest.mark.parametrize("optimizer", [Evolution, AgingEvolution, Nsga2])
def test_fitness_that_changes_is_restored_by_telling_it_again(
    optimizer: type[Evolution | AgingEvolution | Nsga2],
) -> None:
    whole, other = optimizer(LARGE.problem()), optimizer(LARGE.problem())
    done: list[Evaluation] = []

    def turn(search: Optimizer, number: int) -> list[Evaluation]:
        told = [LARGE.evaluate(genome, number=number + i) for i, genome in enumerate(search.ask())]
        assert isinstance(search, HasRefit)
        search.refit(fitness([*done[:number], *told]))
        search.tell(told)
        return told

    while len(done) < 200:
        done += turn(whole, len(done))
    other.restore(as_read(whole.state()), done)
    other.refit(fitness(done))
    for _ in range(4):
        told = turn(whole, len(done))
        assert turn(other, len(done)) == told
        done += told


def fitness(evaluations: Iterable[Evaluation]) -> dict[str, float]:
    """Turns with the number of candidates: what was best then is not best now."""
    scored = [e for e in evaluations if e.status == "scored" and e.score is not None]
    return {e.key: e.score.value * (-1) ** (len(scored) // 50) for e in scored if e.score is not None}


# --- whole runs ---------------------------------------------------------------------------------------------------

NB201: dict[str, Any] = {
    "space": {"use": "nasbench201", "channels": 1, "cells": 1},
    "executor": "inline",
    "finalists": 2,
    "stop": {"evaluations": 330},
}
FILES = ("results.csv", "finalists.csv", "best/model.py", "best/architecture.json")


@pytest.fixture
def asks(monkeypatch: pytest.MonkeyPatch) -> list[Genome]:
    """Genomes asked, by runs without report and checks at their end."""
    asked: list[Genome] = []
    stream = AskTellOptimizer.stream

    def counted(self: AskTellOptimizer) -> Iterator[Genome]:
        for genome in stream(self):
            asked.append(genome)
            yield genome

    monkeypatch.setattr(AskTellOptimizer, "stream", counted)
    leave_out_the_end(monkeypatch)
    return asked


def quick(*overrides: str, proxy: Any = None, **options: Any) -> Result:
    return search(NB201, overrides, proxy=proxy or Quick(), **options)


@pytest.mark.parametrize("optimizer", ALL)
def test_a_run_stopped_three_times_is_the_run_that_never_was_to_the_byte(
    tmp_path: Path, optimizer: str, asks: list[Genome]
) -> None:
    use = f"optimizer={optimizer}"
    quick(use, out=tmp_path / "whole")
    assert 330 <= len(asks) < 400
    for stop in (130, 131, 250, 400):
        asks.clear()
        seen: list[Evaluation] = []
        quick(use, out=tmp_path / "part", listener=seen.append, stopped=lambda: len(seen) == stop)  # noqa: B023
        assert [e.number for e in seen] == list(range(min(stop, 330))), (
            "a listener hears of every candidate, known or not"
        )
        if stop > 130:
            assert len(asks) < 250, "asked again from the start"
    for name in FILES:
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert rows(tmp_path / "part") == rows(tmp_path / "whole")


@pytest.mark.parametrize("optimizer", ["evolution", pytest.param("nsga2", marks=pytest.mark.slow)])
def test_fitness_by_rank_goes_on_from_a_snapshot_too(tmp_path: Path, optimizer: str, asks: list[Genome]) -> None:
    use, ranks = f"optimizer={optimizer}", RankSum(proxies={"quick": Quick()}, terms=("layers", "chance"))
    words = (use, "finalists=0", "stop.evaluations=180")
    quick(*words, proxy=ranks, out=tmp_path / "whole")
    quick(*words, "stop.evaluations=140", proxy=ranks, out=tmp_path / "part")
    asks.clear()
    quick(*words, proxy=ranks, out=tmp_path / "part")
    assert len(asks) < 100
    assert (tmp_path / "part/results.csv").read_bytes() == (tmp_path / "whole/results.csv").read_bytes()


def test_a_snapshot_of_another_version_is_not_used_and_the_run_is_the_same(tmp_path: Path, asks: list[Genome]) -> None:
    quick("stop.evaluations=140", out=tmp_path / "part")
    changed(tmp_path / "part", "UPDATE snapshot SET made_by = made_by || '.1', state = '{}'")
    asks.clear()
    quick("stop.evaluations=200", out=tmp_path / "part")
    assert len(asks) >= 200
    quick("stop.evaluations=200", out=tmp_path / "whole")
    assert (tmp_path / "part/results.csv").read_bytes() == (tmp_path / "whole/results.csv").read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE snapshot SET state = '{}'",
        "UPDATE snapshot SET state = json_set(state, '$.random', 'x')",
        "UPDATE snapshot SET state = json_set(state, '$.survivors[0][0]', 10000)",
        "UPDATE snapshot SET state = json_set(state, '$.unseen.place', 'x')",
        "UPDATE snapshot SET number = 100000",
        "UPDATE evaluation SET genome = 'x' WHERE number = 7",
        "DELETE FROM evaluation WHERE number = 7",
    ],
)
def test_a_damaged_snapshot_is_refused_in_words(tmp_path: Path, damage: str, asks: list[Genome]) -> None:
    quick("stop.evaluations=140", out=tmp_path / "run")
    changed(tmp_path / "run", damage)
    with pytest.raises(RunFolderError, match="must be as they were written, but are not"):
        quick(out=tmp_path / "run")


def test_an_optimizer_without_a_state_is_told_everything_again(
    tmp_path: Path, asks: list[Genome], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(RandomSearch(LARGE.problem()), HasState)
    monkeypatch.setattr("vkdnw_search.engine.session.HasState", NoOptimizer)
    use = "optimizer=random"
    quick(use, "stop.evaluations=140", out=tmp_path / "part")
    asks.clear()
    quick(use, "stop.evaluations=200", out=tmp_path / "part")
    assert len(asks) >= 200
    quick(use, "stop.evaluations=200", out=tmp_path / "whole")
    assert (tmp_path / "part/results.csv").read_bytes() == (tmp_path / "whole/results.csv").read_bytes()


class NoOptimizer:
    """Of which none is an instance."""


def changed(out: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(out / "run.sqlite", isolation_level=None)) as database:
        assert database.execute(statement).rowcount == 1


def rows(out: Path) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(out / "run.sqlite")) as database:
        return [
            *database.execute("SELECT * FROM evaluation ORDER BY number"),
            *database.execute("SELECT * FROM generation ORDER BY number"),
            *database.execute("SELECT * FROM snapshot"),
        ]
