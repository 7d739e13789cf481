"""Take turns with a search: ask what was never asked, be told what came of it. What all optimizers share.

The option types are what a recipe checks its numbers against, and their text is what the documentation says.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Interval

from vkdnw_search.contracts import Problem
from vkdnw_search.errors import OptimizerError
from vkdnw_search.optimizers.sampling import UnvisitedSampler
from vkdnw_search.records import Evaluation, Genome

Survivors = Annotated[int, Interval(ge=2, le=100_000), "candidates that survive a generation"]
Children = Annotated[int, Interval(ge=1, le=100_000), "candidates asked per generation, whatever the number of workers"]
Initial = Annotated[int | None, Interval(ge=2, le=100_000), "random candidates to begin with; none: as many as survive"]
CrossoverShare = Annotated[float, Interval(ge=0, le=1), "probability that two parents are mixed gene by gene"]
Moves = Annotated[float, Interval(gt=0, le=1000), "genes a mutation changes on average, unless the space mutates"]
Proposals = Annotated[
    int | None,
    Interval(ge=1, le=100),
    "children bred for each that is asked; none: 4 where there are bands, else 1",
]
RepairTries = Annotated[int, Interval(ge=0, le=100_000), "changes tried to bring a genome within the limits; 0: none"]


class AskTellOptimizer(ABC):
    """The base of the optimizers here: ``ask`` and ``tell`` take turns, and no key is asked twice."""

    def __init__(self, problem: Problem, *, repair_tries: int) -> None:
        self._unseen = UnvisitedSampler(problem, repair_tries=repair_tries)
        self._given: list[Genome] = []
        self._asked: list[Genome] = []
        self._whole = True  # whether all of the last generation was asked
        self._ended = False

    def begin_with(self, genomes: Sequence[Genome]) -> None:
        """Ask these first, and breed from them as from the random candidates of the first generation."""
        self._given = list(genomes)

    def ask(self) -> list[Genome]:
        """The next generation: genomes whose keys were never asked before. Empty when the space is exhausted.

        Raises:
            OptimizerError: the last generation was not told, or not to its end.
        """
        return list(self.stream())

    def stream(self) -> Iterator[Genome]:
        """Yield what ``ask`` gives, each genome bred when it is taken.

        A generation that is not taken to its end is the last, as is one that is not told to its end.
        """
        if self._asked or self._ended:
            raise OptimizerError(
                f"{type(self).__name__}.ask: all of the last generation must be told first, but "
                f"{'only a part' if self._ended else 'nothing'} was. Tell the outcome of every genome asked."
            )
        self._whole = False
        for genome in self._propose():
            self._asked.append(genome)
            self._unseen.mark((self._unseen.key(genome),))
            yield genome
        self._whole = True

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn the outcome of the last ask, in its order. Where fewer are told than were asked, no other ask may
        follow.

        Raises:
            OptimizerError: these are not evaluations of the genomes asked, in that order.
        """
        for position, evaluation in enumerate(evaluations):
            asked = self._asked[position] if position < len(self._asked) else "nothing"
            if evaluation.genome != asked:
                raise OptimizerError(
                    f"{type(self).__name__}.tell, position {position}: must be the outcome of {asked} as asked, but is "
                    f"of {evaluation.genome}. A stored run replays only with the seed and options it was made with."
                )
        self._ended = not self._whole or len(evaluations) < len(self._asked)
        self._asked = []
        if evaluations:
            self._learn(evaluations)

    def state(self) -> dict[str, Any]:
        """What the next asks depend on besides the evaluations told, as plain data."""
        return {"unseen": self._unseen.state()}

    def restore(self, state: Mapping[str, Any], told: Iterable[Evaluation]) -> None:
        """Become the optimizer that gave ``state`` once it had been told ``told``, all evaluations from the first
        on.
        """
        self._unseen.mark(evaluation.key for evaluation in told)
        self._unseen.restore(state["unseen"])
        self._given = []  # they were asked first

    def _opening(self, count: int) -> list[Genome]:
        """Up to ``count`` random genomes; the first time after those that were given."""
        given, self._given = self._given, []
        return [*given, *self._unseen.draw(count, besides=given)]

    @abstractmethod
    def _propose(self) -> Iterable[Genome]:
        """Yield new genomes with different keys; none if there are no more. Each is marked as asked when it is
        taken.
        """

    @abstractmethod
    def _learn(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn at least one outcome of what was proposed, in its order."""
