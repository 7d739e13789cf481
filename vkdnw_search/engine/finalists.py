"""The last word on a search: the best candidates are scored anew, compared, and held against trivial choices.

The highest of many noisy scores is high partly by luck. So the finalists are scored again on fresh initializations,
the same ones for all, and a paired t-test says which of them the score cannot tell from the highest mean. Of these the
one of the most FLOPs wins, for where the score has nothing to say, a larger network is the better guess. The same care
goes to what one could have chosen without any search: the most FLOPs, the most parameters, the deepest, any.
Nothing is declared a winner that cannot be trained, or takes longer than allowed (gate.py): the next takes its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from heapq import nlargest
from itertools import chain

import numpy as np
from scipy import stats

from vkdnw_search.contracts import AnyProxy, HasRelativeFitness
from vkdnw_search.determinism import seed_from
from vkdnw_search.engine.audit import NOTE, warnings_of
from vkdnw_search.engine.evaluator import Evaluator
from vkdnw_search.engine.gate import Gate
from vkdnw_search.engine.rescoring import Rescorer, fresh_fitness
from vkdnw_search.engine.second_opinion import MEASURED
from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.records import ANYWHERE, Evaluation, Within, ranges
from vkdnw_search.runs.fitness import fitness_of
from vkdnw_search.runs.given import number_given
from vkdnw_search.runs.judgement import BandWinner, Finalist, Judgement
from vkdnw_search.runs.store import Store

FRESH = 8
"""Number of fresh initializations of each finalist: enough for a paired test to see a lead of about one standard
deviation."""
TRIED = 10
"""Number of candidates that may take the place of one that cannot be trained, where no finalists are scored anew."""
SIGNIFICANT = 0.05
"""The p-value below which a lead in score is called real: chance alone gives it in fewer than one of twenty
comparisons."""
TIED = "the score cannot tell them apart"
"""The beginning of the verdict on a network whose score differs from the winner's by no more than chance."""
COUNTS_ONLY = 0.95
"""The Spearman correlation with size from which on a score tells little that the size does not tell: ℵ of
NAS-Bench-201 has seven levels,
and any order within them leaves 0.96."""

FIRST_RANDOM = "first random"
BASELINES: dict[str, Callable[[Evaluation], float]] = {
    "most FLOPs": lambda e: e.cost.flops,
    "most parameters": lambda e: e.cost.parameters,
    "deepest": lambda e: e.cost.layers,
    "most tensors": lambda e: e.cost.tensors,
    FIRST_RANDOM: lambda e: -e.number,
}
"""What one could have chosen among the visited networks within the limits without a score; of equals the first."""

BEST_GIVEN = "best given"
"""The role of the best of the networks that a run was given to begin with: what one had before the search."""


def scores_needed(recipe: Recipe) -> int:
    """The number of scores that the finalists, the baselines and the second opinion take, at most."""
    baselines = len(BASELINES) + bool(recipe.start)
    return FRESH * (recipe.finalists + baselines) + MEASURED if recipe.finalists else 0


def judge(evaluator: Evaluator, store: Store, rescorer: Rescorer, gate: Gate, recipe: Recipe) -> Judgement:
    """Score the best candidates, those of each band and the baselines anew, and compare them.

    With ``recipe.finalists`` = 0 nothing is scored anew, and the highest score that can be trained wins.

    Raises:
        Interrupted: the run must end. The scores so far are kept in the store.
    """
    finalists, bands = recipe.finalists, ranges(recipe.bands, recipe.bands_of)
    leaders, *of_bands = (top(store, evaluator.proxy, finalists or TRIED, within) for within in (ANYWHERE, *bands))
    trivial = _baselines(store) | _best_given(store, evaluator.proxy) if finalists else {}
    everyone = {e.number: e for e in chain(leaders, *of_bands, trivial.values())}
    values = _fresh(list(everyone.values()), evaluator, store, rescorer) if finalists else {}
    best = gate.placed(_ranked(leaders, values, recipe), everyone)
    baselines = [Finalist(role, e.number, e.key, values[e.number]) for role, e in trivial.items() if e.number in values]
    if best and finalists:
        best = [f if f.verdict else replace(f, verdict=compare(best[0], f)) for f in best]
        baselines = [replace(f, verdict=compare(best[0], f)) for f in baselines]
    winners = [next(iter(gate.placed(_ranked(group, values, recipe), everyone)), None) for group in of_bands]
    correlations = _correlations(store, evaluator)
    return Judgement(
        best[0].number if best else None,
        tuple(best) if finalists else (),
        tuple(baselines),
        tuple(BandWinner(b.above, b.at_most, w, b.of) for b, w in zip(bands, winners, strict=True)),
        correlations,
        (
            *warnings_of(store.note(NOTE), store.path),
            *gate.warnings,
            *_warnings(gate.fit(best) if finalists else [], correlations, recipe),
        ),
        gate.untrainable,
        whole_latencies=gate.latencies.timed,
    )


