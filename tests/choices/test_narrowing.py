"""Choices that are taken away from a space are gone for whoever holds it, and nothing else of it is."""

from __future__ import annotations

import math
import pickle
from contextlib import nullcontext, suppress
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.chosen_spaces import chosen_model
from tests.support.quick import Quick, leave_out_the_end
from tests.support.tiny_space import Tiny
from vkdnw_search import contracts, search
from vkdnw_search.choices import narrowed
from vkdnw_search.choices.narrowing import NarrowedSpace
from vkdnw_search.contracts import Problem
from vkdnw_search.errors import RecipeError, SpaceError
from vkdnw_search.optimizers.algorithms import AgingEvolution, Evolution, Nsga2, RandomSearch
from vkdnw_search.optimizers.variation import random_genome
from vkdnw_search.recipe.recipe import load_recipe
from vkdnw_search.recipe.registry import find, shipped
from vkdnw_search.records import Cost, Evaluation, Gene, Genome, Score, Status
from vkdnw_search.testing import check_search_space

SPACES = [*shipped("spaces"), "choices", "tiny"]
OPTIONS: dict[str, dict[str, Any]] = {"nasbench201": {"residual": True}, "resnet": {"small_images": True}}
PROTOCOLS = [value for name, value in vars(contracts).items() if name.startswith("Has") and isinstance(value, type)]
SLOTTED = ("macro", "mobilenet", "resnet")
"""Spaces whose blocks may stand in several slots: a network may need another than that in which it is encoded."""
PROPERTY = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def space_called(name: str) -> Any:
    own = {"choices": chosen_model, "tiny": Tiny}
    return own[name]() if name in own else find("spaces", name)(**OPTIONS.get(name, {}))


@st.composite
def takings(draw: st.DrawFn, space: Any) -> dict[str, Any]:
    """Some genes that are fixed, and choices of others that are excluded, but one at least."""
    genes: list[Gene] = draw(st.lists(st.sampled_from(space.genes), min_size=1, max_size=6, unique=True))
    fix = {gene.name: draw(st.sampled_from(gene.choices)) for gene in genes[::2]}
    exclude = {
        gene.name: draw(st.lists(st.sampled_from(gene.choices), max_size=len(gene.choices) - 1, unique=True))
        for gene in genes[1::2]
    }
    return {"fix": fix, "exclude": exclude}


def must_obey(space: NarrowedSpace, genome: Genome, fix: dict[str, Any], exclude: dict[str, Any]) -> None:
    """The genome of the space within, read by its own genes, has no choice that was taken away."""
    inner = space.inner_genome(genome)
    values = {gene.name: gene.choices[i] for gene, i in zip(space.inner.genes, inner, strict=True)}
    assert all(values[name] == value for name, value in fix.items())
    assert not any(values[name] in values_gone for name, values_gone in exclude.items())
    assert space.decode(genome).key == space.inner.decode(inner).key


@pytest.mark.parametrize("name", SPACES)
@PROPERTY
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_no_random_genome_child_or_encoded_network_has_what_was_taken_away(
    name: str, data: st.DataObject, seed: int
) -> None:
    whole = space_called(name)
    taken = data.draw(takings(whole))
    space, rng = narrowed(whole, **taken), np.random.default_rng(seed)
    genome = random_genome(space.genes, rng)
    for _ in range(8):
        must_obey(space, genome, **taken)
        if isinstance(space, contracts.HasEncoding):
            with suppress(SpaceError) if name in SLOTTED else nullcontext():
                encoded = space.encode(space.decode(genome))
                must_obey(space, encoded, **taken)
                assert space.decode(encoded).key == space.decode(genome).key
        if isinstance(space, contracts.HasMutation):
            child = space.mutate(genome, rng)
            assert child != genome or all(len(gene.choices) == 1 for gene in space.genes)
            genome = child


class Searched:
    """A search without networks: the score is a number that the key gives."""

    def __init__(self, space: NarrowedSpace, make: Any, seed: int) -> None:
        def key(genome: Genome) -> str:
            return space.decode(genome).key

        self.optimizer = make(Problem(space, key, lambda genome: 0.0, seed))
        self.visited: list[Genome] = []

    def go_on(self) -> list[Genome]:
        asked = list(self.optimizer.ask())
        self.optimizer.tell([self._outcome(genome, len(self.visited) + i) for i, genome in enumerate(asked)])
        self.visited += asked
        return asked

    def _outcome(self, genome: Genome, number: int) -> Evaluation:
        size = 1 + sum(genome)
        cost = Cost(size, size, size, 1, 1, 1)
        return Evaluation(number, 0, genome, str(genome), cost, 0.0, Status.SCORED, "", Score(float(hash(genome) % 97)))


