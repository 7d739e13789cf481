"""Spaces whose outputs are not one label are searched, judged, exported and checked like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.dense_space import Dense
from vkdnw_search import build, export, search
from vkdnw_search.choices import space_of
from vkdnw_search.choices.space import ChoiceSpace
from vkdnw_search.contracts import Likelihood, Probe
from vkdnw_search.engine.requirements import must_suit
from vkdnw_search.errors import ConformanceError
from vkdnw_search.proxies.saliency import Snip
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.recipe.recipe import load_recipe
from vkdnw_search.records import Score
from vkdnw_search.testing import check_search_space


def dense(likelihood: Likelihood, classes: int = 3) -> ChoiceSpace:
    return space_of(Dense, input_shape=(3, 6, 6), num_classes=classes, likelihood=likelihood)


@pytest.mark.parametrize("likelihood", ["categorical", "gaussian"])
def test_a_search_ends_with_a_module_that_was_checked(likelihood: Likelihood, tmp_path: Path) -> None:
    recipe: dict[str, Any] = {
        "score": {"use": "vkdnw_single", "images": 16}, "optimizer": "random", "executor": "inline",
        "stop": {"evaluations": 4}, "finalists": 2,
    }  # fmt: skip
    found = search(recipe, space=dense(likelihood))
    assert found.best is not None and found.judgement is not None
    assert not any("trained" in warning for warning in found.judgement.warnings)
    assert build(found.best)(torch.zeros(2, 3, 6, 6)).shape == (2, 3, 6, 6)
    assert export(found.best, tmp_path / "dense.py").exists()
    assert f'"likelihood": "{likelihood}"' in (tmp_path / "dense.json").read_text()


def test_a_probe_says_what_the_space_says() -> None:
    seen: list[object] = []

    class Asks:
        def __call__(self, model: torch.nn.Module, probe: Probe) -> Score:
            seen.append(probe.likelihood)
            return Score(1.0)

    recipe: dict[str, Any] = {"optimizer": "random", "executor": "inline", "stop": {"evaluations": 2}, "finalists": 0}
    search(recipe, space=dense("bernoulli"), proxy=Asks())
    assert {*seen} == {"bernoulli"}


def test_one_channel_of_numbers_or_two_classes_at_positions_are_not_refused_beforehand() -> None:
    for likelihood, classes in (("gaussian", 1), ("categorical", 2)):
        for proxy in (VkdnwSingle(), Snip()):
            must_suit(proxy, dense(likelihood, classes), load_recipe("nb201"))  # type: ignore[arg-type]


@pytest.mark.parametrize("likelihood", ["categorical", "gaussian", "bernoulli"])
def test_a_space_that_says_what_its_outputs_are_keeps_the_contract(likelihood: Likelihood) -> None:
    check_search_space(dense(likelihood), samples=4)


def test_one_that_does_not_say_so_and_one_of_other_channels_are_refused() -> None:
    with pytest.raises(ConformanceError, match=r"must return logits of shape \(N, num_classes\).*property likelihood"):
        check_search_space(dense("auto"), samples=2)
    with pytest.raises(ConformanceError, match="likelihood: must be one of auto, categorical"):
        check_search_space(dense("poisson"), samples=2)  # type: ignore[arg-type]
