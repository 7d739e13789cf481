"""The networks of the user's beside the winner: scored on the initializations of the finalists, compared by their test.

A score cannot be had of every network that somebody has written; then the reason is told, and the run goes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace

from vkdnw_search.contracts import AnyProxy, Architecture, HasCostScore, HasFastWay, Probe, SearchSpace
from vkdnw_search.determinism import device_of, forked_generators, one_thread, seed_from, seed_generators
from vkdnw_search.engine.clock import Clock
from vkdnw_search.engine.evaluator import Evaluator
from vkdnw_search.engine.finalists import FRESH, compare, fresh_seeds
from vkdnw_search.engine.named_networks import NetworkFile
from vkdnw_search.engine.rescoring import fresh_fitness
from vkdnw_search.engine.tasks import Outcome, Task, is_lack_of_memory, run_tasks, score_candidate
from vkdnw_search.engine.yardsticks import GivenNetwork
from vkdnw_search.errors import VkdnwSearchError, named
from vkdnw_search.fisher.checkpoints import without_checkpoints
from vkdnw_search.fisher.likelihood import likelihood_of
from vkdnw_search.proxies.plain import score_with
from vkdnw_search.proxies.subject import subject_of
from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.records import Cost, Score
from vkdnw_search.runs.judgement import Finalist, Judgement, Yardstick
from vkdnw_search.runs.store import Store

__all__ = ["FileTask", "beside", "left_out", "score_yardstick", "more_scores_needed"]

NO_NUMBER = -1
"""The number of what is no candidate."""


@dataclass(frozen=True, slots=True)
class FileTask:
    """All that a worker needs to score what a file defines: the outcome is a function of this record and the code."""

    space: SearchSpace[Architecture]
    proxy: AnyProxy
    file: NetworkFile
    cost: Cost
    seed: int

    @property
    def key(self) -> str:
        """File, name and code: a score is kept by it."""
        return self.file.key


def more_scores_needed(given: Sequence[GivenNetwork], recipe: Recipe) -> int:
    """The number of scores that these networks take, at most."""
    return FRESH * len(given) if recipe.finalists else 0


def beside(
    judgement: Judgement,
    given: Sequence[GivenNetwork],
    evaluator: Evaluator,
    store: Store,
    executor: Executor,
    clock: Clock,
    recipe: Recipe,
) -> Judgement:
    """Add the networks to the judgement, scored and compared; they change nothing else in it.

    With ``recipe.finalists`` = 0 nothing is scored anew, and so these are not.

    Raises:
        Interrupted: the run must end. The scores so far are kept in the store.
    """
    if not recipe.finalists:
        fault = "it is not scored, since finalists: 0 scores nothing anew"
        return replace(judgement, yardsticks=tuple(replace(g.yardstick, fault=fault) for g in given))
    scorable = [g for g in given if not g.yardstick.fault]
    outcomes = _outcomes(scorable, evaluator, store, executor, clock)
    told = {
        g.yardstick.source: _judged(g.yardstick, outcomes[g.yardstick.source], judgement, evaluator, store)
        for g in scorable
    }
    return replace(judgement, yardsticks=tuple(told.get(g.yardstick.source, g.yardstick) for g in given))


def left_out(given: Sequence[GivenNetwork], store: Store) -> str:
    """Which networks an earlier session was given and this one is not, in words: folders name no code."""
    sources = {g.yardstick.source for g in given}
    with suppress(ValueError):  # a damaged judgement is made anew
        earlier = Judgement.from_json(store.note("judgement") or "").yardsticks
        if missing := [y.name for y in earlier if y.source not in sources]:
            return (
                f"{', '.join(missing)} stood beside the winner before and no longer do: give the command with --with "
                "again, and what they scored is taken from the folder"
            )
    return ""


def _outcomes(
    given: Sequence[GivenNetwork], evaluator: Evaluator, store: Store, executor: Executor, clock: Clock
) -> dict[str, list[Outcome]]:
    """Source → what came of each initialization. Scores are kept with the run; without one it is tried again."""
    tasks = [_task(g, evaluator, seed) for seed in fresh_seeds(evaluator.seed) for g in given]
    kept = ((place, _kept(task, store)) for place, task in enumerate(tasks))
    found = {place: Outcome(score, "", 0.0) for place, score in kept if score is not None}
    missing = [(place, task) for place, task in enumerate(tasks) if place not in found]
    for place, outcome in run_tasks(missing, executor, call=score_yardstick, lost=_lost, stopped=clock.is_over):
        found[place] = outcome
        if outcome.score is not None:
            store.add_extra_score(tasks[place].key, tasks[place].seed, outcome.score)
    if len(found) < len(tasks):
        clock.check()
    return {
        g.yardstick.source: [found[i] for i in range(place, len(tasks), len(given))] for place, g in enumerate(given)
    }


def _task(given: GivenNetwork, evaluator: Evaluator, seed: int) -> Task | FileTask:
    space, proxy, network, cost = evaluator.space, evaluator.proxy, given.network, given.yardstick.cost
    if isinstance(network, NetworkFile):
        return FileTask(space, proxy, network, cost, seed)
    return Task(space, proxy, None, network.key, cost, seed)


def _kept(task: Task | FileTask, store: Store) -> Score | None:
    kept = store.extra_score(task.key, task.seed)
    return None if kept is None else kept[0]


def _lost(task: Task | FileTask, reason: str) -> Outcome:
    return Outcome(None, reason, 0.0)


def score_yardstick(task: Task | FileTask) -> Outcome:
    """Score a network as a candidate is scored. Runs in a worker; whatever the network raises is the reason."""
    try:
        return score_candidate(task) if isinstance(task, Task) else _score_file(task)
    except VkdnwSearchError as error:
        return Outcome(None, str(error), 0.0)
    except Exception as error:
        return Outcome(None, "takes more memory than there is" if is_lack_of_memory(error) else named(error), 0.0)


def _score_file(task: FileTask) -> Outcome:
    score = task.proxy.score_cost(task.cost) if isinstance(task.proxy, HasCostScore) else _score_of_file(task)
    if not math.isfinite(score.value):
        return Outcome(None, f"the score is {score.value}", 0.0)
    return Outcome(score, "", 0.0)


def _score_of_file(task: FileTask) -> Score:
    """The score of what a file defines, by no fast way that was tried on networks of the space alone."""
    space, proxy = task.space, task.proxy
    if isinstance(proxy, HasFastWay):
        proxy = proxy.careful()
    with one_thread(), forked_generators(seed_from(task.seed, "construction")), without_checkpoints():
        model = task.file.build(space.num_classes)
        subject = subject_of(model, space.input_shape, likelihood=likelihood_of(space))
        probe = Probe(
            subject.input_shape, subject.classes, task.seed, device_of(proxy), task.cost, subject.likelihood,
            inputs=subject.inputs,
        )  # fmt: skip
        copied = subject.copied()  # one that has not run: some networks keep what they compute
        seed_generators(seed_from(task.seed, "proxy"))
        return score_with(proxy, copied, probe)


def _judged(
    yardstick: Yardstick, outcomes: Sequence[Outcome], judgement: Judgement, evaluator: Evaluator, store: Store
) -> Yardstick:
    """The network with its values and the verdict, or with what kept it from having them."""
    scores = [o.score for o in outcomes if o.score is not None]
    if len(scores) < len(outcomes):
        return replace(yardstick, fault=next(o.reason for o in outcomes if o.score is None))
    same, values, winners = _values(yardstick, scores, judgement, evaluator, store)
    winner = next((f for f in judgement.finalists if f.number == judgement.winner and f.values), None)
    if winner is None:
        return replace(yardstick, values=values)
    other = Finalist("yours", NO_NUMBER if same is None else same.number, yardstick.source, values)
    return replace(yardstick, values=values, verdict=compare(replace(winner, values=winners), other))


def _values(
    yardstick: Yardstick, scores: Sequence[Score], judgement: Judgement, evaluator: Evaluator, store: Store
) -> tuple[Finalist | None, tuple[float, ...], tuple[float, ...]]:
    """Who of those judged is the same network; the values of this one; the winner's beside them.

    Fitness that is relative is taken among the candidates, those judged and this network, which moves the winner's a
    little, too. A network that was judged has the values that it was judged by.
    """
    judged = _scored_anew(judgement)
    winner = next((place for place, f in enumerate(judged) if f.number == judgement.winner), None)
    if (same := next((f for f in judged if f.key == yardstick.source), None)) is not None:
        return same, same.values, () if winner is None else judged[winner].values
    seeds = fresh_seeds(evaluator.seed)
    columns = [[*_fresh_scores(judged, seed, store), score] for seed, score in zip(seeds, scores, strict=True)]
    rows = fresh_fitness(columns, evaluator.proxy, store)
    return None, tuple(row[-1] for row in rows), () if winner is None else tuple(row[winner] for row in rows)


def _scored_anew(judgement: Judgement) -> list[Finalist]:
    """All that were scored on fresh initializations, each network once."""
    of_bands = (band.winner for band in judgement.bands if band.winner is not None)
    everyone = {f.number: f for f in (*judgement.finalists, *judgement.baselines, *of_bands)}
    return [f for f in everyone.values() if f.values]


def _fresh_scores(judged: Sequence[Finalist], seed: int, store: Store) -> list[Score]:
    kept = (store.extra_score(f.key, seed) for f in judged)
    return [score for (score,) in filter(None, kept) if score is not None]
