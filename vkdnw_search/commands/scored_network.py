"""The network that ``vkdnw-search score`` is about: of a file, of an importable module, or a text of a search space."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from vkdnw_search.commands.settings import build_plugin, shape
from vkdnw_search.contracts import HasText, SearchSpace
from vkdnw_search.cost.counter import count, free_operators
from vkdnw_search.errors import BudgetError, PluginError, RecipeError, ScoreError, UnknownOperators, named
from vkdnw_search.output.module import description_of

__all__ = ["Target", "in_module", "in_space", "size"]


@dataclass(frozen=True)
class Target:
    """What is scored, at which shape of one input, and the operators that count for nothing in it."""

    name: str
    model: nn.Module
    input_shape: tuple[int, ...]
    free_operators: frozenset[str]


def in_space(name: str, options: Mapping[str, Any], text: str, input_shape: tuple[int, ...] | None) -> Target:
    """The network that ``text`` is in the search space installed as ``name``.

    Raises:
        RecipeError: the space does not take these options, or reads no text.
        SpaceError: the text is no architecture of the space.
    """
    space: SearchSpace[Any] = build_plugin("spaces", name, options)
    if not isinstance(space, HasText):
        raise RecipeError(f"score {name} --text: that search space does not read architectures from text")
    architecture = space.parse(text)
    return Target(architecture.key, space.build(architecture), input_shape or space.input_shape, free_operators(space))


def in_module(module: ModuleType, name: str, source: str, input_shape: tuple[int, ...] | None) -> Target:
    """The network that is ``name`` in ``module``, or that it makes; ``source`` is how the user called both.

    Raises:
        PluginError: there is no network of that name.
        ScoreError: making the network raises an exception.
    """
    model = _instance(module, name, source)
    file = Path(source.rpartition(":")[0] or source)
    return Target(type(model).__name__, model, input_shape or _searched_at(file), frozenset())


def size(target: Target) -> list[tuple[str, str]]:
    """FLOPs and parameters of a network, in words."""
    free, told = target.free_operators, ""
    try:
        try:
            cost = count(target.model, target.input_shape, free_operators=free)
        except UnknownOperators as fault:
            told = f", without {', '.join(fault.operators)}, which fvcore does not count"
            cost = count(target.model, target.input_shape, free_operators=free.union(fault.operators))
    except BudgetError as fault:
        return [("FLOPs", f"not counted: {fault}")]
    sized = f"{cost.flops:,} at {'×'.join(map(str, target.input_shape))}{told}"
    return [("FLOPs", sized), ("parameters", f"{cost.parameters:,}")]


def _searched_at(file: Path) -> tuple[int, ...]:
    """The input shape of an exported network, from the description beside it; that of ImageNet otherwise."""
    beside = description_of(file)
    if file.suffix == ".py" and beside.is_file():
        with suppress(
            ValueError, TypeError, LookupError, RecursionError, argparse.ArgumentTypeError
        ):  # it may be any JSON file
            return shape(",".join(map(str, json.loads(beside.read_bytes())["input_shape"])))
    return (3, 224, 224)


def _instance(module: ModuleType, name: str, source: str) -> nn.Module:
    """``name`` of ``module``: a network, or what makes one without arguments."""
    made = getattr(module, name, None)
    try:
        model = made if isinstance(made, nn.Module) or made is None else made()
    except Exception as error:
        raise ScoreError(
            f"{source}: {name}() must make a network without arguments, but: {named(error)}"
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