@pytest.mark.parametrize("make", [Evolution, AgingEvolution, Nsga2, RandomSearch])
@pytest.mark.parametrize("name", SPACES)
def test_no_candidate_that_an_optimizer_visits_has_what_was_taken_away(name: str, make: Any) -> None:
    whole = space_called(name)
    fix = {gene.name: gene.choices[-1] for gene in whole.genes[::3]}
    exclude = {gene.name: gene.choices[:1] for gene in whole.genes[1::3] if len(gene.choices) > 1}
    space = narrowed(whole, fix=fix, exclude=exclude)
    options = {} if make is RandomSearch else {"population": 8}
    run = Searched(space, lambda problem: make(problem, children=8, **options), seed=1)
    for _ in range(6):
        for genome in run.go_on():
            must_obey(space, genome, fix, exclude)
    assert len(run.visited) >= min(40, len({space.decode(g).key for g in run.visited}))


@pytest.mark.parametrize("make", [Evolution, AgingEvolution, Nsga2, RandomSearch])
def test_a_space_of_one_network_is_searched_to_its_end(make: Any) -> None:
    space = narrowed(Tiny(), fix={gene.name: gene.choices[1] for gene in Tiny.genes})
    run = Searched(space, make, seed=0)
    assert [len(run.go_on()) for _ in range(2)] == [1, 0] and run.visited == [(0, 0, 0)]


@pytest.mark.parametrize("name", SPACES)
def test_it_keeps_the_protocols_that_the_space_keeps_and_no_others(name: str) -> None:
    whole = space_called(name)
    space = narrowed(whole, fix={whole.genes[0].name: whole.genes[0].choices[0]})
    assert [isinstance(space, p) for p in PROTOCOLS] == [isinstance(whole, p) for p in PROTOCOLS]
    assert {m for m in dir(whole) if not m.startswith("_")} <= set(dir(space))
    architecture = space.decode((0,) * len(space.genes))
    for member in ("layers", "references", "free_operators", "resolution"):
        if hasattr(whole, member):
            ours, theirs = getattr(space, member), getattr(whole, member)
            assert (ours(architecture) == theirs(architecture)) if callable(theirs) else ours == theirs
    copy = pickle.loads(pickle.dumps(space))
    assert copy.genes == space.genes and copy.decode((0,) * len(space.genes)).key == architecture.key
    if hasattr(whole, "parse"):
        assert space.parse(architecture.key).key == architecture.key


def test_a_narrowed_space_keeps_the_contract_of_a_search_space() -> None:
    check_search_space(narrowed(Tiny(), fix={"width": 8}, exclude={"kernel": [7]}), samples=20)


def test_a_gene_that_does_not_count_does_not_keep_a_network_from_being_encoded() -> None:
    space = space_called("mobilenet")
    taken = narrowed(space, fix={"stage1.block2.type": "E1K7", "stage1.block2.depth": 0})
    genome = random_genome(taken.genes, np.random.default_rng(0))
    whole = space.encode(taken.decode(genome))  # there the absent block repeats the one before
    assert whole != taken.inner_genome(taken.encode(taken.decode(genome)))
    assert taken.decode(taken.encode(taken.decode(genome))) == taken.decode(genome)


def test_blocks_that_merge_are_encoded_by_the_depths_that_are_left() -> None:
    space = space_called("mobilenet")
    values = {"type": "E1K3", "out": 64, "btn": 128}
    same = {f"stage1.block{b}.{gene}": value for b in (1, 2) for gene, value in values.items()}
    taken = narrowed(space, fix={**same, "stage1.block1.depth": 4, "stage1.block3.depth": 0})
    place = [gene.name for gene in taken.genes].index("stage1.block2.depth")
    first = (0,) * len(taken.genes)
    for depth in range(len(taken.genes[place].choices)):
        architecture = taken.decode((*first[:place], depth, *first[place + 1 :]))
        assert taken.decode(taken.encode(architecture)) == architecture


