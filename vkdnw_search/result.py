"""What a search found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from vkdnw_search.contracts import Architecture, SearchSpace
from vkdnw_search.finalists import Judgement
from vkdnw_search.recipe import Recipe
from vkdnw_search.records import Cost, Evaluation, Score
from vkdnw_search.store import Store


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate with the space it belongs to: all it takes to build or export it."""

    space: SearchSpace[Architecture]
    evaluation: Evaluation

    @property
    def architecture(self) -> Architecture:
        """The decoded genome."""
        return self.space.decode(self.evaluation.genome)

    @property
    def key(self) -> str:
        """The architecture as text."""
        return self.evaluation.key

    @property
    def cost(self) -> Cost:
        """FLOPs, parameters and so on."""
        return self.evaluation.cost

    @property
    def score(self) -> Score:
        """Its score; NaN for a candidate without one."""
        return self.evaluation.score or Score(math.nan)

    def __repr__(self) -> str:
        return (
            f"<{self.space.name} network: score {self.score.value:.4f}, {self.cost.flops / 1e6:.1f}M FLOPs, "
            f"{self.cost.parameters / 1e6:.2f}M parameters: {self.key}>"
        )


def build(found: Found) -> nn.Module:
    """The network, freshly constructed: (N, *space.input_shape) → logits (N, space.num_classes)."""
    return found.space.build(found.architecture)


@dataclass(frozen=True)
class Result:
    """The end of a search.

    Attributes:
        recipe: what was asked.
        best: the finalist with the highest mean over fresh initializations, or without finalists the highest score;
            None if nothing was scored.
        judgement: finalists and trivial baselines, scored anew and compared; None if the search was interrupted.
        ended: why the search ended, in words.
        seconds: of running, over all sittings.
        folder: the run folder, if there is one.
    """

    recipe: Recipe
    space: SearchSpace[Architecture]
    best: Found | None
    judgement: Judgement | None
    ended: str
    seconds: float
    folder: Path | None
    store: Store = field(repr=False)

    @property
    def counts(self) -> dict[str, int]:
        """Status → number of candidates."""
        return self.store.counts()

    @property
    def visited(self) -> int:
        """Number of candidates."""
        return sum(self.counts.values())

    def evaluations(self) -> Iterator[Evaluation]:
        """All candidates, in the order of their numbers."""
        return self.store.evaluations()

    def least_infeasible(self) -> Found | None:
        """Where no candidate is feasible: the one that misses the limits by least."""
        nearest = self.store.least_infeasible()
        return None if nearest is None else Found(self.space, nearest)

    def __repr__(self) -> str:
        name = self.recipe.name or "search"
        return f"<{name}: {self.visited} candidates, {self.ended}; best: {self.best!r}>"
