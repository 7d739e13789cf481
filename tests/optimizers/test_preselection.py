"""Which of the children bred are asked."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.optimizers.test_algorithms import banded, genomes
from tests.support.toy_space import Toy, run, toy
from vkdnw_search.optimizers.algorithms import Evolution
from vkdnw_search.optimizers.preselection import MEMORY, Preselection
from vkdnw_search.optimizers.surrogate import predict
from vkdnw_search.optimizers.variation import random_genome

SPACE = toy(20, 5, at_most=1.0)
SHARES = [0.8, 0.9, 1.0]


def drawn(space: Toy, count: int, seed: int = 0) -> list:
    rng = np.random.default_rng(seed)
    return [random_genome(space.genes, rng) for _ in range(count)]


def taught(problem, space: Toy, count: int = 100) -> Preselection:
    preselection = Preselection(problem)
    preselection.learn([space.evaluate(genome, number=i) for i, genome in enumerate(drawn(space, count))])
    return preselection


def test_those_are_asked_whose_predicted_score_is_highest():
    space = toy(20, 5)
    preselection, children = taught(space.problem(), space), drawn(space, 40, seed=1)
    known = drawn(space, 100)
    promise = predict(space.genes, known, [space.score(genome) for genome in known], children)
    assert preselection.best(children, 10, {}) == sorted(np.argsort(-promise)[:10])
    found, all_children = (
        [space.score(children[i]) for i in chosen] for chosen in (np.argsort(-promise)[:10], range(40))
    )
    assert np.mean(found) > np.mean(all_children)


def test_all_are_asked_where_there_are_no_more_and_the_first_where_nothing_is_known():
    children = drawn(SPACE, 8)
    assert taught(SPACE.problem(), SPACE).best(children, 9, {}) == list(range(8))
    assert Preselection(SPACE.problem()).best(children, 3, {}) == [0, 1, 2]
    assert Preselection(SPACE.problem()).best([], 3, {}) == []


def test_each_band_has_its_share_and_what_is_in_none_comes_last():
    problem = banded(SPACE, [0.9, 1.0, 1.1], 0)
    children = drawn(SPACE, 200, seed=1)
    chosen = taught(problem, SPACE, 300).best(children, 12, {})
    inside = [[i for i, child in enumerate(children) if band.violation(child) == 0] for band in problem.bands]
    assert [len(set(chosen) & set(band)) for band in inside] == [4, 4, 4]
    within = sum(map(len, inside))
    assert within < 200
    assert set(taught(problem, SPACE, 300).best(children, within, {})) == {i for band in inside for i in band}


def test_only_the_latest_scores_count_and_only_scores():
    preselection = Preselection(SPACE.problem())
    evaluations = [SPACE.evaluate(genome, number=i) for i, genome in enumerate(drawn(SPACE, 4 * MEMORY))]
    preselection.learn(evaluations)
    scored = [e.number for e in evaluations if e.status == "scored"]
    assert MEMORY < len(scored) < len(evaluations)
    assert preselection.known == scored[-MEMORY:]


def test_changed_fitness_counts_in_place_of_the_score():
    space = toy(20, 5)
    preselection, children = taught(space.problem(), space), drawn(space, 40, seed=1)
    known = drawn(space, 100)
    reversed_order = {space.key(genome): -space.score(genome) for genome in known}
    best, worst = (set(preselection.best(children, 20, fitness)) for fitness in ({}, reversed_order))
    assert best | worst == set(range(40))


@pytest.mark.parametrize("bands", [True, False])
def test_a_restored_search_asks_what_the_undisturbed_one_does(bands):
    problem = banded(SPACE, SHARES, 0) if bands else SPACE.problem()
    undisturbed, restored = (Evolution(problem, children=16, proposals=4) for _ in range(2))
    told = run(SPACE, undisturbed, 638 if bands else 640)  # whole generations
    restored.restore(json.loads(json.dumps(undisturbed.state())), told)
    assert genomes(run(SPACE, restored, 160)) == genomes(run(SPACE, undisturbed, 160))


@pytest.mark.parametrize("seed", range(2))
def test_a_score_that_may_be_left_out_teaches_nothing(seed):
    space = toy(6, 4, seed=seed, at_most=1.0)
    problem = replace(banded(space, [0.8, 0.9, 1.0], seed), may_reach=space.may_reach)
    edges = [band.at_most for band in problem.bands]
    all_scored, bounded = (Evolution(problem, population=30, children=16) for _ in range(2))
    with_scores, with_bounds = (
        run(space, search, 350, bands=edges, bounding=bounding)
        for search, bounding in ((all_scored, False), (bounded, True))
    )
    assert sum(evaluation.status == "bounded" for evaluation in with_bounds) > 30
    assert genomes(with_bounds) == genomes(with_scores)


def test_bands_of_one_run_learn_from_one_another():
    """With a third of the candidates for each, they find more with pre-selection than without."""
    space = toy(30, 6, at_most=1.0)
    gains = []
    for seed in range(4):
        problem = banded(space, SHARES, seed)
        sums = []
        for proposals in (None, 1):
            found = run(space, Evolution(problem, population=30, children=30, proposals=proposals), 450)
            scored = [e for e in found if e.status == "scored"]
            best = [max(e.score.value for e in scored if band.violation(e.genome) == 0) for band in problem.bands]
            sums.append(sum(best))
        gains.append(sums[0] - sums[1])
    assert min(gains) > 0


def test_without_bands_each_child_bred_is_asked_by_default():
    problem = SPACE.problem()
    plain, one = (run(SPACE, Evolution(problem, proposals=proposals), 200) for proposals in (None, 1))
    four = run(SPACE, Evolution(problem, proposals=4), 200)
    assert genomes(plain) == genomes(one) != genomes(four)
    three = replace(problem, bands=banded(SPACE, SHARES, 0).bands)
    banded_default, banded_four = (run(SPACE, Evolution(three, proposals=p), 200) for p in (None, 4))
    assert genomes(banded_default) == genomes(banded_four)
