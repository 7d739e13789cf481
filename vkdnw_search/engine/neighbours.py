"""The networks one step of one gene away from the winner: is it the best of its surroundings?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vkdnw_search.contracts import Architecture, HasRelativeFitness, SearchSpace
from vkdnw_search.engine.evaluator import Evaluator
from vkdnw_search.engine.rescoring import Rescorer
from vkdnw_search.records import Evaluation, Gene, Genome


@dataclass(frozen=True, slots=True)
class Step:
    """One gene changed: from choice ``before`` to choice ``after``."""

    gene: Gene
    before: int
    after: int
    genome: Genome


def one_step(space: SearchSpace[Architecture], genome: Genome) -> Iterator[Step]:
    """Every other network one step of one gene away, once: an ordered gene moves to the choices beside its own."""
    seen = {space.decode(genome).key}
    for place, (gene, index) in enumerate(zip(space.genes, genome, strict=True)):
        near = (index - 1, index + 1) if gene.ordered else range(len(gene.choices))
        for other in near:
            if 0 <= other < len(gene.choices) and other != index:
                changed: Genome = (*genome[:place], other, *genome[place + 1 :])
                key = space.decode(changed).key
                if key not in seen:
                    seen.add(key)
                    yield Step(gene, index, other, changed)


def score_neighbours(winner: Evaluation, evaluator: Evaluator, rescorer: Rescorer) -> dict[str, float]:
    """Key → score of the feasible networks one step from ``winner`` that have one.

    Empty where fitness is relative: it would take all candidates to compare.

    Raises:
        Interrupted: the run must end. The scores so far are kept in the store.
    """
    if isinstance(evaluator.proxy, HasRelativeFitness):
        return {}
    genomes = [step.genome for step in one_step(evaluator.space, winner.genome)]
    feasible = [genome for genome in genomes if evaluator.violation(genome) == 0]
    scores = rescorer.scores([(genome, None) for genome in feasible])
    return {evaluator.key(genome): s.value for genome, s in zip(feasible, scores, strict=True) if s is not None}
