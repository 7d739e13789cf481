"""Any module with choices is a search space."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support.chosen_spaces import (
    READERS,
    Model,
    chosen_model,
    contradicting,
    dropping,
    dropping_by_item,
    faulty,
    fixed,
    foreign,
    gradual,
    hidden_by_two,
    small,
)
from tests.support.generated_source import assert_same_network, load_network
from vkdnw_search import search
from vkdnw_search.choices.space import Choice, space_of
from vkdnw_search.errors import SpaceError
from vkdnw_search.recipe.registry import _declared
from vkdnw_search.testing import check_search_space

SPACE = chosen_model()


def space(make):
    return space_of(make, input_shape=(3, 4, 4), num_classes=3)


def test_it_keeps_the_contract_of_a_search_space():
    check_search_space(SPACE, samples=40)


def test_a_model_on_its_own_is_that_of_first_choices():
    assert Choice("kernel", 5, 3) == 5
    first = SPACE.build(SPACE.decode((0,) * len(SPACE.genes)))
    assert [p.shape for p in Model().parameters()] == [p.shape for p in first.parameters()]


def test_choices_that_depend_on_others_are_found():
    assert {gene.name: gene.choices for gene in SPACE.genes} == {
        "width": (8, 16, 24), "activation": ("relu", "gelu"), "depth": (1, 2, 3), "block0.kernel": (1, 3),
        "hidden": (False, True), "block1.kernel": (1, 3), "block2.kernel": (1, 3), "hidden.width": (4, 12),
    }  # fmt: skip
    assert {gene.name for gene in SPACE.genes if gene.ordered} == {
        "width", "depth", "block0.kernel", "block1.kernel", "block2.kernel", "hidden.width",
    }  # fmt: skip


def test_a_key_has_the_choices_that_were_met_and_no_others():
    keys = {SPACE.decode(genome).key for genome in product(*(range(len(gene.choices)) for gene in SPACE.genes))}
    assert len(keys) == 3 * 2 * (2 + 4 + 8) * (1 + 2)
    assert "width=8,activation=relu,depth=1,block0.kernel=1,hidden=False" in keys


@pytest.mark.parametrize("text", ["width=24", "depth=3,block2.kernel=3,hidden=True,hidden.width=12,activation=gelu"])
def test_the_source_is_the_models_own_code_with_the_answers(text):
    chosen = SPACE.parse(text)
    assert all(word in chosen.key for word in text.split(","))
    source = SPACE.source(chosen)
    assert "SPACES" not in source and "foreign" not in source and "class Block" in source
    assert_same_network(SPACE.build(chosen), load_network(source)(), torch.randn(2, 3, 8, 8))
    assert load_network(source)(num_classes=7).eval()(torch.randn(1, 3, 8, 8)).shape == (1, 7)


def test_names_that_get_their_meaning_in_several_statements_come_along_and_local_ones_do_not():
    gradually = space(gradual)
    chosen = gradually.parse("width=8")
    source = gradually.source(chosen)
    assert "math" not in source and "SMALLEST += 2" in source and "except ImportError" in source
    assert_same_network(gradually.build(chosen), load_network(source)(), torch.randn(2, 3, 4, 4))


def test_a_function_is_as_good_as_a_class():
    check_search_space(space(small), samples=4)


@pytest.mark.parametrize("way", READERS)
def test_a_constructor_may_look_at_its_numbers(way):
    found = space(partial(dropping, way))
    assert {gene.name: gene.choices for gene in found.genes} == {"depth": (1, 2, 3), "width": (4, 8)}
    network = found.build(found.parse("depth=3,width=8"))
    assert network[2].rates == READERS[way](3)
    assert network(torch.zeros(2, 3, 4, 4)).shape == (2, 3)


def test_a_space_with_stochastic_depth_keeps_the_contract():
    check_search_space(
        space_of(dropping_by_item, input_shape=(3, 4, 4), num_classes=3, free_operators=["aten::add", "aten::mul"]),
        samples=4,
    )


def test_weights_have_no_numbers_while_choices_are_looked_for():
    seen = []

    def make(num_classes: int) -> nn.Module:
        Choice("width", 4, 8)
        seen.append(nn.Linear(4, 4).weight.device.type)
        return nn.Identity()

    space(make).genes  # noqa: B018
    assert set(seen) == {"meta"}


def test_what_a_constructor_raises_of_itself_is_what_comes():
    with pytest.raises(ValueError, match="width 4 is not to my liking"):
        space(faulty).genes  # noqa: B018


def test_what_is_wrong_is_told_in_words():
    with pytest.raises(SpaceError, match=r"fixed\(num_classes=3\): must ask for a Choice, but asks for none"):
        space(fixed).genes  # noqa: B018
    with pytest.raises(SpaceError, match=r"Choice\('a'\) must have the same choices each time, but has \(1, 3\) after"):
        space(contradicting).genes  # noqa: B018
    with pytest.raises(SpaceError, match=r"Choice\('e'\) was not met before.*Ask for it in any case"):
        found = space(hidden_by_two)
        for genome in product(*(range(2) for _ in found.genes)):
            found.decode(genome)
    with pytest.raises(SpaceError, match=r"must have an index for each of 1 genes, but is \(2,\)"):
        space(small).decode((2,))
    with pytest.raises(SpaceError, match="width must be one of 4, 8, but is 'width=5'"):
        space(small).parse("width=5")
    with pytest.raises(SpaceError, match=r"must name width, but is 'with=4'\. Did you mean 'width'"):
        space(small).parse("with=4")
    with pytest.raises(SpaceError, match="a name must have letters"):
        Choice("two words", 1, 2)
    with pytest.raises(SpaceError, match=r"must be among numbers.*but is 'a,b'"):
        Choice("a", "a,b")


def test_code_that_needs_more_than_torch_or_is_nowhere_is_refused_with_a_way_out():
    strange = space(foreign)
    chosen = strange.decode((1,))
    with pytest.raises(SpaceError, match=r"math: what the network uses must be of torch.*torch\.export\.save"):
        strange.source(chosen)
    assert strange.build(chosen)(torch.zeros(1, 3, 4, 4)).shape == (1, 3)

    def local(num_classes: int) -> nn.Module:
        return small(num_classes)

    nowhere = space(local)
    with pytest.raises(SpaceError, match="must be a class or function at the top level of a module"):
        nowhere.source(nowhere.decode((0,)))


def test_it_is_searched_from_python_and_the_winner_is_exported(tmp_path):
    recipe = {"score": "trainable_layers", "stop": {"evaluations": 12}, "executor": "inline",
              "finalists": 0}  # fmt: skip
    result = search(recipe, space=SPACE, out=tmp_path / "run")
    assert result.best is not None and "depth=3" in result.best.key
    assert (tmp_path / "run/best/model.py").is_file()


def test_it_is_a_plug_in():
    import tests.support.chosen_spaces as module

    assert Path(module.__file__).is_file()
    assert _declared(module, "spaces", "chosen") == {"chosen_model": chosen_model}
