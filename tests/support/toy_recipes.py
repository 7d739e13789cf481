"""A sound recipe of toy plug-ins, and what tests of recipes do with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from vkdnw_search.errors import RecipeError
from vkdnw_search.recipe import registry as plugins
from vkdnw_search.recipe.recipe import load_recipe

STEADY = settings(deadline=None)
"""For properties: a busy machine is no failure."""

SOUND = {
    "seed": "seed: 0",
    "space": "space: {use: toy_space, resolution: 64}",
    "limits": "limits: {flops: 600M}",
    "score": "score: {use: toy_proxy, images: 8}",
    "optimizer": "optimizer: {use: toy_optimizer, population: 8}",
    "stop": "stop: {evaluations: 20}",
    "executor": "executor: toy_executor",
    "finalists": "finalists: 5",
}
"""A recipe without fault, line by line."""

TEXT = "\n".join(SOUND.values()) + "\n"

TOYS = {
    "space": "toy_space",
    "score": "toy_proxy",
    "optimizer": {"use": "toy_optimizer", "population": 8},
    "executor": "toy_executor",
}
"""The shortest recipe of toys alone."""


@contextmanager
def toys_joined() -> Iterator[None]:
    """The toy plug-ins, and no others that are not installed, have joined."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "_joined", {kind: {} for kind in plugins.KINDS})
        patch.setattr(plugins, "_sources", [])
        plugins.load_plugin(Path(__file__).with_name("toy_plugins.py"))
        yield


def sound(*overrides, **sections):
    """The recipe of toys with ``sections`` in place of its own and ``overrides``."""
    return load_recipe({**TOYS, **sections}, overrides)


def message(source, *overrides, **keywords):
    """What the RecipeError says that loading ``source`` raises."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(source, overrides, **keywords)
    return str(caught.value)
