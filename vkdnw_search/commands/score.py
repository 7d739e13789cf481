"""``vkdnw-search score``: the score of one network, written by hand, exported by a run, or a text of a search space."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from types import ModuleType
from typing import Any

from torch import nn

from vkdnw_search.commands.settings import build_plugin, positive, read_settings, seed
from vkdnw_search.contracts import HasText, SearchSpace
from vkdnw_search.cost.counter import count, free_operators
from vkdnw_search.errors import BudgetError, PluginError, RecipeError, ScoreError, UnknownOperators
from vkdnw_search.output.module import description_of
from vkdnw_search.proxies.model_score import score
from vkdnw_search.recipe.registry import add_plugin_option, file_module, load_plugins, named_module, names
from vkdnw_search.records import Score

DESCRIPTION = """Scores one network. NETWORK is

  FILE.py[:NAME]     a class or function of a file, by default Network: best/model.py of a run, or yours
  MODULE:NAME        the same of an importable module, such as torchvision.models:resnet18
  SPACE              a search space, with --text: vkdnw-search score nasbench201 --text '|nor_conv_3x3~0|+|…|'

A file or module is imported, so its code runs."""


def run_score(words: Sequence[str]) -> str:
    """Score as ``words`` say. Returns what there is to show.

    Raises:
        VkdnwSearchError: whatever is wrong.
    """
    options = _parse(words)
    load_plugins(options.plugin)
    settings = read_settings(options.settings)
    target = _target(options, settings.pop("space", {}))
    proxy = build_plugin("proxies", options.proxy, settings.pop(options.proxy, {}))
    if settings:
        raise RecipeError(f"{next(iter(settings))}: settings must begin with 'space' or {options.proxy!r}")
    scores = [
        score(target.model, target.input_shape, proxy=proxy, seed=number, free_operators=sorted(target.free_operators))
        for number in range(options.seed, options.seed + options.seeds)
    ]
    return "\n".join(f"{name:12} {text}" for name, text in _lines(target, options.proxy, scores))


@dataclass(frozen=True)
class _Target:
    """What is scored."""

    name: str
    model: nn.Module
    input_shape: tuple[int, ...]
    free_operators: frozenset[str]


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="vkdnw-search score", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", metavar="NETWORK", help="see above")
    parser.add_argument("settings", metavar="key=value", nargs="*", help="e.g. vkdnw_single.images=128 space.cells=3")
    parser.add_argument("--text", metavar="TEXT", help="architecture, in the text form of the space")
    parser.add_argument(
        "--input-shape", metavar="C,H,W", type=_shape, help="of one input (default: that of the search, or 3,224,224)"
    )
    parser.add_argument("--proxy", metavar="NAME", default="vkdnw_single", help="default: %(default)s")
    parser.add_argument("--seed", metavar="N", type=seed, default=0, help="of the first initialization")
    parser.add_argument("--seeds", metavar="K", type=positive, default=1, help="initializations (default: 1)")
    add_plugin_option(parser)
    return parser.parse_intermixed_args(list(words))


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.replace("x", ",").split(",")
    if not all(size.isdecimal() and 1 <= int(size) <= 10**6 for size in sizes):
        raise argparse.ArgumentTypeError(f"must be whole numbers such as 3,224,224, but is {text!r}")
    return tuple(map(int, sizes))


def _target(options: argparse.Namespace, settings: dict[str, Any]) -> _Target:
    if options.network in names("spaces"):
        space: SearchSpace[Any] = build_plugin("spaces", options.network, settings)
        if options.text is None or not isinstance(space, HasText):
            raise RecipeError(f"score {options.network}: must have --text, an architecture of that space as text")
        architecture = space.parse(options.text)
        shape, free = options.input_shape or space.input_shape, free_operators(space)
        return _Target(architecture.key, space.build(architecture), shape, free)
    if options.text is not None or settings:
        raise RecipeError(
            f"score {options.network}: --text and space.… are for search spaces ({', '.join(names('spaces'))})"
        )
    file, _, name = options.network.rpartition(":") if ":" in options.network else (options.network, "", "Network")
    model = _instance(_module(file), name, options.network)
    return _Target(type(model).__name__, model, options.input_shape or _searched_at(Path(file)), frozenset())


def _searched_at(file: Path) -> tuple[int, ...]:
    """The input shape of an exported network, from the description beside it; that of ImageNet otherwise."""
    beside = description_of(file)
    if file.suffix == ".py" and beside.is_file():
        with suppress(
            ValueError, TypeError, LookupError, RecursionError, argparse.ArgumentTypeError
        ):  # it may be any JSON file
            return _shape(",".join(map(str, json.loads(beside.read_bytes())["input_shape"])))
    return (3, 224, 224)


def _module(source: str) -> ModuleType:
    try:
        return file_module(Path(source).resolve()) if source.endswith(".py") else named_module(source)
    except PluginError as error:
        raise PluginError(
            f"{source}: must be a Python file, an importable module or a search space ({', '.join(names('spaces'))}), "
            f"but: {error}"
        ) from error


def _instance(module: ModuleType, name: str, source: str) -> nn.Module:
    """``name`` of ``module``: a network, or what makes one without arguments."""
    made = getattr(module, name, None)
    try:
        model = made if isinstance(made, nn.Module) or made is None else made()
    except Exception as error:
        raise ScoreError(
            f"{source}: {name}() must make a network without arguments, but: {type(error).__name__}: {error}"
            f"{_of_a_space(module, source)}"
        ) from error
    if not isinstance(model, nn.Module):
        raise PluginError(
            f"{source}: {name} must be a torch.nn.Module or make one, but is "
            f"{'not there' if made is None else type(model).__name__}. Say which with {source.split(':')[0]}:NAME"
        )
    return model


def _of_a_space(module: ModuleType, source: str) -> str:
    """A hint for who gives the file of a search space in place of a network."""
    declared = list(getattr(module, "SPACES", ()))
    file = source.split(":")[0]
    return f". It declares a search space: --plugin {file} {declared[0]} --text … scores a network" if declared else ""


def _lines(target: _Target, proxy: str, scores: Sequence[Score]) -> list[tuple[str, str]]:
    first, values = scores[0], [s.value for s in scores]
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else first.standard_error
    told = f" over {len(values)} initializations" if len(values) > 1 else ""
    rows = [("network", target.name), (proxy, f"{fmean(values):.4f} ± {error:.2g}{told}")]
    rows += [(name, f"{fmean(s.terms[name] for s in scores):.6g}") for name in first.terms]
    free, told = target.free_operators, ""
    try:
        try:
            cost = count(target.model, target.input_shape, free_operators=free)
        except UnknownOperators as fault:
            told = f", without {', '.join(fault.operators)}, which fvcore does not count"
            cost = count(target.model, target.input_shape, free_operators=free.union(fault.operators))
    except BudgetError as fault:
        return [*rows, ("FLOPs", f"not counted: {fault}")]
    sized = f"{cost.flops:,} at {'×'.join(map(str, target.input_shape))}{told}"
    return [*rows, ("FLOPs", sized), ("parameters", f"{cost.parameters:,}")]
