"""The network that ``vkdnw-search score`` is about: of a file, of an importable module, or a text of a search space."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from torch import nn

from vkdnw_search.commands.settings import build_plugin, shape
from vkdnw_search.contracts import AnyProxy, HasCostScore, HasText, Likelihood, SearchSpace, input_shape_of
from vkdnw_search.cost.counter import count_known, free_operators
from vkdnw_search.determinism import forked_generators, seed_from
from vkdnw_search.engine.named_networks import network_in
from vkdnw_search.errors import BudgetError, RecipeError, ScoreError
from vkdnw_search.fisher.likelihood import likelihood_of
from vkdnw_search.output.module import description_of
from vkdnw_search.proxies.input_shapes import is_one_shape
from vkdnw_search.proxies.model_score import score
from vkdnw_search.proxies.subject import Likelihoods, Subject, subject_of
from vkdnw_search.records import Score

__all__ = ["Reading", "Target", "in_module", "in_space", "scores_of", "size"]


@dataclass(frozen=True)
class Reading:
    """What the user says of a network's inputs and outputs; None: nothing.

    Attributes:
        input_shape: of one input without the batch, or the shapes of several.
        likelihood: what the outputs stand for, or each of several by name or position.
        output: the name or position of the one that counts.
        class_axis: where its classes are.
    """

    input_shape: tuple[int, ...] | tuple[tuple[int, ...], ...] | None = None
    likelihood: Likelihoods | None = None
    output: str | int | None = None
    class_axis: int | None = None


@dataclass
class Target:
    """What is scored.

    Attributes:
        name: what it is called.
        make: constructs it.
        reading: what the user says of its inputs and outputs.
        free_operators: those that count for nothing in it.
        seed: of the random numbers that its constructor draws, unless another is said.
    """

    name: str
    make: Callable[[], nn.Module]
    reading: Reading
    free_operators: frozenset[str]
    seed: int

    def built(self, seed: int) -> nn.Module:
        """Construct the network as a search does for that seed: what a score leaves as built is the same each time."""
        return self.model if seed == self.seed else self._made(seed)

    @cached_property
    def model(self) -> nn.Module:
        """The network of the first seed."""
        return self._made(self.seed)

    def _made(self, seed: int) -> nn.Module:
        with forked_generators(seed_from(seed, "construction")):
            return self.make()

    def subject(self) -> Subject:
        """The network with what it takes and returns.

        Raises:
            ScoreError: it takes or returns something else.
        """
        r = self.reading
        return subject_of(
            self.model, r.input_shape, likelihood=r.likelihood or "auto", output=r.output, class_axis=r.class_axis
        )


def scores_of(target: Target, proxy: AnyProxy, seeds: Iterable[int]) -> tuple[list[Score], list[tuple[str, str]]]:
    """The scores of a network from several seeds, and how its outputs are read, in words, where that matters."""
    r = target.reading
    scores = [
        score(
            target.built(seed), r.input_shape, proxy=proxy, seed=seed, free_operators=sorted(target.free_operators),
            likelihood=r.likelihood or "auto", output=r.output, class_axis=r.class_axis,
        )
        for seed in seeds
    ]  # fmt: skip
    return scores, [] if isinstance(proxy, HasCostScore) else [("outputs", target.subject().told)]


def in_space(name: str, options: Mapping[str, Any], text: str, reading: Reading, seed: int) -> Target:
    """The network that ``text`` is in the search space installed as ``name``.

    Raises:
        RecipeError: the space does not take these options, or reads no text.
        SpaceError: the text is no architecture of the space.
    """
    space: SearchSpace[Any] = build_plugin("spaces", name, options)
    if not isinstance(space, HasText):
        raise RecipeError(f"score {name} --text: that search space does not read architectures from text")
    architecture = space.parse(text)
    reading = replace(
        reading,
        input_shape=reading.input_shape or input_shape_of(space, architecture),
        likelihood=reading.likelihood or likelihood_of(space),
    )
    return Target(architecture.key, partial(space.build, architecture), reading, free_operators(space), seed)


def in_module(module: ModuleType, name: str, source: str, reading: Reading, seed: int) -> Target:
    """The network that is ``name`` in ``module``, or that it makes; ``source`` is how the user called both.

    Raises:
        PluginError: there is no network of that name.
        ScoreError: making the network raises an exception.
    """
    file = Path(source.rpartition(":")[0] or source)
    reading = replace(
        reading,
        input_shape=reading.input_shape or _searched_at(file),
        likelihood=reading.likelihood or _likelihood_of(file),
    )
    target = Target("", partial(network_in, module, name, source), reading, frozenset(), seed)
    try:
        target.name = type(target.model).__name__
    except ScoreError as error:
        raise ScoreError(f"{error}{_of_a_space(module, source)}") from error
    return target


def size(target: Target) -> list[tuple[str, str]]:
    """FLOPs and parameters of a network, in words."""
    example = None
    with suppress(ScoreError):  # then FLOPs are counted at numbers of the input shape, or not at all
        example = target.subject().example()
    shapes = _shapes(target.reading)
    try:
        cost, left_out = count_known(target.model, shapes[0], free_operators=target.free_operators, example=example)
    except BudgetError as fault:
        return [("FLOPs", f"not counted: {fault}")]
    at = " and ".join("×".join(map(str, shape)) for shape in shapes)
    sized = ", ".join(filter(None, (f"{cost.flops:,} at {at}", left_out)))
    return [("FLOPs", sized), ("parameters", f"{cost.parameters:,}")]


def _shapes(reading: Reading) -> list[tuple[int, ...]]:
    """The shape of each input."""
    shape = reading.input_shape or ()
    return [tuple(shape)] if is_one_shape(shape) else [each for each in shape if not isinstance(each, int)]


def _likelihood_of(file: Path) -> Likelihood | None:
    """What the outputs of an exported network stand for, from the description beside it."""
    beside = description_of(file)
    if file.suffix == ".py" and beside.is_file():
        with suppress(ValueError, TypeError, LookupError, RecursionError):  # it may be any JSON file
            told = json.loads(beside.read_bytes())["likelihood"]
            return next((kind for kind in get_args(Likelihood) if kind == told), None)
    return None


def _searched_at(file: Path) -> tuple[int, ...]:
    """The input shape of an exported network, from the description beside it; that of ImageNet otherwise."""
    beside = description_of(file)
    if file.suffix == ".py" and beside.is_file():
        with suppress(
            ValueError, TypeError, LookupError, RecursionError, argparse.ArgumentTypeError
        ):  # it may be any JSON file
            return shape(",".join(map(str, json.loads(beside.read_bytes())["input_shape"])))
    return (3, 224, 224)


def _of_a_space(module: ModuleType, source: str) -> str:
    """A hint for who gives the file of a search space in place of a network."""
    declared = list(getattr(module, "SPACES", ()))
    file = source.split(":")[0]
    return f". It declares a search space: --plugin {file} {declared[0]} --text … scores a network" if declared else ""
