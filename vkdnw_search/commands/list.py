"""``vkdnw-search list``: what is installed, and the shipped recipes; of one space or recipe, the genes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from vkdnw_search.recipe.recipe import Recipe, load_recipe, shipped_recipes
from vkdnw_search.recipe.registry import KINDS, add_plugin_option, available, load_plugins, names
from vkdnw_search.recipe.yaml_reader import read_yaml


def run_list(words: Sequence[str]) -> str:
    """Every name a recipe may use, with a line on what it is, and the shipped recipes; or the genes of one space.

    Raises:
        RecipeError: there is no such space or recipe, or it is not valid.
    """
    parser = argparse.ArgumentParser(
        prog="vkdnw-search list",
        description="What is installed, and the shipped recipes. With a NAME the genes of a search space, which are "
        "what space.fix and space.exclude name, and its networks that have names.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="a search space, or a recipe: the genes of its space")
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="changes, e.g. space.resolution=96")
    add_plugin_option(parser)
    options = parser.parse_intermixed_args(words)
    load_plugins(options.plugin)
    if options.name is None:
        return "\n".join(_lines())
    return "\n".join(_genes(_recipe(options.name, options.overrides)))


def _recipe(name: str, overrides: Sequence[str]) -> Recipe:
    """The recipe called ``name``, or one of the space of that name."""
    is_space = name in names("spaces") and not Path(name).is_file()
    return load_recipe({"space": name} if is_space else name, overrides)


def _genes(recipe: Recipe) -> Iterator[str]:
    """A line for each gene of the space of a recipe, and for each network that has a name."""
    from vkdnw_search.contracts import HasReferences

    space = recipe.build_space()
    width = max(len(gene.name) for gene in space.genes)
    yield f"genes of {space.name}, an ordered one with < between its choices"
    for gene in space.genes:
        yield f"  {gene.name:{width}}  {(' < ' if gene.ordered else ', ').join(map(str, gene.choices))}"
    if isinstance(space, HasReferences):
        yield "networks that have names, for start and race --with"
        yield from (f"  {name:{width}}  {text}" for name, text in space.references.items())


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
