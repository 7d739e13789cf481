from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vkdnw_search.proxies.aggregate import LogRankSum
from vkdnw_search.proxies.size import Flops
from vkdnw_search.records import Cost, Evaluation, Score, Status
from vkdnw_search.runs.fitness import fitness_of, pareto_front

points = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=30)


def evaluations(values: list[tuple[int, int]]) -> list[Evaluation]:
    return [
        Evaluation(
            n, 0, (n,), str(n), Cost(flops, 0, 0, 0, 0, 0), 0.0, Status.SCORED, "", Score(value, terms={"a": value})
        )
        for n, (value, flops) in enumerate(values)
    ]


@given(points)
def test_the_front_is_what_nothing_beats_and_of_equals_the_first(values: list[tuple[int, int]]) -> None:
    found = evaluations(values)
    kept = [(e.score.value, e.cost.flops) for e in pareto_front(found, fitness_of(found, None)) if e.score]
    undominated = {
        (value, flops)
        for value, flops in values
        if not any(v >= value and f <= flops and (v, f) != (value, flops) for v, f in values)
    }
    assert set(kept) == undominated and len(kept) == len(undominated)
    assert [e.number for e in pareto_front(found, fitness_of(found, None))] == [
        values.index((int(v), f)) for v, f in kept
    ]


def test_relative_fitness_is_taken_over_all_and_what_has_no_score_has_none() -> None:
    found = [
        *evaluations([(3, 1), (1, 1), (2, 1)]),
        Evaluation(3, 0, (3,), "3", Cost(1, 0, 0, 0, 0, 0), 0.0, Status.FAILED),
    ]
    values = fitness_of(found, LogRankSum(proxies={"a": Flops()}))
    assert sorted(values, key=values.__getitem__) == [1, 2, 0]
    assert fitness_of([], LogRankSum(proxies={"a": Flops()})) == {}
