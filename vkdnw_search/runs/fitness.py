"""What evaluations are worth beside one another: fitness, and the front of score against FLOPs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vkdnw_search.contracts import HasRelativeFitness
from vkdnw_search.records import Evaluation, Score


def fitness_of(evaluations: Iterable[Evaluation], proxy: object) -> dict[int, float]:
    """Number → fitness of every scored candidate: its score, or where that is relative its place among all of them.

    Args:
        proxy: of the run; None where it is not known, which takes the scores.
    """
    scored = ((e.number, e.score) for e in evaluations if e.status.has_score and e.score is not None)
    if not isinstance(proxy, HasRelativeFitness):
        return {number: score.value for number, score in scored}  # there may be millions: one score at a time
    among: dict[int, Score] = dict(scored)
    return dict(zip(among, fitness_among(list(among.values()), proxy), strict=True))


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
