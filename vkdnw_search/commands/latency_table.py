"""``vkdnw-search latency-table``: every part of a recipe's networks as ONNX files, to be timed on another device."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vkdnw_search.recipe.recipe import load_recipe
from vkdnw_search.recipe.registry import add_plugin_option, load_plugins


def run_latency_table(words: Sequence[str]) -> str:
    """Write the parts of the recipe that ``words`` name. Returns what to show.

    Raises:
        RecipeError: the recipe is not valid.
        LatencyError: its space has no parts, or they cannot be written.
    """
    options = _parser().parse_intermixed_args(words)
    load_plugins(options.plugin)
    recipe = load_recipe(options.recipe, options.overrides)

    from vkdnw_search.engine.evaluator import limits_of  # torch, which takes seconds to import
    from vkdnw_search.engine.part_files import MANIFEST, SCRIPT, list_parts, write_parts

    limits = limits_of(recipe)
    listed = list_parts(recipe.build_space(), limits, most=options.parts, networks=options.networks)
    bar: tqdm[Any] = tqdm(unit="file", disable=None)
    with bar:
        write_parts(listed, options.out, precision=options.precision, listener=lambda done, of: _show(bar, done, of))
    return "\n".join(
        [
            f"{listed.in_words()}; {len(listed.networks)} whole networks",
            f"{options.out / MANIFEST}: copy the folder to the device, and run there python {SCRIPT.name}. Its",
            f"measured.csv is what a recipe reads: latency: {{use: table, file: measured.csv{_correction(listed)}}}",
        ]
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vkdnw-search latency-table", description="The parts of a recipe's networks as ONNX files with a manifest."
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of a shipped recipe")
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="changes, e.g. space.resolution=160")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new folder")
    parser.add_argument("--parts", metavar="N", type=_count, help="those that most networks need (default: all)")
    parser.add_argument(
        "--networks", metavar="N", type=_count, default=24, help="whole networks for the correction (default: 24)"
    )
    parser.add_argument("--precision", choices=["float32", "int8"], default="float32")
    add_plugin_option(parser)
    return parser


def _correction(listed: Any) -> str:
    return f", correction: {len(listed.networks)}" if listed.networks else ""


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 10**6:
        raise argparse.ArgumentTypeError(f"must be a whole number, but is {text!r}")
    return int(text)


def _show(bar: tqdm[Any], done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)
