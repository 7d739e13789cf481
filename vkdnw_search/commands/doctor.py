"""``vkdnw-search doctor``: what a run would meet, before it begins."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from vkdnw_search.commands.latency_options import add_latency_option, context_of, with_command
from vkdnw_search.commands.settings import add_with_option
from vkdnw_search.engine.named_networks import must_be_there
from vkdnw_search.recipe.recipe import Recipe, load_recipe
from vkdnw_search.recipe.registry import add_plugin_option, load_plugins


def run_doctor(words: Sequence[str]) -> tuple[str, bool]:
    """Examine the run that ``words`` describe. Returns what to show, and whether nothing feasible was found.

    Raises:
        VkdnwSearchError: the recipe is not valid, or its plug-ins fail.
    """
    parser = argparse.ArgumentParser(
        prog="vkdnw-search doctor", description="What a run would meet: limits, time, memory, and the score's noise."
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of a shipped recipe")
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="changes, e.g. limits.layers=12")
    add_plugin_option(parser)
    add_latency_option(parser)
    add_with_option(parser)
    options = parser.parse_intermixed_args(words)
    must_be_there(options.others)
    load_plugins(options.plugin)
    recipe = load_recipe(options.recipe, with_command(options))

    from vkdnw_search.engine.doctor import examine, page  # torch, which takes seconds to import

    yours = _yours(options.others, recipe)
    diagnosis = examine(recipe, context_of(options))
    return page(diagnosis, evaluations=recipe.stop.evaluations) + yours, diagnosis.hopeless


def _yours(texts: Sequence[str], recipe: Recipe) -> str:
    """What the user's networks cost, and which limits they keep; latencies are the search's to time."""
    from vkdnw_search.engine.evaluator import limits_of
    from vkdnw_search.engine.yardsticks import read_yardsticks
    from vkdnw_search.output.yardstick_words import rows_of

    given = read_yardsticks(texts, recipe.build_space(), limits_of(recipe)) if texts else []
    rows = [row for one in given for row in rows_of(one.yardstick, recipe)]
    if rows and recipe.limits.latency is not None:
        rows.append(("", "latencies are timed by the search alone"))
    return "".join(f"\n{name:12} {text}" for name, text in rows)
