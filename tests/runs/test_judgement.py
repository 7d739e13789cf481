"""Judgements of run folders from before there was a second opinion, and records that cannot be true."""

from __future__ import annotations

import json
import math

import pytest

from vkdnw_search.records import Cost
from vkdnw_search.runs.judgement import Judgement, SecondOpinion, Standing, Yardstick

EARLIER = {
    "winner": 5,
    "finalists": [
        {
            "role": "finalist", "number": 5, "key": "a", "values": [1.0, 2.0], "verdict": "the winner",
            "mean": 1.5, "standard_error": 0.5,
        },
        {
            "role": "finalist", "number": 7, "key": "b", "values": [0.5, 1.0], "mean": 0.75, "standard_error": 0.25,
            "verdict": "beaten: +0.7500 ± 0.2500 for the winner (paired t-test, p = 0.2)",
        },
    ],
    "baselines": [],
    "bands": [],
    "correlations": {"flops": 0.5},
    "warnings": ["beware"],
    "untrainable": [],
}  # fmt: skip
"""What the version before wrote."""


def test_a_judgement_of_an_earlier_version_opens_with_its_words() -> None:
    judgement = Judgement.from_json(json.dumps(EARLIER))
    assert judgement.second_opinion is None and judgement.winner == 5
    assert judgement.finalists[1].verdict.startswith("beaten: +0.75")
    assert json.loads(judgement.to_json()) == EARLIER | {"second_opinion": None}


def test_a_second_opinion_comes_back_whole() -> None:
    opinion = SecondOpinion((Standing("FLOPs", 12.0, 37.5, 4),), (Standing("Jacov", -16.25, 100.0, 1),), (8, 16))
    judgement = Judgement(None, (), (), (), {}, (), (), opinion)
    assert Judgement.from_json(judgement.to_json()) == judgement
    assert [s.measure for s in opinion.standings] == ["FLOPs", "Jacov"]


def test_networks_of_the_users_come_back_whole_and_leave_no_trace_where_there_are_none() -> None:
    cost = Cost(5, 4, 3, 2, 1, 1, latency=19_000)
    yardsticks = (
        Yardstick(
            "mine.py", "mine.py:Network sha256 0", cost, "flops 5 is above the limit 4 (by 25 %)", (1.0, 2.0), "…"
        ),
        Yardstick("other.py", "other.py:Network sha256 1", cost, fault="it has two outputs"),
    )
    judgement = Judgement(None, (), (), (), {}, (), yardsticks=yardsticks)
    assert Judgement.from_json(judgement.to_json()) == judgement
    assert yardsticks[0].mean == 1.5 and yardsticks[0].standard_error == pytest.approx(0.5)
    assert math.isnan(yardsticks[1].mean) and math.isnan(yardsticks[1].standard_error)
    assert "yardsticks" not in json.loads(Judgement(None, (), (), (), {}, ()).to_json())


def test_a_yardstick_that_cannot_be_is_refused_by_its_place() -> None:
    text = json.dumps(EARLIER | {"yardsticks": [{"name": "mine.py", "source": "mine.py", "cost": {"flops": "many"}}]})
    with pytest.raises(ValueError, match=r"yardsticks\.0\.cost\.flops"):
        Judgement.from_json(text)


@pytest.mark.parametrize(
    ("value", "percentile", "others"),
    [(math.nan, 50.0, 3), (math.inf, 50.0, 3), (1.0, 100.5, 3), (1.0, -1.0, 3), (1.0, math.nan, 3), (1.0, 50.0, 0)],
)
def test_a_standing_that_cannot_be_is_refused_also_from_a_file(value: float, percentile: float, others: int) -> None:
    with pytest.raises(ValueError, match="a standing needs a finite value and a percentile from 0 to 100"):
        Standing("FLOPs", value, percentile, others)
    row = {"measure": "FLOPs", "value": value, "percentile": percentile, "others": others}
    text = json.dumps(EARLIER | {"second_opinion": {"sizes": [row], "measures": [], "channels": []}})
    with pytest.raises(ValueError, match=r"second_opinion\.sizes\.0"):
        Judgement.from_json(text)
