"""Networks of the user's beside what a search finds: read, built and counted before it begins, timed with its source.

Of each is told what it costs, whether it keeps the limits, and how it scores on the initializations of the finalists
(yardstick_scores.py). It need not be in the space, is no candidate, and changes nothing of what is found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from vkdnw_search.contracts import Architecture, Make, SearchSpace
from vkdnw_search.cost.counter import CostCounter, count_known, free_operators
from vkdnw_search.cost.int8_memory import int8_memory_profile
from vkdnw_search.cost.int8_size import int8_size
from vkdnw_search.cost.latency import LatencyTable
from vkdnw_search.cost.limits import Limits, Range
from vkdnw_search.cost.peak_memory import memory_profile, traced
from vkdnw_search.determinism import forked_generators, one_thread
from vkdnw_search.engine.evaluator import Evaluator
from vkdnw_search.engine.named_networks import NetworkFile, architecture_of, file_and_name, must_be_there, network_file
from vkdnw_search.errors import (
    LatencyUnknown,
    ScoreError,
    VkdnwSearchError,
    YardstickError,
    named,
)
from vkdnw_search.fisher.checkpoints import without_checkpoints
from vkdnw_search.fisher.likelihood import likelihood_of
from vkdnw_search.proxies.subject import subject_of
from vkdnw_search.runs.judgement import Yardstick

__all__ = ["GivenNetwork", "read_yardsticks", "timed"]

OTHERWISE = "a Python file (FILE.py or FILE.py:CLASS)"
"""What a text may be that is no architecture of the space."""


@dataclass(frozen=True, slots=True)
class GivenNetwork:
    """A network that was read.

    Attributes:
        network: the architecture, or the file that defines it.
        yardstick: what is known of it so far.
    """

    network: Architecture | NetworkFile
    yardstick: Yardstick


def read_yardsticks(texts: Sequence[str | Path] | Path, space: SearchSpace[Any], limits: Limits) -> list[GivenNetwork]:
    """Read, build and count the networks, each once; latencies come later (:func:`timed`).

    Args:
        texts: architectures of the space, names of its references, or Python files, ``FILE.py`` or ``FILE.py:CLASS``.
        space: of the run.
        limits: of the run, which decide what is counted of them as of candidates.

    Raises:
        YardstickError: one of them is none of these, or cannot be imported, built or counted.
    """
    limits = replace(limits, latency=Range())
    found = dict[str, GivenNetwork]()
    for text in [str(texts)] if isinstance(texts, str | Path) else map(str, texts):
        try:
            given = _read(text, space, limits)
        except YardstickError:
            raise
        except VkdnwSearchError as error:
            raise YardstickError(f"--with: {error}") from error
        found.setdefault(given.yardstick.source, given)
    return list(found.values())


def _read(text: str, space: SearchSpace[Any], limits: Limits) -> GivenNetwork:
    must_be_there([text])
    place = file_and_name(text)
    if place is not None:
        return _of_file(text, network_file(*place), space, limits)
    name, architecture = architecture_of(space, text, what=OTHERWISE)
    cost = CostCounter(space, limits).cost(architecture)
    return GivenNetwork(architecture, Yardstick(name, architecture.key, cost, limits.reason(cost)))


def _of_file(text: str, file: NetworkFile, space: SearchSpace[Any], limits: Limits) -> GivenNetwork:
    with one_thread(), forked_generators(0), without_checkpoints():
        model = file.build(space.num_classes)
        cost, left_out = count_known(model, space.input_shape, free_operators=free_operators(space))
        found, unknown = _on_demand(partial(_made, file, space), limits)
        notes, fault = [*([f"FLOPs {left_out}"] if left_out else []), *unknown], ""
        cost = replace(cost, **found)
        try:
            subject = subject_of(model, space.input_shape, likelihood=likelihood_of(space))
            if subject.classes != space.num_classes:
                notes.append(f"it has {subject.classes} outputs, networks of the space {space.num_classes}")
        except ScoreError as error:
            fault = str(error)
    told = Yardstick(text, file.key, cost, limits.reason(cost), fault=fault, note="; ".join(notes))
    return GivenNetwork(file, told)


def _made(file: NetworkFile, space: SearchSpace[Any]) -> tuple[nn.Module, tuple[int, ...]]:
    return file.build(space.num_classes), tuple(space.input_shape)


def _on_demand(make: Make, limits: Limits) -> tuple[dict[str, Any], list[str]]:
    """The costs that are found where a limit asks for them, and why one is not known."""
    finders: dict[str, Callable[[], int]] = {
        "memory": lambda: max(traced(memory_profile, make)),
        "int8_memory": lambda: max(traced(int8_memory_profile, make)),
        "int8_size": lambda: traced(lambda model, shape: (int8_size(model, shape),), make)[0],
    }
    found, notes = dict[str, Any](), []
    for name, find in finders.items():
        if getattr(limits, name) != Range():
            try:
                found[name] = find()
            except Exception as error:  # whatever the network raises on what watches it
                notes.append(f"{name} is not known: {named(error)}")
    return found, notes


def timed(given: Sequence[GivenNetwork], evaluator: Evaluator) -> list[GivenNetwork]:
    """The networks with their latencies, where a limit asks for any; those that are not known are told as such.

    An architecture is timed as candidates are, by its parts; what a file defines is timed whole.
    """
    table, space, limits = evaluator.latencies, evaluator.space, evaluator.limits
    if table is None:
        return list(given)
    return [replace(one, yardstick=_with_latency(one, table, space, limits)) for one in given]


def _with_latency(given: GivenNetwork, table: LatencyTable[Any], space: SearchSpace[Any], limits: Limits) -> Yardstick:
    told, network, why = given.yardstick, given.network, ""
    cost = told.cost
    try:
        if isinstance(network, NetworkFile):
            with forked_generators(0):
                seconds = table.other(network.key, told.name, partial(_made, network, space))
        else:
            seconds = table.seconds(network)
        cost = replace(cost, latency=round(1e6 * seconds))
    except LatencyUnknown as error:
        why = f": {error}"
    return replace(told, cost=cost, outside=limits.reason(cost) + why)