def _ranked(leaders: Sequence[Evaluation], values: dict[int, tuple[float, ...]], recipe: Recipe) -> list[Finalist]:
    """Finalists, the best first, without failures on fresh initializations; as they come if nothing was scored anew.

    They are sorted by their means. With ``recipe.ties`` = ``flops`` the one of the most FLOPs comes first among those
    that the score cannot tell from the highest mean, and of equals the one of the higher mean.
    """
    if not recipe.finalists:
        return [Finalist("finalist", e.number, e.key, ()) for e in leaders]
    found = (Finalist("finalist", e.number, e.key, values[e.number]) for e in leaders if e.number in values)
    ranked = sorted(found, key=lambda f: (-f.mean, f.number))
    if recipe.ties == "score" or not ranked:
        return ranked
    flops = {e.number: e.cost.flops for e in leaders}
    first = max((f for f in ranked if is_tied(ranked[0], f)), key=lambda f: flops[f.number])  # of equals the first
    return [first, *(f for f in ranked if f is not first)]


def winner(store: Store, proxy: AnyProxy, judgement: Judgement | None) -> Evaluation | None:
    """The candidate judged best; where nothing was judged, the highest score; None if nothing was scored."""
    if judgement is not None and judgement.winner is not None:
        return next(store.evaluations(first=judgement.winner, count=1))
    return next(iter(top(store, proxy, 1)), None)


def compare(winner: Finalist, other: Finalist) -> str:
    """Say in words how the scores compare, by a paired t-test over the fresh initializations.

    Accuracies may compare otherwise, so the words are about the score alone.
    """
    if winner.number == other.number:
        return "the winner"
    differences = np.subtract(other.values, winner.values)
    lead, p = float(differences.mean()), p_value(winner, other)
    word = "lower score" if lead < 0 else "higher score" if lead > 0 else "the same score"
    if math.isnan(p):
        return f"{word}{f': {lead:+.4g} against the winner' if lead else ''}, without any noise"
    error = float(stats.sem(differences))
    word = TIED if p >= SIGNIFICANT else word
    return f"{word}: {lead:+.4f} ± {error:.4f} against the winner (paired t-test, p = {p:.2g})"


def is_tied(one: Finalist, other: Finalist) -> bool:
    """Whether the score cannot tell two finalists apart."""
    p = p_value(one, other)
    return one.mean == other.mean if math.isnan(p) else p >= SIGNIFICANT


def p_value(one: Finalist, other: Finalist) -> float:
    """Of a paired t-test over the fresh initializations; NaN where their difference has no noise."""
    differences = np.subtract(other.values, one.values)
    if len(differences) < 2 or not differences.std() > 0:
        return math.nan
    return float(stats.ttest_rel(other.values, one.values).pvalue)


def top(store: Store, proxy: AnyProxy, count: int, within: Within = ANYWHERE) -> list[Evaluation]:
    """The ``count`` best scored candidates ``within`` a range; of equals the first found. Fitness by rank is taken over
    all of them.
    """
    if not isinstance(proxy, HasRelativeFitness):
        return store.best(count, within)
    values = fitness_of(store.evaluations(), proxy, given=number_given(store))
    inside = (e for e in store.evaluations() if e.number in values and within.has(e.cost))
    return nlargest(count, inside, key=lambda e: (values[e.number], -e.number))


