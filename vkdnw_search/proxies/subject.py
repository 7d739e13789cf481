"""A network that is to be scored: how its inputs are drawn, which of its outputs count, and what they stand for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor, nn

from vkdnw_search.contracts import Likelihood
from vkdnw_search.errors import ScoreError
from vkdnw_search.fisher.inputs import drawn
from vkdnw_search.fisher.likelihood import resolved
from vkdnw_search.proxies.input_shapes import InputShape
from vkdnw_search.proxies.picked_output import Output, Pick, PickedOutput
from vkdnw_search.proxies.tried_inputs import TRIED, Draw, InputsOption, copied, tried

__all__ = ["Likelihoods", "Subject", "subject_of"]

Likelihoods: TypeAlias = Likelihood | Mapping[str | int, Likelihood]
"""The likelihood of the output, or of several outputs by name or position."""


@dataclass(frozen=True)
class Subject:
    """A network to be scored.

    Attributes:
        name: of its class.
        model: returns the outputs that count.
        input_shape: of one input, without the batch; () where ``inputs`` draws them.
        classes: number of logits, or of output channels.
        likelihood: of the outputs; a tuple if there are several.
        inputs: draws them; None for N(0, I) of ``input_shape``.
        told: in words, how inputs are drawn and outputs are read.
    """

    name: str
    model: nn.Module
    input_shape: tuple[int, ...]
    classes: int
    likelihood: Likelihood | tuple[Likelihood, ...]
    inputs: Draw | None
    told: str

    def example(self) -> tuple[Tensor, ...] | None:
        """The arguments for one sample, by position; None where they are zeros of ``input_shape``."""
        if self.inputs is None:
            return None
        dtype = next((p.dtype for p in self.model.parameters()), torch.float32)
        one = drawn(self.inputs, 1, generator=torch.Generator().manual_seed(0), dtype=dtype)
        return tuple(value for value in one.arguments.values() if isinstance(value, Tensor))

    def copied(self) -> nn.Module:
        """A copy in training mode, in which networks that keep things in evaluation mode keep nothing."""
        return copied(self.model)


def subject_of(
    model: nn.Module,
    input_shape: InputShape,
    *,
    likelihood: Likelihoods = "auto",
    output: Output | None = None,
    class_axis: int | None = None,
    inputs: InputsOption = None,
) -> Subject:
    """Find out by a pass over two samples what ``model`` takes and returns. See :func:`vkdnw_search.score`.

    Raises:
        ScoreError: it does not take such inputs, does not return such outputs, or they can be read in several ways.
    """
    wanted = _wanted(likelihood, output, class_axis)
    drawing, found = tried(model, input_shape, inputs)
    several = not isinstance(likelihood, str)
    reader = PickedOutput(model, [w.pick for w in wanted], together=several)
    returned = reader.picked(found)
    heads = _checked(reader.arranged(returned), type(model).__name__)
    kinds = tuple(resolved(w.likelihood, head.shape) for w, head in zip(wanted, heads, strict=True))
    read = [
        f"{_in_words(w.output, kind, head)}{', (N,) read as (N, 1)' if given.dim() == 1 else ''}"
        for w, kind, head, given in zip(wanted, kinds, heads, returned, strict=True)
    ]
    as_it_is = not several and heads[0] is found and not callable(output)
    return Subject(
        name=type(model).__name__,
        model=model if as_it_is else reader,
        input_shape=drawing.input_shape,
        classes=heads[0].shape[1],
        likelihood=kinds if several else kinds[0],
        inputs=drawing.draw,
        told="; ".join([*read, *drawing.told]),
    )


class _Wanted(NamedTuple):
    """One output that counts."""

    output: Output | None
    likelihood: Likelihood
    class_axis: int | None

    @property
    def pick(self) -> Pick:
        """How to find it among what the network returns."""
        return Pick(self.output, self.class_axis, numbers=self.likelihood in ("gaussian", "bernoulli"))


def _wanted(likelihood: Likelihoods, output: Output | None, class_axis: int | None) -> list[_Wanted]:
    heads: dict[Any, Likelihood] = {output: likelihood} if isinstance(likelihood, str) else dict(likelihood)
    if output is not None and not isinstance(likelihood, str):
        raise ScoreError("score, output (--output): must be left out where likelihood names the outputs")
    for name, kind in heads.items():
        if kind not in get_args(Likelihood):
            named = "" if name is None else f" of output {name!r}"
            raise ScoreError(
                f"score, likelihood{named}: must be one of {', '.join(get_args(Likelihood))}, but is {kind!r}"
            )
    if class_axis is None:
        return [_Wanted(name, kind, None) for name, kind in heads.items()]
    categorical: Likelihood = "categorical"  # who says where the classes are says that there are some
    said = {name: categorical if kind == "auto" else kind for name, kind in heads.items()}
    if categorical not in said.values():
        raise ScoreError(
            f"score, class_axis (--class-axis): must be left out where no output holds classes, but is {class_axis} "
            f"and the likelihood is {' and '.join(dict.fromkeys(said.values()))}"
        )
    return [_Wanted(name, kind, class_axis if kind == categorical else None) for name, kind in said.items()]


def _checked(heads: tuple[Tensor, ...], where: str) -> tuple[Tensor, ...]:
    """The outputs that count, each (N, …)."""
    for head in heads:
        if head.dim() < 2 or len(head) != TRIED or not head.is_floating_point():
            raise ScoreError(
                f"{where}: must return outputs (N, classes) or (N, …), floating-point and the samples first, but for "
                f"{TRIED} samples returns {tuple(head.shape)}, {head.dtype}. {_meant(head)}Let forward bring them into "
                "that form, or give score() in Python output=… with a function that does"
            )
    return heads


def _meant(head: Tensor) -> str:
    """A hint for outputs that may be numbers to be regressed."""
    if head.dim() != 1 or len(head) != TRIED or not head.is_floating_point():
        return ""
    return "For one number a sample give likelihood='gaussian' (--likelihood gaussian), for yes or no 'bernoulli'. "


def _in_words(output: Output | None, kind: Likelihood, head: Tensor) -> str:
    """What one output is taken for."""
    sizes = "×".join(map(str, head.shape[1:]))
    if kind == "categorical":
        places = math.prod(head.shape[2:])
        told = f"{head.shape[1]} classes" + (f" at each of {places} positions" if head.dim() > 2 else "")
    else:
        told = f"{sizes} number{'' if sizes == '1' else 's'}" if kind == "gaussian" else f"{sizes} times yes or no"
    named = "" if output is None else f" ({output if isinstance(output, str) else f'output {output}'})"
    return f"{kind}, {told}{'' if callable(output) else named}"
