"""``vkdnw-search doctor``: what a run would meet, before it begins."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from vkdnw_search.commands.latency_options import add_latency_option, context_of, with_command
from vkdnw_search.recipe.recipe import load_recipe
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
    options = parser.parse_intermixed_args(words)
    load_plugins(options.plugin)
    recipe = load_recipe(options.recipe, with_command(options))

    from vkdnw_search.engine.doctor import examine, page  # torch, which takes seconds to import

    diagnosis = examine(recipe, context_of(options))
    return page(diagnosis, evaluations=recipe.stop.evaluations), diagnosis.hopeless