def _baselines(store: Store) -> dict[str, Evaluation]:
    """Each baseline's choice among the feasible candidates; equals go to the first visited."""
    best: dict[str, Evaluation] = {}
    given = number_given(store)
    for e in store.evaluations():
        if e.status.is_usable:
            for name, size in BASELINES.items():
                random = name != FIRST_RANDOM or e.number >= given
                if random and (name not in best or size(e) > size(best[name])):
                    best[name] = e
    return best


def _best_given(store: Store, proxy: AnyProxy) -> dict[str, Evaluation]:
    """The best of the networks that the run was given to begin with, where there are some with a score."""
    if not (given := number_given(store)):
        return {}
    fitness = {n: f for n, f in fitness_of(store.evaluations(), proxy, given=given).items() if n < given}
    best = max(fitness, key=lambda number: (fitness[number], -number), default=None)
    return {} if best is None else {BEST_GIVEN: next(store.evaluations(first=best, count=1))}


def fresh_seeds(seed: int) -> list[int]:
    """The seeds of the fresh initializations in a run with this ``seed``."""
    return [seed_from(seed, "fresh", i) for i in range(FRESH)]


def _fresh(
    candidates: Sequence[Evaluation], evaluator: Evaluator, store: Store, rescorer: Rescorer
) -> dict[int, tuple[float, ...]]:
    """Number → FRESH values of each candidate; without the candidates that fail in any of them."""
    seeds = fresh_seeds(evaluator.seed)
    order = [(c.genome, seed) for seed in seeds for c in candidates]  # seed by seed: a worker keeps the numbers of one
    scores = rescorer.scores(order)
    rows = {c.number: scores[place :: len(candidates)] for place, c in enumerate(candidates)}
    whole = {number: [s for s in scores if s is not None] for number, scores in rows.items() if None not in scores}
    columns = [[scores[i] for scores in whole.values()] for i in range(FRESH)]
    fresh = fresh_fitness(columns, evaluator.proxy, store)
    return {number: tuple(column[place] for column in fresh) for place, number in enumerate(whole)}


def _correlations(store: Store, evaluator: Evaluator) -> dict[str, float]:
    """Spearman's ρ of fitness with each size, over scored candidates; without those that do not vary."""
    fit = fitness_of(store.evaluations(), evaluator.proxy, given=number_given(store))
    values, names = np.array(list(fit.values())), ("flops", "parameters", "layers", "tensors")
    costs = ([getattr(e.cost, name) for name in names] for e in store.evaluations() if e.number in fit)
    sizes = zip(names, np.fromiter(costs, dtype=np.dtype((float, len(names)))).T, strict=True)  # there may be millions
    varied = {name: size for name, size in sizes if len(fit) and np.ptp(size) > 0 and np.ptp(values) > 0}
    return {name: float(stats.spearmanr(values, size).statistic) for name, size in varied.items()}


def _warnings(best: Sequence[Finalist], correlations: dict[str, float], recipe: Recipe) -> Iterable[str]:
    sizes = [f"{size} alone (ρ = {rho:.3f})" for size, rho in correlations.items() if abs(rho) >= COUNTS_ONLY]
    if sizes and recipe.bands:
        yield (
            f"the score ranks the visited networks almost as their {' or '.join(sizes)}, so it cannot say which band "
            "is best: let their winners race (vkdnw-search race)"
        )
    elif sizes:
        yield (
            f"the score ranks the visited networks almost as their {' or '.join(sizes)}: "
            "set limits that fix the size (limits.layers, limits.flops.min) or another score.use to learn more from it"
        )
    if len(best) > 1 and best[1].mean > best[0].mean:
        yield "the score cannot tell the winner from the next: it wins by its FLOPs (ties: flops)"
    elif len(best) > 1 and best[1].verdict.startswith(TIED):
        yield "the winner's lead over the next is within the error of the score"
