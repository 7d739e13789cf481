"""The last word on a search: the best candidates are scored anew, compared, and held against trivial choices.

The highest of many noisy scores is high partly by luck. So the finalists are scored again on fresh initializations,
the same ones for all, and the one with the highest mean wins; a paired t-test says whether its lead is real. The same
care goes to what one could have chosen without any search: the most FLOPs, the most parameters, the deepest, any.
Nothing is declared a winner that cannot be trained (trainability.py): the next takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from heapq import nlargest
from itertools import chain, pairwise

import numpy as np
import torch
from scipy import stats

from vkdnw_search.contracts import HasRelativeFitness, Proxy
from vkdnw_search.determinism import one_thread, seed_from
from vkdnw_search.engine.evaluator import Evaluator
from vkdnw_search.engine.tasks import run_tasks
from vkdnw_search.engine.trainability import check
from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.records import Evaluation, Score
from vkdnw_search.runs.fitness import fitness
from vkdnw_search.runs.judgement import BandWinner, Finalist, Judgement
from vkdnw_search.runs.store import MOST_FLOPS, Store

FRESH = 8
"""Fresh initializations of each finalist: enough for a paired test to see a lead of about one standard deviation."""
TRIED = 10
"""Candidates that may take the place of one that cannot be trained, where no finalists are scored anew."""
SIGNIFICANT = 0.05
"""A lead is called real if chance alone would give it in fewer than one of twenty comparisons."""
COUNTS_ONLY = 0.95
"""Spearman's ρ from which on a score tells little that the size does not tell: ℵ of NAS-Bench-201 has seven levels,
and any order within them leaves 0.96."""

BASELINES: dict[str, Callable[[Evaluation], float]] = {
    "most FLOPs": lambda e: e.cost.flops,
    "most parameters": lambda e: e.cost.parameters,
    "deepest": lambda e: e.cost.layers,
    "most tensors": lambda e: e.cost.tensors,
    "first random": lambda e: -e.number,
}
"""What one could have chosen among the visited networks within the limits without a score; of equals the first."""


def judge(evaluator: Evaluator, store: Store, executor: Executor, recipe: Recipe) -> Judgement:
    """Score the best candidates, those of each band and the baselines anew, and compare them.

    With ``recipe.finalists`` = 0 nothing is scored anew, and the highest score that can be trained wins.
    """
    finalists, ranges = recipe.finalists, list(pairwise((-1, *recipe.bands)))
    leaders, *of_bands = (
        top(store, evaluator.proxy, finalists or TRIED, flops=flops) for flops in ((-1, MOST_FLOPS), *ranges)
    )
    trivial = _baselines(store.evaluations()) if finalists else {}
    everyone = {e.number: e for e in chain(leaders, *of_bands, trivial.values())}
    values = _fresh(list(everyone.values()), evaluator, store, executor) if finalists else {}
    gate = Gate(evaluator, everyone.values())
    best = gate.placed(_sorted(leaders, values, finalists))
    baselines = [Finalist(role, e.number, e.key, values[e.number]) for role, e in trivial.items() if e.number in values]
    if best and finalists:
        best = [f if f.verdict else replace(f, verdict=compare(best[0], f)) for f in best]
        baselines = [replace(f, verdict=compare(best[0], f)) for f in baselines]
    winners = [next(iter(gate.placed(_sorted(group, values, finalists))), None) for group in of_bands]
    correlations = _correlations(store, evaluator)
    return Judgement(
        best[0].number if best else None,
        tuple(best) if finalists else (),
        tuple(baselines),
        tuple(BandWinner(above, at_most, w) for (above, at_most), w in zip(ranges, winners, strict=True)),
        correlations,
        (*gate.warnings, *_warnings(best if finalists else [], correlations)),
        gate.untrainable,
    )


def _sorted(leaders: Sequence[Evaluation], values: dict[int, tuple[float, ...]], finalists: int) -> list[Finalist]:
    """By their means, without those that failed on fresh initializations; as they come if nothing was scored anew."""
    if not finalists:
        return [Finalist("finalist", e.number, e.key, ()) for e in leaders]
    found = (Finalist("finalist", e.number, e.key, values[e.number]) for e in leaders if e.number in values)
    return sorted(found, key=lambda f: (-f.mean, f.number))


class Gate:
    """Lets only those win that can be trained.

    Args:
        evaluator: of the run.
        candidates: those that may have to be built.
    """

    def __init__(self, evaluator: Evaluator, candidates: Iterable[Evaluation]) -> None:
        self._space, self._seed = evaluator.space, seed_from(evaluator.seed, "trainability")
        self._genomes = {e.number: e.genome for e in candidates}
        self._faults: dict[int, str] = {}
        self.warnings: list[str] = []

    @property
    def untrainable(self) -> tuple[int, ...]:
        """Numbers of the candidates that cannot be trained, of those that were tried."""
        return tuple(sorted(number for number, fault in self._faults.items() if fault))

    def placed(self, ranked: Sequence[Finalist]) -> list[Finalist]:
        """``ranked`` with the first that can be trained in front; the order stays if none can."""
        for place, finalist in enumerate(ranked):
            if not self.faults(finalist):
                refused = [replace(f, verdict=f"cannot be trained: {self.faults(f)}") for f in ranked[:place]]
                self.warnings += [f"network {f.number} would have won, but {f.verdict}" for f in refused]
                return [finalist, *refused, *ranked[place + 1 :]]
        if ranked:
            self.warnings.append(f"none of the best {len(ranked)} can be trained: {self.faults(ranked[0])}")
        return list(ranked)

    def faults(self, finalist: Finalist) -> str:
        """Why it cannot be trained; empty if it can."""
        if finalist.number not in self._faults:
            with one_thread(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._seed)
                model = self._space.build(self._space.decode(self._genomes[finalist.number]))
                found = check(model, self._space.input_shape, self._space.num_classes, self._seed)
            self._faults[finalist.number] = "; ".join(found)
        return self._faults[finalist.number]


def winner(store: Store, proxy: Proxy, judgement: Judgement | None) -> Evaluation | None:
    """The one judged best; where nothing was judged the highest score; None if nothing was scored."""
    if judgement is not None and judgement.winner is not None:
        return next(store.evaluations(first=judgement.winner, count=1))
    return next(iter(top(store, proxy, 1)), None)


def compare(winner: Finalist, other: Finalist) -> str:
    """Whether the winner's lead is real, in words: a paired t-test over the fresh initializations."""
    if winner.number == other.number:
        return "the winner"
    differences = np.subtract(winner.values, other.values)
    lead = float(differences.mean())
    if len(differences) < 2 or not differences.std() > 0:
        return f"{'beaten' if lead > 0 else 'equalled'} by {lead:.4g}, without any noise"
    p = float(stats.ttest_rel(winner.values, other.values).pvalue)
    error = float(stats.sem(differences))
    word = "tied" if p >= SIGNIFICANT else "beaten" if lead > 0 else "better"
    return f"{word}: {lead:+.4f} ± {error:.4f} for the winner (paired t-test, p = {p:.2g})"