def test_a_network_that_the_genes_left_cannot_express_is_refused_naming_the_gene() -> None:
    space = space_called("mobilenet")
    taken = narrowed(space, fix={"stem.out": 16})
    with pytest.raises(
        SpaceError, match=r"gene stem\.out: must be one of 16, which is what fix and exclude leave, but "
    ):
        taken.encode(space.parse(space.references["mobilenetv2_like"]))


@pytest.mark.parametrize(
    ("taken", "told"),
    [
        ({"fix": {"widht": 8}}, "fix: must name genes of the space (width, kernel, depth), but names 'widht'. Did you"),
        ({"exclude": {"width": [5]}}, "exclude, gene width: must be one of 4, 8, 12, but is 5"),
        ({"fix": {"width": "8"}}, "fix, gene width: must be one of 4, 8, 12, but is '8'. Did you mean '8'?"),
        ({"fix": {"depth": True}}, "fix, gene depth: must be one of 1, 2, but is True"),
        ({"exclude": {"depth": [1, 2]}}, "exclude, gene depth: must leave a choice, but leaves none of 1, 2"),
        ({"fix": {"depth": 1}, "exclude": {"depth": [1]}}, "exclude, gene depth: must leave a choice"),
    ],
)
def test_what_cannot_be_taken_away_is_told(taken: dict[str, Any], told: str) -> None:
    with pytest.raises(SpaceError) as error:
        narrowed(Tiny(), **taken)
    assert str(error.value).startswith(told)


def test_a_genome_of_another_length_or_range_is_refused() -> None:
    space = narrowed(Tiny(), fix={"width": 8})
    for genome in ((0, 0), (1, 0, 0), (0, -1, 0)):
        with pytest.raises(SpaceError, match="must have an index for each of 3 genes"):
            space.decode(genome)


# ------------------------------------------------------------------------------------------------ in a recipe


def test_a_recipe_takes_choices_away_and_its_yaml_gives_the_same_space() -> None:
    overrides = ["space.fix.stem.out=32", "space.exclude.stage1.block1.type=[E6K7, E6K5]", "space.exclude.last=8"]
    recipe = load_recipe("mbv2_600M", overrides[:2])
    space = recipe.build_space()
    assert space.genes[0].choices == (32,) and {"E6K7", "E6K5"}.isdisjoint(space.genes[1].choices)
    again = load_recipe({"space": recipe.resolved()["space"]})
    assert again.build_space() == space
    with pytest.raises(RecipeError, match=r"space \(mobilenet\), exclude: must name genes"):
        load_recipe("mbv2_600M", overrides).build_space()


def test_another_space_has_no_use_for_the_choices_taken_away(caplog: pytest.LogCaptureFixture) -> None:
    recipe = load_recipe({"space": {"use": "mobilenet", "fix": {"stem.out": 32}}}, ["space.use=resnet"])
    assert recipe.space is not None and not recipe.space.fix
    assert "space.fix" in caplog.text


def test_a_recipe_that_takes_nothing_away_says_nothing_of_it_and_builds_the_space_itself() -> None:
    recipe = load_recipe("nb201")
    assert not {"fix", "exclude"} & set(recipe.resolved()["space"])  # type: ignore[arg-type]
    assert not isinstance(recipe.build_space(), NarrowedSpace)


def test_a_search_in_a_narrowed_space_ends_when_its_networks_are_visited(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out_the_end(monkeypatch)
    fix = {"node1.from0": "skip_connect", "node2.from0": "none", "node2.from1": "nor_conv_3x3"}
    recipe = {
        "space": {"use": "nasbench201", "fix": fix, "exclude": {"node3.from2": "avg_pool_3x3"}},
        "stop": {"evaluations": 1000}, "executor": "inline", "finalists": 2,
    }  # fmt: skip
    result = search(recipe, proxy=Quick(), out=tmp_path / "run")
    keys = {e.key for e in result.evaluations()}
    every = result.space.genes
    assert "exhausted" in result.ended and len(keys) <= math.prod(len(gene.choices) for gene in every) == 100
    assert not any("avg_pool_3x3~2" in key for key in keys)
    assert len((tmp_path / "run/results.csv").read_text().splitlines()) == result.visited + 1
