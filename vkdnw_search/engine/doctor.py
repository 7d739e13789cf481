"""Before a run: how much of the space fits the limits, what a score costs and is worth, how long the run will take.

Everything is measured on a few dozen random candidates, in this process.
"""

from __future__ import annotations

import math
import resource
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from vkdnw_search.contracts import HasMutation, LatencyContext, SearchSpace
from vkdnw_search.cost.limits import Limits
from vkdnw_search.determinism import cores, seed_from
from vkdnw_search.engine.budget import BudgetUse, budget_use, is_at_stake
from vkdnw_search.engine.evaluator import Evaluator, limits_of, source_of
from vkdnw_search.engine.finalists import scores_needed
from vkdnw_search.engine.neighbours import one_step
from vkdnw_search.engine.single_positions import SinglePositions, in_network
from vkdnw_search.engine.start import different, read_start
from vkdnw_search.engine.tasks import Outcome, Task, score_candidate
from vkdnw_search.optimizers.variation import mutate, random_genome, repair
from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.records import Gene, Genome
from vkdnw_search.runs.fitness import fitness_among

SAMPLES = 50
"""Number of random candidates whose cost is counted."""
SCORED = 12
"""Number of feasible candidates that are scored, each on two initializations."""
WEIGHED = 24
"""Number of feasible candidates whose scores tell whether a budget of FLOPs would be used: six of them are the top."""
REPAIR_TRIES = 200
"""Number of changes tried to bring a candidate within the limits: the default of the optimizers."""
DRAWS = 50
"""Number of times that each choice would be drawn if all were drawn alike: one is missed by chance with e^−50."""
MOST_DRAWS = 200_000
"""Number of mutations at most, whatever the size of the space: they take some seconds."""
RELIABLE = 0.8
"""The share of a score's variance that belongs to the architecture below which rankings are largely noise."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a run would meet, as far as a sample of its candidates tells.

    Attributes:
        genomes: number of genomes of the space.
        distinct: share of the sampled genomes that are different networks.
        feasible: share of uniformly sampled genomes that are within the limits.
        binding: limit → share of the samples that violate it.
        repaired: share of the infeasible samples that a repair brought within the limits; NaN if there were none.
        seconds: median seconds of a score.
        tried: number of samples that were scored.
        failed: reason → number of those without a usable score.
        memory: bytes this process held at its peak.
        reliability: name → share of the variance that belongs to the architecture (intraclass correlation), of the
            score and of its terms; NaN where all networks score alike.
        unreached: choices that mutation never draws.
        rarest: the choice drawn least often, and its frequency relative to an even one; None without choices.
        run: seconds of the whole run if every candidate is scored, those of the finalists included.
        workers: number that are taken to share it.
        budget: how candidates use the FLOPs allowed, where a winner may leave some.
        start: number of networks that the run would begin with, and of those within the limits.
        single: of those that were scored, the networks in which convolutions see a single position.
    """

    genomes: int
    distinct: float
    feasible: float
    binding: dict[str, float]
    repaired: float
    seconds: float
    tried: int
    failed: dict[str, int]
    memory: int
    reliability: dict[str, float]
    unreached: tuple[str, ...]
    rarest: tuple[str, float] | None
    run: float
    workers: int
    budget: BudgetUse | None
    start: tuple[int, int] = (0, 0)
    single: tuple[SinglePositions, ...] = ()

    @property
    def hopeless(self) -> bool:
        """Nothing within the limits was found, by chance or by repair."""
        return self.feasible == 0 and not self.repaired > 0


