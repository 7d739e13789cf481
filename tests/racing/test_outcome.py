"""Places, errors and tests of a race, against hand-worked examples."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vkdnw_search.racing.outcome import COLUMNS, Race, Racer, mcnemar, standing
from vkdnw_search.racing.schedule import Rung

RUNGS = (Rung(4, 1), Rung(2, 3))


def right(*labelled: int, images: int = 10) -> np.ndarray:
    return np.array([[number in labelled for number in range(images)]])


def racer(name: str, *accuracies: float, roles: tuple[str, ...] = (), labelled: Any = None, **more: Any) -> Racer:
    given = {"score": None, "reason": "", **more}
    seen = right(*range(round(10 * accuracies[-1]))) if accuracies else np.zeros((0, 0), bool)
    return Racer(
        name=name,
        roles=roles,
        key=f"key of {name}",
        flops=1,
        parameters=2,
        accuracies=tuple((a,) for a in accuracies),
        right=seen if labelled is None else labelled,
        folder=Path(name),
        **given,
    )


def test_mcnemars_p_is_that_of_the_binomial_distribution() -> None:
    """One is right where the other is wrong 1 time, the other way round 5 times: p = 2 (1 + 6) / 2⁶."""
    first, second = right(0, 1, 2, 3, 4), right(5)
    assert mcnemar(first, second) == pytest.approx(2 * (1 + 6) / 2**6)
    assert mcnemar(first, first) == 1
    assert mcnemar(right(0), right()) == 1
    assert mcnemar(right(*range(10)), right()) == pytest.approx(2 / 2**10)


def test_the_error_is_that_of_the_images_and_of_the_seeds() -> None:
    one = racer("a", 0.8)
    assert one.standard_error == pytest.approx(math.sqrt(0.8 * 0.2 / 10))
    two = Racer("a", (), "k", None, 1, 1, ((0.7, 0.9),), np.zeros((2, 10), bool), "", Path("a"))
    assert two.accuracy == pytest.approx(0.8)
    assert two.standard_error == pytest.approx(math.sqrt(0.8 * 0.2 / 10 + 0.02 / 2))
    assert math.isnan(racer("c", reason="broken").standard_error)


def example() -> Race:
    racers = [
        racer("failed", reason="RuntimeError: too small"),
        racer("searched", 0.5, 0.6, roles=("winner",), score=3.0),
        racer("early", 0.4, score=2.0, roles=("finalist",)),
        racer("best", 0.6, 0.9, score=5.0, labelled=right(*range(1, 10))),
        racer("yours", 0.3, roles=("yours",)),
        racer("last", 0.2, score=1.0),
    ]
    return Race(tuple(standing(racers)), RUNGS, 10, 1, Path())


def test_who_came_further_stands_before_who_did_not_and_failures_are_last() -> None:
    race = example()
    assert [r.name for r in race.racers] == ["best", "searched", "early", "yours", "last", "failed"]
    assert [race.epochs(r) for r in race.racers] == [3, 3, 1, 1, 1, 0]
    equal = [racer("b", 0.5), racer("a", 0.5)]
    assert standing(equal) == equal


def test_the_score_is_compared_with_the_accuracy_that_all_have() -> None:
    """Of scores 5, 3, 2, 1 and accuracies .6, .5, .4, .2 the order is the same; two are too few."""
    assert example().correlation == pytest.approx(1)
    few = [racer("a", 0.5, score=1.0), racer("b", 0.6, score=2.0), racer("c", 0.7)]
    assert math.isnan(Race(tuple(few), RUNGS, 10, 1, Path()).correlation)
    alike = [racer(name, 0.5, score=2.0) for name in "abc"]
    assert math.isnan(Race(tuple(alike), RUNGS, 10, 1, Path()).correlation)


def test_the_winner_is_compared_with_who_trained_as_long() -> None:
    """Right alone: the winner 6, 7, 8 and 9, the other 0: p = 2 (1 + 5) / 2⁵."""
    race = example()
    best, searched, early, *_ = race.racers
    assert race.compared(searched) == pytest.approx(2 * (1 + 5) / 2**5)
    assert math.isnan(race.compared(best)) and math.isnan(race.compared(early))


def test_the_outcome_in_words_and_as_a_table() -> None:
    race = example()
    words = race.in_words()
    assert " 1   90.00% ± 9.49%  after   3  best ()" in words
    assert "searched (winner)  p = 0.38: cannot be told from the first" in words
    assert "6  cannot be trained: failed (): RuntimeError: too small" in words
    assert (
        "The network that learned best is best. The winner of the search was 30.00 points behind it after 3 epochs."
        in words
    )
    assert "the score ordered these networks at ρ = 1.00 (Spearman, accuracy after 1 epoch)." in words
    rows = list(csv.DictReader(io.StringIO(race.to_csv())))
    assert tuple(rows[0]) == COLUMNS and [row["place"] for row in rows] == list("123456")
    assert rows[0]["mcnemar_p"] == rows[5]["accuracy"] == rows[3]["score"] == "" and rows[5]["reason"]
    assert len(race.to_frame()) == 6
    won = Race((racer("a", 0.5, 0.9, roles=("winner",)), racer("b", 0.5, 0.8)), RUNGS, 10, 1, Path())
    assert "The winner of the search learned best." in won.in_words()
