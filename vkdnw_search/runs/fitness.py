"""What evaluations are worth beside one another: fitness, and the front of score against FLOPs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vkdnw_search.contracts import HasRelativeFitness
from vkdnw_search.records import Evaluation, Score


def fitness_of(evaluations: Iterable[Evaluation], proxy: object, *, given: int = 0) -> dict[int, float]:
    """Number → fitness of every scored candidate: its score, or where that is relative its place among all of them.

    A proxy may rank among the first of the scores alone, which are to be random networks. So those that the run was
    given to begin with come last.

    Args:
        evaluations: in order of their numbers.
        proxy: of the run; None where it is not known, which takes the scores.
        given: number of the first candidates that the run was given (:func:`vkdnw_search.runs.given.number_given`).
    """
    scored = ((e.number, e.score) for e in evaluations if e.status.has_score and e.score is not None)
    if not isinstance(proxy, HasRelativeFitness):
        return {number: score.value for number, score in scored}  # there may be millions: one score at a time
    among: dict[int, Score] = dict(scored)
    order = sorted(among, key=lambda number: number < given)
    fitness = dict(zip(order, fitness_among([among[number] for number in order], proxy), strict=True))
    return {number: fitness[number] for number in among}


def fitness_among(scores: Sequence[Score], proxy: object) -> list[float]:
    """The fitness of each of ``scores``: its value, or where ``proxy`` has a relative one, that among all of them."""
    if not isinstance(proxy, HasRelativeFitness):
        return [score.value for score in scores]
    return [float(value) for value in proxy.fitness(scores)] if scores else []


def pareto_front(evaluations: Iterable[Evaluation], values: Mapping[int, float]) -> list[Evaluation]:
    """Candidates of which no other has at most their FLOPs and a higher value; by rising FLOPs, of equals the first.

    Args:
        values: number → what is to be high; candidates without are left out.
    """
    scored = [e for e in evaluations if e.number in values]
    kept: list[Evaluation] = []
    for e in sorted(scored, key=lambda e: (e.cost.flops, -values[e.number], e.number)):
        if not kept or values[e.number] > values[kept[-1].number]:
            kept.append(e)
    return kept