def examine(recipe: Recipe, context: LatencyContext | None = None) -> Diagnosis:
    """Sample, count and score some candidates of the run that ``recipe`` describes.

    Args:
        recipe: of the run.
        context: what its source of latencies may need besides options.
    """
    space, limits = recipe.build_space(), limits_of(recipe)
    latency = source_of(recipe, context or LatencyContext())
    evaluator = Evaluator(space, limits=limits, proxy=recipe.build_proxy(), seed=recipe.seed, latency=latency)
    problem = evaluator.problem()
    given = different(read_start(recipe, space), evaluator.problem(recipe.bands, recipe.bands_of))
    rng = np.random.default_rng(seed_from(recipe.seed, "doctor"))
    sampled = [random_genome(space.genes, rng) for _ in range(SAMPLES)]
    outside = [genome for genome in sampled if evaluator.violation(genome) > 0]
    mended = [repair(genome, problem, rng, REPAIR_TRIES) for genome in outside[:WEIGHED]]
    mended = [genome for genome in mended if evaluator.violation(genome) <= 0]
    usable = [genome for genome in sampled if evaluator.violation(genome) <= 0] + mended
    pairs = [_twice(evaluator.task(genome)) for genome in usable[:SCORED]]
    unreached, rarest = _drawn(space, rng)
    seconds = median([o.seconds for pair in pairs for o in pair]) if pairs else math.nan
    workers = _workers(recipe)
    return Diagnosis(
        genomes=math.prod(len(gene.choices) for gene in space.genes),
        distinct=len(set(map(evaluator.key, sampled))) / SAMPLES,
        feasible=1 - len(outside) / SAMPLES,
        binding=_binding(limits, [evaluator.task(genome).cost for genome in outside]),
        repaired=len(mended) / len(outside[:WEIGHED]) if outside else math.nan,
        seconds=seconds,
        tried=len(pairs),
        failed=dict(Counter(outcome.reason for pair in pairs for outcome in pair[:1] if outcome.score is None)),
        memory=peak_memory(),
        reliability=_reliability(pairs),
        unreached=unreached,
        rarest=rarest,
        run=seconds * (recipe.stop.evaluations + _afterwards(recipe, space, usable)) / workers,
        workers=workers,
        budget=_budget(evaluator, usable[:WEIGHED], [first for first, _ in pairs], recipe),
        start=(len(given), sum(evaluator.violation(genome) <= 0 for genome in given)),
        single=tuple(filter(None, (in_network(space, space.decode(genome)) for genome in usable[:SCORED]))),
    )


def _budget(
    evaluator: Evaluator, genomes: Sequence[Genome], known: Sequence[Outcome], recipe: Recipe
) -> BudgetUse | None:
    """How ``genomes``, the first of which have ``known`` scores, use the FLOPs allowed; the others are scored."""
    if not is_at_stake(recipe):
        return None
    tasks = [evaluator.task(genome) for genome in genomes]
    outcomes = [*known, *map(score_candidate, tasks[len(known) :])]
    scored = [(task.cost, o.score) for task, o in zip(tasks, outcomes, strict=True) if o.score is not None]
    fitness = fitness_among([score for _, score in scored], evaluator.proxy)
    return budget_use([cost for cost, _ in scored], fitness, recipe)


def _afterwards(recipe: Recipe, space: SearchSpace[Any], usable: Sequence[Genome]) -> int:
    """Scores after the search, at most: finalists and baselines anew, a second opinion, the winner's neighbours."""
    if not recipe.finalists or not usable:
        return 0
    return scores_needed(recipe) + sum(1 for _ in one_step(space, usable[0]))


def _twice(task: Task) -> tuple[Outcome, Outcome]:
    """Score a task on two initializations."""
    return score_candidate(task), score_candidate(replace(task, seed=seed_from(task.seed, "doctor")))


def _binding(limits: Limits, costs: Sequence[Any]) -> dict[str, float]:
    """Limit → share of all samples that violate it, the most violated first."""
    violated = Counter(name for cost in costs for name in limits.violations(cost))
    return {name: number / SAMPLES for name, number in violated.most_common()}


def _reliability(pairs: Sequence[tuple[Outcome, Outcome]]) -> dict[str, float]:
    scores = [(a.score, b.score) for a, b in pairs if a.score is not None and b.score is not None]
    if len(scores) < 3:
        return {}
    terms = [term for term in scores[0][0].terms if all(term in s.terms for pair in scores for s in pair)]
    values = {"score": [(a.value, b.value) for a, b in scores]}
    values |= {term: [(a.terms[term], b.terms[term]) for a, b in scores] for term in terms}
    return {name: intraclass_correlation(np.array(value)) for name, value in values.items()}


def intraclass_correlation(values: np.ndarray) -> float:
    """Intraclass correlation, ICC(1) = (B − W) / (B + (k − 1) W), the share of the variance that is between rows.

    Source: Shrout and Fleiss 1979. B and W are the mean squares between and within rows (doi
    10.1037/0033-2909.86.2.420, case 1).

    Args:
        values: (n, k): n networks, each scored k times.

    Returns:
        At most 1; NaN if all values are equal.
    """
    n, k = values.shape
    means = values.mean(axis=1)  # (n,)
    between = k * float(((means - means.mean()) ** 2).sum()) / (n - 1)
    within = float(((values - means[:, None]) ** 2).sum()) / (n * (k - 1))
    total = between + (k - 1) * within
    return (between - within) / total if total > 0 else math.nan


