"""``vkdnw-search list``: what is installed, and the shipped recipes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from vkdnw_search.recipe.recipe import shipped_recipes
from vkdnw_search.recipe.registry import KINDS, add_plugin_option, available, load_plugins
from vkdnw_search.recipe.yaml_reader import read_yaml


def run_list(words: Sequence[str]) -> str:
    """Every name a recipe may use, with a line on what it is, and the shipped recipes."""
    parser = argparse.ArgumentParser(
        prog="vkdnw-search list", description="What is installed, and the shipped recipes."
    )
    add_plugin_option(parser)
    load_plugins(parser.parse_args(words).plugin)
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    for kind in KINDS:
        yield kind
        yield from (f"  {name:16} {line}" for name, line in available(kind).items())
    yield "recipes"
    yield from (f"  {name:16} {_description(path)}" for name, path in shipped_recipes().items())


def _description(recipe: Path) -> str:
    """What a recipe says of itself. It is not checked, for which its plug-ins and torch would have to be imported."""
    tree = read_yaml(recipe.read_bytes(), source=str(recipe)).tree
    description = tree.get("description") if isinstance(tree, dict) else None
    return description if isinstance(description, str) else ""
