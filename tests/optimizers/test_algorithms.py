"""The four optimizers against what a search has to guarantee, on a space where everything is known."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from annotated_types import Interval
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.toy_space import Toy, run, sorted_text, text, toy
from vkdnw_search.contracts import Band, HasRefit, HasThreshold, Problem
from vkdnw_search.errors import OptimizerError
from vkdnw_search.optimizers.algorithms import AgingEvolution, Evolution, Nsga2, RandomSearch
from vkdnw_search.optimizers.pymoo_optimizer import BROOD
from vkdnw_search.records import Cost, Evaluation, Genome, Score, Status

ALL = (Evolution, AgingEvolution, RandomSearch, Nsga2)
EVOLVING = (Evolution, AgingEvolution, Nsga2)
ANY = Cost(1, 1, 1, 1, 1, 1)
LIMITED = toy(20, 5, at_most=0.85)
every_optimizer = pytest.mark.parametrize("optimizer", ALL)


def genomes(evaluations: list[Evaluation]) -> list[Genome]:
    return [evaluation.genome for evaluation in evaluations]


# --- the same for all ---------------------------------------------------------------------------------------------


@every_optimizer
def test_the_same_seed_and_tells_give_the_same_asks_and_another_seed_others(optimizer):
    first, again, other = (genomes(run(LIMITED, optimizer(LIMITED.problem(seed)), 250)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@every_optimizer
def test_the_global_generator_is_neither_used_nor_moved(optimizer):
    np.random.seed(1)
    before = np.random.get_state()[1].tolist()
    first = genomes(run(LIMITED, optimizer(LIMITED.problem()), 150))
    assert np.random.get_state()[1].tolist() == before
    np.random.seed(2)
    assert genomes(run(LIMITED, optimizer(LIMITED.problem()), 150)) == first


@every_optimizer
def test_replayed_tells_lead_to_the_same_continuation(optimizer):
    whole = run(LIMITED, optimizer(LIMITED.problem()), 400)
    resumed = optimizer(LIMITED.problem())
    replayed = 0
    while replayed < 200:
        asked = resumed.ask()
        resumed.tell(whole[replayed : replayed + len(asked)])
        replayed += len(asked)
    assert genomes(run(LIMITED, resumed, 400 - replayed)) == genomes(whole[replayed:])


def test_another_process_with_other_string_hashes_asks_the_same():
    code = (
        "from tests.support.toy_space import run, toy\n"
        "from vkdnw_search.optimizers.algorithms import AgingEvolution, Evolution, Nsga2, RandomSearch\n"
        "space = toy(20, 5, at_most=0.85)\n"
        "searches = [search(space.problem()) for search in (Evolution, AgingEvolution, RandomSearch, Nsga2)]\n"
        "print([[evaluation.genome for evaluation in run(space, search, 100)] for search in searches])\n"
    )
    root, environment = Path(__file__).parents[2], {"PYTHONHASHSEED": "1"}
    there = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True)
    here = [genomes(run(LIMITED, optimizer(LIMITED.problem()), 100)) for optimizer in ALL]
    assert there.stdout == f"{here}\n", there.stderr


@every_optimizer
def test_no_network_is_asked_twice(optimizer):
    space = replace(toy(8, 4), key=sorted_text)
    keys = [evaluation.key for evaluation in run(space, optimizer(space.problem()), 140)]
    assert len(keys) == len(set(keys)) == 140


@every_optimizer
def test_a_small_space_is_exhausted_and_then_nothing_is_asked(optimizer):
    space = replace(toy(4, 5), key=sorted_text)
    small = optimizer(space.problem())
    keys = [evaluation.key for evaluation in run(space, small, 10_000)]
    assert len(keys) == len(set(keys)) == 70  # multisets of 4 out of 5
    assert small.ask() == []


@every_optimizer
def test_one_network_is_a_space_too(optimizer):
    space = toy(3, 1)
    assert genomes(run(space, optimizer(space.problem()), 10)) == [(0, 0, 0)]


@every_optimizer
def test_a_narrow_window_does_not_starve_the_search(optimizer):
    window = toy(15, 8, at_least=0.50, at_most=0.52)
    evaluations = run(window, optimizer(window.problem()), 300)
    assert np.mean([evaluation.status == "scored" for evaluation in evaluations]) >= 0.99
    without = run(window, optimizer(window.problem(), repair_tries=0), 300)
    assert np.mean([evaluation.status == "scored" for evaluation in without]) < 0.5


@every_optimizer
def test_ask_and_tell_out_of_turn_are_errors(optimizer):
    search = optimizer(LIMITED.problem())
    asked = search.ask()
    with pytest.raises(OptimizerError, match="ask: all of the last generation must be told first, but nothing was"):
        search.ask()
    told = [LIMITED.evaluate(genome) for genome in asked]
    with pytest.raises(OptimizerError, match=r"tell, position 0: must be the outcome of \("):
        search.tell(told[::-1])
    with pytest.raises(OptimizerError, match=rf"tell, position {len(told)}: must be the outcome of nothing"):
        search.tell([*told, told[0]])
    search.tell(told)
    with pytest.raises(OptimizerError, match="must be the outcome of nothing"):
        search.tell(told)
    assert search.ask()


@every_optimizer
def test_a_part_of_a_generation_may_be_told_at_the_end_only(optimizer):
    search = optimizer(LIMITED.problem())
    search.tell([LIMITED.evaluate(genome) for genome in search.ask()[:3]])
    with pytest.raises(OptimizerError, match="but only a part was"):
        search.ask()


@every_optimizer
def test_a_generation_taken_one_by_one_is_the_same_and_what_is_left_of_it_is_the_end(optimizer):
    whole, taken = optimizer(LIMITED.problem()), optimizer(LIMITED.problem())
    for _ in range(5):
        asked = list(taken.stream())
        assert asked == whole.ask()
        for search in (whole, taken):
            search.tell([LIMITED.evaluate(genome) for genome in asked])
    first = next(taken.stream())
    taken.tell([LIMITED.evaluate(first)])
    with pytest.raises(OptimizerError, match="but only a part was"):
        taken.ask()


@pytest.mark.parametrize("optimizer", EVOLVING)
def test_children_are_bred_a_few_at_a_time_after_the_first_were_taken(optimizer):
    search = optimizer(LIMITED.problem(), children=16)
    search.tell([LIMITED.evaluate(genome) for genome in search.ask()])
    stream = search.stream()
    before = search.state()["random"]
    next(stream)
    bred = search.state()["random"]
    assert bred != before
    for _ in range(BROOD - 1):
        next(stream)
    assert search.state()["random"] == bred
    next(stream)
    assert search.state()["random"] != bred


@every_optimizer
def test_every_option_has_bounds_that_hold_its_default_and_a_description(optimizer):
    hints = get_type_hints(optimizer.__init__, include_extras=True)
    options = [p for p in inspect.signature(optimizer).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert options
    for option in options:
        kind, bounds, description = get_args(hints[option.name])
        assert isinstance(bounds, Interval)
        assert 10 < len(description) < 80
        if option.default is None:
            assert kind == int | None
            continue
        assert type(option.default) is kind
        assert (bounds.ge is None or bounds.ge <= option.default) and (bounds.gt is None or bounds.gt < option.default)
        assert option.default <= bounds.le


def test_what_each_optimizer_offers():
    offered = {optimizer: (issubclass(optimizer, HasThreshold), issubclass(optimizer, HasRefit)) for optimizer in ALL}
    assert offered == {
        Evolution: (True, True),
        AgingEvolution: (True, True),
        RandomSearch: (True, False),
        Nsga2: (True, True),
    }


# --- who survives -------------------------------------------------------------------------------------------------


def outcome(space: Toy, genome: Genome, kind: str) -> Evaluation:
    plain = space.evaluate(genome)
    unscored = replace(plain, status=Status.FAILED, score=None)
    return {
        "scored": plain,
        "failed": unscored,
        "failed all the same": replace(unscored, score=Score(1000.0)),
        "not finite": replace(unscored, score=Score(math.nan)),
        "bounded": replace(plain, status=Status.BOUNDED, score=Score(-1000 + space.score(genome))),
        "bound not finite": replace(plain, status=Status.BOUNDED, score=Score(-math.inf)),
        "infeasible": replace(unscored, status=Status.INFEASIBLE, violation=0.01),
        "far": replace(unscored, status=Status.INFEASIBLE, violation=math.inf),
    }[kind]


KINDS = ("scored", "failed", "failed all the same", "not finite", "bounded", "bound not finite", "infeasible", "far")


@pytest.mark.parametrize("optimizer", EVOLVING)
@settings(max_examples=15)
@given(data=st.data())
def test_only_finite_numbers_reach_pymoo_and_only_scored_and_bounded_are_feasible(optimizer, data):
    space = toy(6, 4)
    search = optimizer(space.problem(), population=6, children=6)
    told: dict[str, Evaluation] = {}
    for _ in range(4):
        asked = search.ask()
        kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=len(asked), max_size=len(asked)))
        evaluations = [outcome(space, genome, kind) for genome, kind in zip(asked, kinds, strict=True)]
        told |= {evaluation.key: evaluation for evaluation in evaluations}
        search.tell(evaluations)
        objectives, violations = search._algorithm.pop.get("F", "CV")
        assert np.isfinite(objectives).all() and np.isfinite(violations).all()
        for key, violation in zip(search.survivors(), violations[:, 0], strict=True):
            score = told[key].score
            usable = told[key].status in ("scored", "bounded") and score is not None and math.isfinite(score.value)
            assert (violation == 0) == usable


@pytest.mark.parametrize("optimizer", [Evolution, Nsga2])
def test_infeasible_and_failed_never_push_out_scored(optimizer):
    space = toy(12, 4)
    search = optimizer(space.problem(), population=20, children=20)
    rng = np.random.default_rng(0)
    scored: set[str] = set()
    for _ in range(6):
        told = [
            outcome(space, genome, rng.choice(KINDS, p=[0.4, 0.1, 0.1, 0.1, 0, 0, 0.2, 0.1])) for genome in search.ask()
        ]
        scored |= {evaluation.key for evaluation in told if evaluation.status == "scored"}
        search.tell(told)
        assert len(scored.intersection(search.survivors())) == min(20, len(scored))


def test_the_best_ever_survive_evolution():
    search = Evolution(LIMITED.problem(), population=30, children=20)
    evaluations = run(LIMITED, search, 430)
    best = sorted(evaluations, key=lambda evaluation: LIMITED.score(evaluation.genome), reverse=True)[:30]
    assert search.survivors() == [evaluation.key for evaluation in best]


def test_evolution_may_begin_with_more_random_networks_than_survive():
    optimizer = Evolution(LIMITED.problem(), population=4, children=3, initial=20)
    first = [LIMITED.evaluate(genome, number=number) for number, genome in enumerate(optimizer.ask())]
    assert len(first) == 20
    optimizer.tell(first)
    best = sorted(first, key=lambda evaluation: LIMITED.score(evaluation.genome), reverse=True)[:4]
    assert optimizer.survivors() == [evaluation.key for evaluation in best]
    assert len(optimizer.ask()) == 3


def test_the_newest_survive_aging_evolution_whatever_their_score_and_the_best_is_not_forgotten():
    search = AgingEvolution(LIMITED.problem(), population=30, children=7)
    told: list[Evaluation] = []
    while len(told) < 30 + 7 * 15:
        asked = search.ask()
        worse = [Score(-float(len(told) + i)) for i in range(len(asked))]  # each worse than all before it
        news = [replace(LIMITED.evaluate(genome), score=score) for genome, score in zip(asked, worse, strict=True)]
        search.tell(news)
        told += news
    assert search.survivors() == [evaluation.key for evaluation in told[-30:]]
    assert search._algorithm.opt[0].data["key"] == told[0].key


def test_aging_evolution_changes_one_parent_and_leaves_it_as_it_was():
    space = toy(20, 5)
    search = AgingEvolution(space.problem(), population=20, sample=20, children=10)
    first = run(space, search, 20)
    children = search.ask()
    for child in children:  # one gene of 20 moves on average: no child is nearer to a stranger than to its parent
        assert min(sum(a != b for a, b in zip(child, parent.genome, strict=True)) for parent in first) <= 6
    assert search.survivors() == [evaluation.key for evaluation in first]
    assert [text(tuple(member.X)) for member in search._algorithm.pop] == search.survivors()


@pytest.mark.parametrize("seed", range(5))
def test_evolution_beats_random_search_at_equal_evaluations(seed):
    space = toy(40, 6, seed=seed, at_most=0.9)
    evolved, drawn = (
        max(space.score(genome) for genome in genomes(run(space, optimizer(space.problem(seed)), 400)))
        for optimizer in (Evolution, RandomSearch)
    )
    assert evolved > drawn + 1


def test_children_are_born_by_the_mutation_of_the_space_if_it_has_one():
    class Marking(Toy):
        def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome:
            return (4, 4, *(int(choice) for choice in rng.integers(4, size=18)))

    plain = toy(20, 5)
    space = Marking(plain.genes, plain.gains, plain.prices)
    for optimizer in EVOLVING:
        search = optimizer(space.problem(), population=10, children=10)
        assert sum(genome[:2] == (4, 4) for genome in genomes(run(space, search, 10))) < 5
        assert all(genome[:2] == (4, 4) and max(genome[2:]) < 4 for genome in search.ask())


def test_random_immigrants_come_when_mating_finds_nothing_new():
    class Stuck(Toy):
        def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome:
            return genome

    plain = toy(20, 5)
    space = Stuck(plain.genes, plain.gains, plain.prices)
    search = AgingEvolution(space.problem(), population=10, children=10)
    keys = [evaluation.key for evaluation in run(space, search, 60)]
    assert len(set(keys)) == 60


# --- the threshold ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda problem: Evolution(problem, population=16, children=16),
        lambda problem: Evolution(problem, population=4, children=8),
        lambda problem: RandomSearch(problem, children=20),
    ],
    ids=["evolution", "small population", "random"],
)
@pytest.mark.parametrize("seed", range(3))
def test_what_lies_below_the_threshold_need_not_be_scored(make, seed):
    space = toy(12, 5, seed=seed, at_most=0.9)
    all_scored, bounded = make(space.problem(seed)), make(space.problem(seed))
    with_scores = run(space, all_scored, 400)
    with_bounds = run(space, bounded, 400, bounding=True)
    assert genomes(with_bounds) == genomes(with_scores)
    if isinstance(bounded, Evolution):
        assert bounded.survivors() == all_scored.survivors()
    assert sum(evaluation.status == "bounded" for evaluation in with_bounds) > 100
    assert best_ten(with_bounds) == best_ten(with_scores)


def best_ten(evaluations: list[Evaluation]) -> list[str]:
    scored = [evaluation for evaluation in evaluations if evaluation.status == "scored"]
    return [e.key for e in sorted(scored, key=lambda evaluation: evaluation.score.value, reverse=True)[:10]]


def scores(evaluations: list[Evaluation]) -> list[float]:
    return sorted((e.score.value for e in evaluations if e.status == "scored"), reverse=True)


def test_the_threshold_of_evolution_is_the_last_survivor_once_the_population_is_full_of_scored_ones():
    space = toy(12, 5)
    search = Evolution(space.problem(), population=16, children=8)
    assert search.threshold(ANY) == -math.inf
    asked = search.ask()
    first = [outcome(space, genome, "failed" if i < 4 else "scored") for i, genome in enumerate(asked)]
    search.tell(first)
    assert search.threshold(ANY) == -math.inf  # 12 scored, 16 survive
    second = run(space, search, 8)
    assert search.threshold(ANY) == scores(first + second)[15]


@pytest.mark.parametrize("seed", range(3))
def test_what_cannot_survive_is_not_asked(seed):
    space = toy(30, 5, seed=seed, at_most=0.9)
    knowing, unknowing = (
        run(space, Evolution(space.problem(seed, bounds=bounds)), 600, bounding=True) for bounds in (True, False)
    )
    assert sum(e.status == "bounded" for e in unknowing) > 100
    assert sum(e.status == "bounded" for e in knowing) < 10
    assert scores(knowing)[0] >= scores(unknowing)[0]


def test_what_cannot_survive_is_asked_where_nothing_else_is_left():
    space = toy(4, 3)
    asked = run(space, Evolution(space.problem(bounds=True), population=8, children=8), 1000, bounding=True)
    assert len({evaluation.key for evaluation in asked}) == len(asked) == 3**4


def test_no_score_changes_what_random_search_asks():
    assert RandomSearch(LIMITED.problem()).threshold(ANY) == math.inf


# --- fitness that changes -----------------------------------------------------------------------------------------


def test_survivors_are_chosen_by_the_fitness_of_the_last_refit():
    space = toy(12, 5)
    search = Evolution(space.problem(), population=10, children=10)
    seen = run(space, search, 10)
    told = [space.evaluate(genome) for genome in search.ask()]
    fitness = {evaluation.key: -space.score(evaluation.genome) for evaluation in seen + told}
    search.refit(fitness)
    search.tell(told)
    assert search.survivors() == sorted(fitness, key=fitness.__getitem__, reverse=True)[:10]
    assert search.threshold(ANY) == -math.inf


@pytest.mark.parametrize("optimizer", EVOLVING)
def test_a_refit_to_the_same_values_changes_nothing(optimizer):
    plain = genomes(run(LIMITED, optimizer(LIMITED.problem(), population=20, children=20), 200))
    search = optimizer(LIMITED.problem(), population=20, children=20)
    seen: list[Evaluation] = []
    while len(seen) < 200:
        told = [LIMITED.evaluate(genome) for genome in search.ask()]
        seen += told
        search.refit({evaluation.key: evaluation.score.value for evaluation in seen if evaluation.score})
        search.tell([replace(e, score=Score(-5.0)) if e.status == "scored" else e for e in told])
    assert genomes(seen) == plain


# --- bands --------------------------------------------------------------------------------------------------------


def banded(space: Toy, shares: list[float], seed: int) -> Problem:
    """The problem with bands of FLOPs that end at ``shares`` of the mean."""
    edges = [round(share * 500 * len(space.genes)) for share in shares]

    def violation(genome: Genome, low: int, high: int) -> float:
        flops = space.flops(genome)
        return max(0.0, flops / high - 1, 1 - flops / (low + 1))

    bands = [Band(high, partial(violation, low=low, high=high)) for low, high in pairwise((0, *edges))]
    return replace(space.problem(seed), bands=tuple(bands))


def test_one_run_with_bands_finds_for_each_what_a_run_for_it_alone_does():
    space, shares = toy(12, 5, at_most=1.0), [0.6, 0.8, 1.0]
    losses = []
    for seed in range(2):
        problem = banded(space, shares, seed)
        together = run(space, Evolution(problem, population=60, children=60), 3000)
        for band in problem.bands:
            alone = replace(space.problem(seed), violation=band.violation)
            apart = run(space, Evolution(alone, population=60, children=60), 3000)
            best = [
                max(e.score.value for e in found if e.score and band.violation(e.genome) == 0)
                for found in (together, apart)
            ]
            losses.append(1 - best[0] / best[1])
    assert np.mean(losses) < 0.01 and max(losses) < 0.03


def test_every_band_has_a_share_of_the_population():
    space = toy(20, 5, at_most=1.0)
    problem = banded(space, [0.6, 0.8, 1.0], 0)
    search = Evolution(problem, population=30, children=30)
    seen = {evaluation.key: evaluation.genome for evaluation in run(space, search, 600)}
    survivors = [seen[key] for key in search.survivors()]
    assert [sum(band.violation(genome) == 0 for genome in survivors) for band in problem.bands] == [10, 10, 10]
    for band in problem.bands:
        own = [space.score(genome) for genome in survivors if band.violation(genome) == 0]
        assert search.threshold(Cost(band.at_most, 1, 1, 1, 1, 1)) == min(own)


@pytest.mark.parametrize("seed", range(3))
def test_what_lies_below_the_threshold_of_its_band_need_not_be_scored(seed):
    space = toy(12, 5, seed=seed, at_most=1.0)
    problem = banded(space, [0.6, 0.8, 1.0], seed)
    edges = [band.at_most for band in problem.bands]
    all_scored, bounded = (Evolution(problem, population=30, children=16, proposals=1) for _ in range(2))
    with_scores = run(space, all_scored, 600, bands=edges)
    with_bounds = run(space, bounded, 600, bands=edges, bounding=True)
    assert genomes(with_bounds) == genomes(with_scores)
    assert bounded.survivors() == all_scored.survivors()
    assert sum(evaluation.status == "bounded" for evaluation in with_bounds) > 50
    for band in problem.bands:
        inside = [[e for e in found if band.violation(e.genome) == 0] for found in (with_scores, with_bounds)]
        assert best_ten(inside[0]) == best_ten(inside[1])


# --- score against FLOPs ------------------------------------------------------------------------------------------


def test_the_best_and_the_cheapest_ever_survive_nsga2():
    search = Nsga2(LIMITED.problem(), population=20, children=20)
    scored = [evaluation for evaluation in run(LIMITED, search, 300) if evaluation.score]
    best = max(scored, key=lambda evaluation: evaluation.score.value)
    cheapest = min(scored, key=lambda evaluation: evaluation.cost.flops)
    assert {best.key, cheapest.key} <= set(search.survivors())


def test_nsga2_covers_more_of_score_against_flops_than_random_search():
    def covered(evaluations: list[Evaluation]) -> float:
        """Mean over budgets of the best score within them."""
        points = [(e.cost.flops, e.score.value) for e in evaluations if e.score]
        budgets = np.linspace(0.4, 0.8, 20) * 500 * 20
        return float(np.mean([max((value for flops, value in points if flops <= b), default=0) for b in budgets]))

    evolved, drawn = (run(LIMITED, optimizer(LIMITED.problem()), 400) for optimizer in (Nsga2, RandomSearch))
    assert covered(evolved) > covered(drawn) + 1
