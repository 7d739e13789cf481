"""What a report tells of a run, as plain numbers and words; how it looks is in the template."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.engine.evaluator import limits_of
from vkdnw_search.engine.neighbours import one_step
from vkdnw_search.records import Evaluation
from vkdnw_search.runs.given import number_given
from vkdnw_search.runs.reader import RunReader

GOOD = 0.1
"""The share of the scored networks that count as the good ones."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One step of one gene away from the winner, and what it changes; differences are new − winner.

    Attributes:
        score: difference of fitness, or None where that network was not scored.
    """

    gene: str
    before: object
    after: object
    flops: int
    parameters: int
    tensors: int
    feasible: bool
    score: float | None


@dataclass(frozen=True, slots=True)
class Shared:
    """The value of a gene that the good networks have most, and how frequent it is among them and among all."""

    gene: str
    value: object
    good: float
    all: float


def mutations(visited: RunReader, winner: Evaluation) -> list[Mutation]:
    """Every other network that is one step of one gene away: an ordered gene moves to the choices beside it."""
    limits, found, old = limits_of(visited.recipe), [], winner.cost
    counter = CostCounter(visited.space, limits, visited.latencies)
    known = visited.neighbours | {e.key: visited.fitness[e.number] for e in visited.ranked}
    for step in one_step(visited.space, winner.genome):
        architecture = visited.space.decode(step.genome)
        cost, score = counter.cost(architecture), known.get(architecture.key)
        found.append(
            Mutation(
                step.gene.name,
                step.gene.choices[step.before],
                step.gene.choices[step.after],
                cost.flops - old.flops,
                cost.parameters - old.parameters,
                cost.tensors - old.tensors,
                limits.violation(cost) == 0,
                None if score is None else score - visited.fitness[winner.number],
            )
        )
    return found


def surroundings(mutations: Sequence[Mutation], winner: Evaluation) -> str:
    """Whether the winner is the best of its surroundings, in words; empty where these were not scored."""
    scores = [m.score for m in mutations if m.feasible and m.score is not None]
    error = 0.0 if winner.score is None or math.isnan(winner.score.standard_error) else winner.score.standard_error
    better = [score for score in scores if score > 2 * error]
    if not scores:
        return ""
    if better:
        return (
            f"{len(better)} of the {len(scores)} that were scored exceed the winner by more than two standard errors, "
            f"by up to {max(better):.4g}: a longer search would go on from there."
        )
    return f"None of the {len(scores)} that were scored exceeds the winner by more than two standard errors."


def shared(visited: RunReader) -> list[Shared]:
    """For each gene what the best tenth have in common, the most telling first."""
    scored = [e for e in visited.evaluations if e.number in visited.fitness]
    good = visited.ranked[: max(math.ceil(GOOD * len(scored)), 1)]
    rows = []
    for place, gene in enumerate(visited.space.genes):
        counts = Counter(e.genome[place] for e in good)
        index, number = counts.most_common(1)[0]
        everywhere = sum(e.genome[place] == index for e in scored) / len(scored)
        rows.append(Shared(gene.name, gene.choices[index], number / len(good), everywhere))
    return sorted(rows, key=lambda row: row.all - row.good)


def best_so_far(visited: RunReader) -> list[tuple[int, float]]:
    """(candidates visited, best fitness until then), at each improvement and at the end."""
    points: list[tuple[int, float]] = []
    for e in visited.evaluations:
        value = visited.fitness.get(e.number)
        if value is not None and (not points or value > points[-1][1]):
            points.append((e.number + 1, value))
    return [*points, (len(visited.evaluations), points[-1][1])] if points else []


def deciles(evaluation: Evaluation) -> list[float]:
    """The deciles of the Fisher spectrum; empty where the score has none."""
    terms = {} if evaluation.score is None else evaluation.score.terms
    return [terms[f"decile_{k}"] for k in range(1, 10) if f"decile_{k}" in terms]


def random_network(visited: RunReader, winner: Evaluation) -> Evaluation | None:
    """The first scored network, drawn before the search had learnt anything."""
    given = number_given(visited.store)
    others: Sequence[Evaluation] = [e for e in visited.evaluations if e.number in visited.fitness and e.number >= given]
    return next((e for e in others if e.number != winner.number), None)
