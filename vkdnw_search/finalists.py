"""The last word on a search: the best candidates are scored anew, compared, and held against trivial choices.

The highest of many noisy scores is high partly by luck. So the finalists are scored again on fresh initializations,
the same ones for all, and the one with the highest mean wins; a paired t-test says whether its lead is real. The same
care goes to what one could have chosen without any search: the most FLOPs, the most parameters, the deepest, any.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev

import numpy as np
from scipy import stats

from vkdnw_search.contracts import HasRelativeFitness, Proxy
from vkdnw_search.evaluate import Evaluator, run_tasks
from vkdnw_search.records import Evaluation, Score
from vkdnw_search.seeding import seed_from
from vkdnw_search.store import Store

FRESH = 8
"""Fresh initializations of each finalist: enough for a paired test to see a lead of about one standard deviation."""
SIGNIFICANT = 0.05
"""A lead is called real if chance alone would give it in fewer than one of twenty comparisons."""
COUNTS_ONLY = 0.95
"""Spearman's ρ from which on a score tells little that the size does not tell: ℵ of NAS-Bench-201 has seven levels,
and any order within them leaves 0.96."""

BASELINES: dict[str, Callable[[Evaluation], float]] = {
    "most FLOPs": lambda e: e.cost.flops,
    "most parameters": lambda e: e.cost.parameters,
    "deepest": lambda e: e.cost.layers,
    "first random": lambda e: -e.number,
}
"""What one could have chosen among the visited networks within the limits without a score; of equals the first."""


@dataclass(frozen=True, slots=True)
class Finalist:
    """A candidate scored on fresh initializations.

    Attributes:
        role: ``"finalist"`` or which baseline it is.
        number: of its evaluation.
        key: its architecture.
        values: a score for each fresh initialization; the i-th are from one and the same seed for all candidates.
        verdict: how the winner compares, in words.
    """

    role: str
    number: int
    key: str
    values: tuple[float, ...]
    verdict: str = ""

    @property
    def mean(self) -> float:
        """Of ``values``."""
        return fmean(self.values)

    @property
    def standard_error(self) -> float:
        """Of the mean."""
        return stdev(self.values) / math.sqrt(len(self.values)) if len(self.values) > 1 else math.nan


@dataclass(frozen=True, slots=True)
class Judgement:
    """Finalists and baselines, best mean first, with what to think of them.

    Attributes:
        correlations: Spearman's ρ of the score with FLOPs, parameters, layers and tensors over scored candidates.
        warnings: sentences a user should read.
    """

    finalists: tuple[Finalist, ...]
    baselines: tuple[Finalist, ...]
    correlations: dict[str, float]
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """As text, to be kept with the run."""
        judged, trivial = (
            [asdict(f) | {"mean": f.mean, "standard_error": f.standard_error} for f in group]
            for group in (self.finalists, self.baselines)
        )
        content = {"finalists": judged, "baselines": trivial, "correlations": self.correlations}
        return json.dumps(content | {"warnings": self.warnings})


def judge(evaluator: Evaluator, store: Store, executor: Executor, *, finalists: int) -> Judgement:
    """Score the best ``finalists`` candidates and the baselines anew, and compare them."""
    chosen = {"finalist": top(store, evaluator.proxy, finalists), **_baselines(store.evaluations())}
    unique = {e.number: e for entries in chosen.values() for e in entries}
    values = _fresh(list(unique.values()), evaluator, store, executor) if finalists else {}
    best = sorted(
        (Finalist("finalist", e.number, e.key, values[e.number]) for e in chosen.pop("finalist") if e.number in values),
        key=lambda f: (-f.mean, f.number),
    )
    trivial = [Finalist(role, e.number, e.key, values[e.number]) for role, (e,) in chosen.items() if e.number in values]
    correlations = _correlations(store, evaluator)
    judged, against = ([replace(f, verdict=compare(best[0], f)) for f in group if best] for group in (best, trivial))
    return Judgement(tuple(judged), tuple(against), correlations, tuple(_warnings(judged, correlations)))


def winner(store: Store, proxy: Proxy, judgement: Judgement | None) -> Evaluation | None:
    """The first finalist; where none was scored anew the highest score; None if nothing was scored."""
    if judgement is not None and judgement.finalists:
        number = judgement.finalists[0].number
        return next(store.evaluations(first=number, count=1))
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


def top(store: Store, proxy: Proxy, count: int) -> list[Evaluation]:
    """The ``count`` best scored candidates; of equals the first found. Fitness by rank is taken over all of them."""
    if not isinstance(proxy, HasRelativeFitness):
        return store.best(count)
    scored = [e for e in store.evaluations() if e.status == "scored" and e.score is not None]
    fitness = proxy.fitness([e.score for e in scored if e.score is not None])
    return [scored[place] for place in np.argsort(-fitness, kind="stable")[:count]]


def _baselines(evaluations: Iterable[Evaluation]) -> dict[str, list[Evaluation]]:
    """Each baseline's choice among the feasible candidates; equals go to the first visited."""
    best: dict[str, list[Evaluation]] = {}
    for e in evaluations:
        if e.status in ("scored", "bounded"):
            for name, size in BASELINES.items():
                if name not in best or size(e) > size(best[name][0]):
                    best[name] = [e]
    return best