def top(store: Store, proxy: Proxy, count: int, *, flops: tuple[int, int] = (-1, MOST_FLOPS)) -> list[Evaluation]:
    """The ``count`` best scored candidates; of equals the first found. Fitness by rank is taken over all of them.

    Args:
        flops: (above, at most): those with as many FLOPs.
    """
    if not isinstance(proxy, HasRelativeFitness):
        return store.best(count, flops=flops)
    values = fitness(store.evaluations(), proxy)
    within = (e for e in store.evaluations() if e.number in values and flops[0] < e.cost.flops <= flops[1])
    return nlargest(count, within, key=lambda e: (values[e.number], -e.number))


def _baselines(evaluations: Iterable[Evaluation]) -> dict[str, Evaluation]:
    """Each baseline's choice among the feasible candidates; equals go to the first visited."""
    best: dict[str, Evaluation] = {}
    for e in evaluations:
        if e.status in ("scored", "bounded"):
            for name, size in BASELINES.items():
                if name not in best or size(e) > size(best[name]):
                    best[name] = e
    return best


def _fresh(
    candidates: Sequence[Evaluation], evaluator: Evaluator, store: Store, executor: Executor
) -> dict[int, tuple[float, ...]]:
    """Number → FRESH values; without those candidates that fail in any of them."""
    seeds = [seed_from(evaluator.seed, "fresh", i) for i in range(FRESH)]
    tasks = [
        (c * FRESH + i, replace(evaluator.task(candidate.genome), seed=seed))
        for i, seed in enumerate(seeds)  # the outer loop: a worker keeps the numbers of one seed
        for c, candidate in enumerate(candidates)
    ]
    outcomes = dict(run_tasks(tasks, executor, stopped=lambda: False))
    rows = {c.number: [outcomes[place * FRESH + i].score for i in range(FRESH)] for place, c in enumerate(candidates)}
    whole = {number: [s for s in scores if s is not None] for number, scores in rows.items() if None not in scores}
    columns = [[scores[i] for scores in whole.values()] for i in range(FRESH)]
    fresh = _fitness(columns, evaluator.proxy, store)
    return {number: tuple(column[place] for column in fresh) for place, number in enumerate(whole)}


def _fitness(columns: Sequence[list[Score]], proxy: Proxy, store: Store) -> list[list[float]]:
    """The scores' values; where fitness is relative, that of each column among all that the search has seen."""
    if not isinstance(proxy, HasRelativeFitness):
        return [[s.value for s in column] for column in columns]
    seen = [e.score for e in store.evaluations() if e.status == "scored" and e.score is not None]
    return [[float(value) for value in proxy.fitness([*seen, *column])[len(seen) :]] for column in columns]


def _correlations(store: Store, evaluator: Evaluator) -> dict[str, float]:
    """Spearman's ρ of fitness with each size, over scored candidates; without those that do not vary."""
    fit = fitness(store.evaluations(), evaluator.proxy)
    values, names = np.array(list(fit.values())), ("flops", "parameters", "layers", "tensors")
    costs = ([getattr(e.cost, name) for name in names] for e in store.evaluations() if e.number in fit)
    sizes = zip(names, np.fromiter(costs, dtype=np.dtype((float, len(names)))).T, strict=True)  # there may be millions
    varied = {name: size for name, size in sizes if len(fit) and np.ptp(size) > 0 and np.ptp(values) > 0}
    return {name: float(stats.spearmanr(values, size).statistic) for name, size in varied.items()}


def _warnings(best: Sequence[Finalist], correlations: dict[str, float]) -> Iterable[str]:
    sizes = [f"{size} alone (ρ = {rho:.3f})" for size, rho in correlations.items() if abs(rho) >= COUNTS_ONLY]
    if sizes:
        yield (
            f"the score ranks the visited networks almost as their {' or '.join(sizes)}: "
            "set limits that fix the size (limits.layers, limits.flops.min) or another score.use to learn more from it"
        )
    if len(best) > 1 and best[1].verdict.startswith("tied"):
        yield "the winner's lead over the next is within the error of the score"