def _drawn(space: Any, rng: np.random.Generator) -> tuple[tuple[str, ...], tuple[str, float] | None]:
    """Mutate random genomes: choices never drawn; the one drawn least, with its frequency against an even one."""
    genes: tuple[Gene, ...] = space.genes
    change = space.mutate if isinstance(space, HasMutation) else partial(mutate, genes=genes, moves=1)
    drawn = [np.zeros(len(gene.choices)) for gene in genes]
    for _ in range(min(DRAWS * len(genes) * max(len(gene.choices) for gene in genes), MOST_DRAWS)):
        before = random_genome(genes, rng)
        for counts, old, new in zip(drawn, before, change(before, rng), strict=True):
            counts[new] += old != new
    frequencies = {
        f"{gene.name} = {choice}": float(count) * len(gene.choices) / max(float(counts.sum()), 1.0)
        for gene, counts in zip(genes, drawn, strict=True)
        for choice, count in zip(gene.choices, counts, strict=True)
        if len(gene.choices) > 1
    }
    unreached = tuple(name for name, frequency in frequencies.items() if not frequency)
    return unreached, min(frequencies.items(), key=lambda item: item[1]) if frequencies else None


def _workers(recipe: Recipe) -> int:
    """The number of workers that the recipe asks for; one for a cluster elsewhere, whose size is not known."""
    executor = recipe.executor
    asked = 1 if executor is None or executor.options.get("address") else executor.options.get("workers", 1)
    return cores() if asked == "auto" else int(asked)


def peak_memory() -> int:
    """Bytes this process held at most so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, but bytes on macOS
    return peak if sys.platform == "darwin" else peak * 1024


def page(diagnosis: Diagnosis, *, evaluations: int) -> str:
    """The diagnosis in words, for a terminal."""
    return "\n".join(f"{name:12} {text}" for name, text in _lines(diagnosis, evaluations))


def _lines(d: Diagnosis, evaluations: int) -> Iterator[tuple[str, str]]:
    yield "space", f"{d.genomes:,.6g} genomes; {d.distinct:.0%} of {SAMPLES} random ones are different networks"
    yield "limits", f"{d.feasible:.0%} of them are within the limits; a search repairs others"
    for name, share in d.binding.items():
        yield "", f"{share:.0%} violate limits.{name}"
    if not math.isnan(d.repaired):
        yield "", f"{d.repaired:.0%} of those outside could be repaired"
    if d.start[0]:
        yield "start", f"{d.start[1]} of {d.start[0]} networks to begin with are within the limits"
    if d.hopeless:
        yield "", "NOTHING FEASIBLE was found: raise the limit that binds, or lower its minimum"
        return
    yield "score", f"{d.seconds:.3g} s (median), {d.memory / 2**20:,.0f} MiB held at the peak, torch included"
    for reason, number in d.failed.items():
        yield "", f"{number} of {d.tried} failed: {reason}"
    yield (
        "run",
        f"{_duration(d.run)} for {evaluations:,} candidates with {d.workers} workers if all are scored, and finalists",
    )
    if d.reliability:
        told = [f"{k} {v:.2f}" for k, v in d.reliability.items() if not math.isnan(v) and not k.startswith("decile")]
        yield "reliability", f"{', '.join(told)} (1: all of the variance is the architecture's, 0: noise)"
        if d.reliability["score"] < RELIABLE:
            yield "", f"below {RELIABLE}: rankings are largely noise; raise score.draws, images or initializations"
    if d.budget is not None and (warning := d.budget.warning()):
        yield "budget", f"among {d.budget.networks} random networks within the limits {warning}"
    if d.single:
        worst = max(d.single, key=lambda single: single.alone)
        yield "images", f"too small for {len(d.single)} of {d.tried} random networks: {worst.in_words()}"
    yield (
        "mutation",
        f"never draws {', '.join(d.unreached[:5])}: only first candidates have it"
        if d.unreached
        else "draws every choice",
    )
    if d.rarest is not None and not d.unreached:
        yield "", f"least often {d.rarest[0]}: {d.rarest[1]:.2f} times as often as if all were drawn alike"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