def _fresh(
    candidates: Sequence[Evaluation], evaluator: Evaluator, store: Store, executor: Executor
) -> dict[int, tuple[float, ...]]:
    """Number → FRESH values; without those candidates that fail in any of them."""
    seeds = [seed_from(evaluator.seed, "fresh", i) for i in range(FRESH)]
    tasks = [
        (c * FRESH + i, replace(evaluator.task(candidate.genome), seed=seed))
        for c, candidate in enumerate(candidates)
        for i, seed in enumerate(seeds)
    ]
    outcomes = dict(run_tasks(tasks, executor, stopped=lambda: False))
    rows = {c.number: [outcomes[place * FRESH + i].score for i in range(FRESH)] for place, c in enumerate(candidates)}
    whole = {number: [s for s in scores if s is not None] for number, scores in rows.items() if None not in scores}
    fitness = [_fitness([scores[i] for scores in whole.values()], evaluator, store) for i in range(FRESH)]
    return {number: tuple(column[place] for column in fitness) for place, number in enumerate(whole)}


def _fitness(scores: list[Score], evaluator: Evaluator, store: Store) -> list[float]:
    """The scores' values; where fitness is relative, their fitness among all that the search has seen."""
    if not isinstance(evaluator.proxy, HasRelativeFitness):
        return [s.value for s in scores]
    seen = [e.score for e in store.evaluations() if e.status == "scored" and e.score is not None]
    return [float(value) for value in evaluator.proxy.fitness([*seen, *scores])[len(seen) :]]


def _correlations(store: Store, evaluator: Evaluator) -> dict[str, float]:
    """Spearman's ρ of fitness with each size, over scored candidates; without those that do not vary."""
    names, proxy = ("flops", "parameters", "layers", "tensors"), evaluator.proxy
    scored = (e for e in store.evaluations() if e.status == "scored" and e.score is not None)
    rows = ((e.score.value if e.score else math.nan, *(getattr(e.cost, name) for name in names)) for e in scored)
    values, *columns = np.fromiter(rows, dtype=np.dtype((float, 1 + len(names)))).T  # there may be millions
    if not len(values):
        return {}
    if isinstance(proxy, HasRelativeFitness):
        values = proxy.fitness([e.score for e in store.evaluations() if e.status == "scored" and e.score is not None])
    sizes = dict(zip(names, columns, strict=True))
    varied = {name: size for name, size in sizes.items() if np.ptp(size) > 0 and np.ptp(values) > 0}
    return {name: float(stats.spearmanr(values, size).statistic) for name, size in varied.items()}


def _warnings(best: Sequence[Finalist], correlations: dict[str, float]) -> Iterable[str]:
    for size, rho in correlations.items():
        if abs(rho) >= COUNTS_ONLY:
            yield (
                f"the score ranks the visited networks almost as their {size} alone do (Spearman's ρ = {rho:.3f}): "
                "set limits that fix the size, or use another score, to learn more from it"
            )
    if len(best) > 1 and best[1].verdict.startswith("tied"):
        yield "the winner's lead over the next is within the error of the score"
