"""Mutation, repair and sampling without replacement, on spaces whose every genome can be counted."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymoo.core.population import Population

from tests.support.toy_space import sorted_text, text, toy
from vkdnw_search.optimizers.pymoo_operators import Tournament
from vkdnw_search.optimizers.sampling import PATIENCE, UnvisitedSampler
from vkdnw_search.optimizers.variation import mutate, random_genome, repair
from vkdnw_search.records import Gene


def gene(choices: int, *, ordered: bool) -> Gene:
    return Gene("gene", tuple(range(choices)), ordered=ordered)


genes_and_genome = st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=6).flatmap(
    lambda sizes: st.tuples(
        st.just([gene(choices, ordered=ordered) for choices, ordered in sizes]),
        st.tuples(*(st.integers(0, choices - 1) for choices, _ in sizes)),
    )
)


@given(genes_and_genome, st.floats(0.01, 10), st.integers(0, 2**32))
def test_a_mutation_is_another_valid_genome_wherever_there_is_one(drawn, moves, seed):
    genes, genome = drawn
    child = mutate(genome, np.random.default_rng(seed), genes=genes, moves=moves)
    assert all(0 <= choice < len(gene.choices) for choice, gene in zip(child, genes, strict=True))
    assert (child != genome) == any(len(gene.choices) > 1 for gene in genes)
    assert all(type(choice) is int for choice in child)


def test_an_ordered_gene_moves_mostly_to_a_neighbour_and_as_often_up_as_down():
    rng = np.random.default_rng(0)
    steps = Counter(mutate((50,), rng, genes=[gene(101, ordered=True)], moves=1)[0] - 50 for _ in range(6000))
    sizes = Counter(abs(step) for step in steps.elements())
    assert sizes[1] / 6000 == pytest.approx(2 / 3, abs=0.02)
    assert sizes[2] / 6000 == pytest.approx(2 / 9, abs=0.02)
    assert sum(count for step, count in steps.items() if step > 0) / 6000 == pytest.approx(1 / 2, abs=0.02)


def test_an_ordered_gene_at_its_end_moves_inwards():
    rng = np.random.default_rng(0)
    genes = [gene(3, ordered=True)]
    assert {mutate((0,), rng, genes=genes, moves=1)[0] for _ in range(100)} == {1, 2}
    assert {mutate((2,), rng, genes=genes, moves=1)[0] for _ in range(100)} == {0, 1}


def test_an_unordered_gene_moves_to_every_other_choice_equally_often():
    rng = np.random.default_rng(0)
    counts = Counter(mutate((2,), rng, genes=[gene(5, ordered=False)], moves=1)[0] for _ in range(4000))
    assert set(counts) == {0, 1, 3, 4}
    assert all(count == pytest.approx(1000, abs=120) for count in counts.values())


def test_a_mutation_changes_as_many_genes_as_it_was_asked_to_on_average():
    rng = np.random.default_rng(0)
    genes, genome = [gene(4, ordered=False)] * 40, (0,) * 40
    changed = [40 - mutate(genome, rng, genes=genes, moves=5).count(0) for _ in range(2000)]
    assert np.mean(changed) == pytest.approx(5, abs=0.2)


TIGHT = toy(15, 8, at_least=0.50, at_most=0.52)
"""Half the mean cost, within 2 %: 8 of 200,000 random genomes are feasible."""


def test_repair_finds_a_window_that_random_genomes_miss_and_keeps_them_apart():
    rng = np.random.default_rng(0)
    random = [random_genome(TIGHT.genes, rng) for _ in range(20_000)]
    assert sum(TIGHT.violation(genome) == 0 for genome in random) <= 6
    repaired = [repair(genome, TIGHT.problem(), rng, 200) for genome in random[:400]]
    assert np.mean([TIGHT.violation(genome) == 0 for genome in repaired]) >= 0.99
    assert len(set(map(text, repaired))) >= 0.95 * 400
    for i, one in enumerate(TIGHT.genes):  # no gene is driven to one value
        assert max(Counter(genome[i] for genome in repaired).values()) <= 0.8 * 400, one.name


def test_repair_counts_no_more_than_it_may_and_never_makes_it_worse():
    rng = np.random.default_rng(1)
    problem = TIGHT.problem()
    counted: list[float] = []
    problem = replace(problem, violation=lambda genome: counted.append(TIGHT.violation(genome)) or counted[-1])
    for tries in (0, 1, 5, 30, 500):
        genome = random_genome(TIGHT.genes, rng)
        counted.clear()
        mended = repair(genome, problem, rng, tries)
        assert len(counted) <= tries + 1
        assert min(counted[:-1], default=1) > 0  # the first feasible one is the last
        assert TIGHT.violation(mended) == min(counted)


def test_repair_leaves_a_feasible_genome_and_the_generator_as_they_are():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    genome = (7,) * 15
    assert repair(genome, toy(15, 8).problem(), rng, 100) == genome
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("window", [(0.30, 0.31), (0.60, 0.61), (0.98, 0.99)])
@pytest.mark.parametrize("seed", range(10))
def test_repair_finds_a_narrow_window_along_one_ordered_gene_in_a_few_counts(window, seed):
    """The violation is linear in the choice, so the secant leads there: three counts a try, two tries for the side."""
    space = toy(1, 1000, at_least=window[0], at_most=window[1])
    counted = []
    problem = replace(space.problem(), violation=lambda genome: counted.append(genome) or space.violation(genome))
    rng = np.random.default_rng(seed)
    mended = repair((int(rng.integers(1000)),), problem, rng, 200)
    assert space.violation(mended) == 0
    assert len(counted) <= 40


def test_repair_keeps_no_change_that_gains_nothing():
    space = replace(toy(40, 8), prices=[[float(choice) for choice in range(8)]] * 2 + [[0.0] * 8] * 38, at_most=13)
    free = [repair((7,) * 40, space.problem(), np.random.default_rng(seed), 400)[2:] for seed in range(20)]
    changed = np.mean([choice != 7 for genome in free for choice in genome])
    assert changed < 0.25  # those that moved together with a gene that matters


def test_repair_reaches_a_feasible_choice_of_one_unordered_gene_among_many():
    space = replace(toy(1, 50), genes=(gene(50, ordered=False),), prices=[[1000.0] * 49 + [10.0]], at_most=20)
    assert repair((3,), space.problem(), np.random.default_rng(0), 1000) == (49,)


def draw_all(space, *, seed=0, repair_tries=200, step=7):
    """Keys in the order drawn, asked ``step`` at a time until nothing is left."""
    unseen = UnvisitedSampler(space.problem(seed), repair_tries=repair_tries)
    keys = []
    while genomes := unseen.draw(step):
        unseen.mark(map(space.key, genomes))
        keys += map(space.key, genomes)
    return keys


@pytest.mark.parametrize("repair_tries", [0, 50])
@pytest.mark.parametrize("seed", range(3))
def test_a_small_space_is_drawn_to_its_end_every_network_once(seed, repair_tries):
    space = replace(toy(4, 4, at_most=0.8), key=sorted_text)
    every = {sorted_text(genome) for genome in itertools.product(range(4), repeat=4)}
    keys = draw_all(space, seed=seed, repair_tries=repair_tries)
    assert len(keys) == len(every) == 35
    assert set(keys) == every


def test_feasible_networks_are_drawn_before_infeasible_ones():
    space = toy(5, 4, at_most=0.8)
    feasible = {text(genome) for genome in itertools.product(range(4), repeat=5) if space.violation(genome) == 0}
    keys = draw_all(space)
    assert 20 < len(feasible) < 200
    assert set(keys[: len(feasible)]) == feasible
    assert set(draw_all(space, repair_tries=0)[: len(feasible)]) != feasible


def test_a_random_candidate_is_uniform_among_the_feasible_ones():
    space = toy(2, 5, at_most=1.0)
    feasible = [text(genome) for genome in itertools.product(range(5), repeat=2) if space.violation(genome) == 0]
    firsts = Counter(text(UnvisitedSampler(space.problem(seed), repair_tries=50).draw(1)[0]) for seed in range(2000))
    expected = 2000 / len(feasible)
    assert set(firsts) == set(feasible)
    chi_square = sum((firsts[key] - expected) ** 2 / expected for key in feasible)
    assert chi_square < 2.5 * len(feasible)


def test_a_large_space_is_drawn_without_repetition():
    space = toy(30, 3)
    keys = [text(genome) for genome in UnvisitedSampler(space.problem(), repair_tries=0).draw(3000)]
    assert len(set(keys)) == 3000


def test_a_large_space_of_few_networks_ends():
    space = replace(toy(25, 2), key=lambda genome: str(genome[0] + genome[1]))
    counted = []
    problem = replace(space.problem(), key=lambda genome: counted.append(genome) or space.key(genome))
    assert sorted(map(space.key, UnvisitedSampler(problem, repair_tries=0).draw(10))) == ["0", "1", "2"]
    assert len(counted) <= 3 + 3 * PATIENCE


def test_a_drawn_genome_is_none_of_those_it_has_to_differ_from():
    space = toy(2, 3)
    besides = [(0, 0), (1, 1), (2, 2)]
    drawn = UnvisitedSampler(space.problem(), repair_tries=0).draw(9, besides=besides)
    assert sorted(drawn) == sorted(set(itertools.product(range(3), repeat=2)) - set(besides))


def members(objectives, violations):
    n = len(objectives)
    return Population.new(F=np.reshape(objectives, (n, 1)), CV=np.reshape(violations, (n, 1)).astype(float))


def test_a_tournament_is_won_by_the_best_drawn_and_feasible_beats_infeasible():
    pop = members([3.0, 1.0, 2.0, 0.0, -9.0], [0, 0, 0, 0, 0.1])
    rng = np.random.default_rng(0)
    winners = Tournament(3)._do(None, pop, 20_000, 1, random_state=rng)[:, 0]
    share = np.bincount(winners, minlength=5) / 20_000
    from_best = [3, 1, 2, 0, 4]  # place of each member, best 0; the k-th best of n wins with ((n-k)³ − (n-k-1)³) / n³
    expected = [((5 - place) ** 3 - (4 - place) ** 3) / 125 for place in from_best]
    assert share == pytest.approx(expected, abs=0.015)


def test_equals_win_a_tournament_equally_often():
    rng = np.random.default_rng(0)
    pop = members([1.0] * 4, [0] * 4)
    winners = [Tournament(4)._do(None, pop, 1, 1, random_state=rng)[0, 0] for _ in range(2000)]
    assert np.bincount(winners) / 2000 == pytest.approx([0.25] * 4, abs=0.05)
