"""Before a run begins: does its score suit its candidates, as far as options and cost tell; is its optimizer one?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from vkdnw_search.contracts import AnyProxy, HasRequirements, Optimizer, Problem, SearchSpace
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.cost.limits import Limits
from vkdnw_search.determinism import seed_from
from vkdnw_search.engine.evaluator import limits_of
from vkdnw_search.errors import OptimizerError, RecipeError, ScoreError
from vkdnw_search.fisher.likelihood import likelihood_of
from vkdnw_search.optimizers.variation import random_genome
from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.records import Cost

TRIES = 20
"""Random candidates, of which that within the limits with the most tensors stands for those of the run."""


def must_suit(proxy: AnyProxy, space: SearchSpace[Any], recipe: Recipe) -> None:
    """Raise what ``proxy`` has against a candidate within the limits, before a run folder is taken.

    Proxies are not asked about spaces that say what their outputs are (HasLikelihood), for these may have outputs at
    more positions than a proxy can know of.

    Raises:
        RecipeError: whatever the proxy of the recipe says.
        ScoreError: the same of a proxy that is not the recipe's.
    """
    if isinstance(proxy, HasRequirements) and likelihood_of(space) == "auto":
        try:
            proxy.require(space.num_classes, partial(_candidate, space, limits_of(recipe), recipe.seed))
        except ScoreError as error:
            if recipe.score is None:
                raise
            raise RecipeError(str(error)) from error


def optimizer_of(make: Callable[[Problem], Optimizer], problem: Problem) -> Optimizer:
    """The optimizer that ``make`` makes of ``problem``. Raises OptimizerError if that is none."""
    made = make(problem) if callable(make) else make
    if not callable(make) or isinstance(made, type) or not all(hasattr(made, member) for member in ("ask", "tell")):
        raise OptimizerError(
            f"optimizer: must make an object with ask and tell of a problem, as a class does or lambda problem: "
            f"Mine(problem), but {'gives' if callable(make) else 'is'} {made!r:.80}. "
            "vkdnw_search.testing.check_optimizer takes the same, and finds what else may be wrong"
        )
    return made


def _candidate(space: SearchSpace[Any], limits: Limits, seed: int) -> Cost | None:
    """What the one of most tensors among random candidates within the limits costs; limits of what takes longer to
    count, such as memory and latency, aside.
    """
    limits = limits.without_on_demand()
    counter, rng = CostCounter(space, limits), np.random.default_rng(seed_from(seed, "requirements"))
    costs = (counter.cost(space.decode(random_genome(space.genes, rng))) for _ in range(TRIES))
    within = (cost for cost in costs if limits.violation(cost) == 0)
    return max(within, key=lambda cost: cost.tensors, default=None)
