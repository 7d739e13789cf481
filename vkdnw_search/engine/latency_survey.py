"""Before the first candidate: what most of them will need is timed, and sums of parts are fitted to whole networks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from vkdnw_search.contracts import HasNeeds, HasParts, SearchSpace, TimesNetworks
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.cost.latency import LatencyTable
from vkdnw_search.cost.limits import Limits
from vkdnw_search.determinism import seed_from
from vkdnw_search.errors import LatencyError
from vkdnw_search.optimizers.variation import random_genome

LOGGER = logging.getLogger(__name__)

SURVEYED = 200
"""Number of random candidates whose latency is had first: after so many, hardly a kind of part is new."""

DRAWN = 400
"""Number of random candidates among which whole networks are chosen for the correction."""


def random_networks(space: SearchSpace[Any], count: int, *seed: int | str) -> list[Any]:
    """So many architectures of random genomes."""
    rng = np.random.default_rng(seed_from(*seed))
    return [space.decode(random_genome(space.genes, rng)) for _ in range(count)]


def networks_to_correct(space: SearchSpace[Any], limits: Limits, count: int) -> list[Any]:
    """The whole networks that a correction is fitted to: random ones, those within the limits other than latency first.

    They do not depend on the seed of a run, so that a table measured elsewhere serves all seeds.
    """
    counter = CostCounter(space)
    others = limits.without_on_demand()
    drawn = {a.key: a for a in random_networks(space, DRAWN, "networks to correct latencies by")}
    ranked = sorted(drawn.values(), key=lambda a: others.violation(counter.cost(a)) > 0)  # sorting keeps the order else
    return ranked[:count]


def must_be_known(table: LatencyTable[Any], space: SearchSpace[Any], seed: int) -> None:
    """Raise LatencyError if the source knows beforehand that it lacks what random candidates need."""
    if isinstance(table.source, HasNeeds):
        table.source.require(_needed(table, space, seed))


def survey(
    table: LatencyTable[Any],
    space: SearchSpace[Any],
    limits: Limits,
    seed: int,
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> str:
    """Have the latencies of random candidates, and fit the correction that the source asks for.

    Args:
        table: is filled. A correction that it has from an earlier session stays.
        space: of the candidates.
        limits: of the run.
        seed: of the run.
        stopped: asked between networks; once it is True, what is left is timed when it is needed.

    Returns:
        What came of it, in words.

    Raises:
        LatencyError: the source can tell the latency of none of them.
    """
    faults = []
    for architecture in random_networks(space, SURVEYED, seed, "survey"):
        if stopped():
            break
        faults.append(table.fault(architecture))
    if faults and all(faults):
        raise LatencyError(f"no latency of {len(faults)} random candidates is known. Of the first: {faults[0]}")
    if unknown := sum(map(bool, faults)):
        LOGGER.warning(
            "%d of %d random candidates have no latency and are outside the limits. %s",
            unknown, len(faults), next(filter(None, faults)),
        )  # fmt: skip
    if not stopped():
        _correct(table, space, limits)
    return in_words(table)


def in_words(table: LatencyTable[Any]) -> str:
    """How latencies are had, how far their runs lie apart, and the correction."""
    runs = f", quartiles of the runs {table.spread:.1%} apart" if table.spread else ""
    line = "" if table.correction is None else f"; {table.correction}"
    return f"{table.timed} timings by {type(table.source).__name__}{runs}{line}"


def _needed(table: LatencyTable[Any], space: SearchSpace[Any], seed: int) -> list[str]:
    """The names of all that the source is asked for by the survey, each once."""
    return list(dict.fromkeys(n for a in random_networks(space, SURVEYED, seed, "survey") for n in table.modules(a)))


def _correct(table: LatencyTable[Any], space: SearchSpace[Any], limits: Limits) -> None:
    source = table.source
    if table.correction or not isinstance(source, TimesNetworks) or not source.correction or source.whole:
        return
    if not isinstance(space, HasParts):
        return  # every candidate is timed whole
    LOGGER.info("timing %d whole networks", source.correction)
    try:
        table.correct(networks_to_correct(space, limits, source.correction))
    except ValueError as error:
        LOGGER.warning("latencies are sums of parts, without a correction: %s", error)
