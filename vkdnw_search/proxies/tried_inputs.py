"""How the inputs of a network are drawn, found by trying, and what it returns for two samples of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import nn

from vkdnw_search.errors import ScoreError, named, told
from vkdnw_search.fisher.inputs import Inputs, drawn, inputs_of
from vkdnw_search.proxies.accepted_inputs import accepted_shape
from vkdnw_search.proxies.drawn_inputs import NormalInputs, first_embedding
from vkdnw_search.proxies.input_shapes import InputShape, is_one_shape

__all__ = ["TRIED", "Draw", "Drawing", "InputsOption", "copied", "tried"]

Draw: TypeAlias = Callable[[torch.Generator, int], Any]
InputsOption: TypeAlias = Literal["tokens"] | Draw | None
"""What is drawn: N(0, I), tokens for shapes of one number, or what a function of generator and samples gives."""

TRIED = 2
"""Number of samples in the pass that tells the shapes of the outputs."""

OUT_OF_RANGE = "index out of range in self"
"""What torch says of an embedding that is asked for a row it does not have."""

NAMED_EMBEDDINGS = 8
"""How many embeddings an error names."""


class Drawing(NamedTuple):
    """A way to draw the inputs of a network.

    Attributes:
        input_shape: of one input, without the batch; () where ``draw`` draws them.
        draw: draws them; None for N(0, I) of ``input_shape``.
        told: how, in words, where that is not N(0, I).
    """

    input_shape: tuple[int, ...]
    draw: Draw | None
    told: tuple[str, ...] = ()


def tried(model: nn.Module, input_shape: InputShape, inputs: InputsOption) -> tuple[Drawing, Any]:
    """The first way to draw inputs that the network takes, and what it returns for two samples.

    Raises:
        ScoreError: it takes none of them.
    """
    return _first_taken(model, _drawings(model, input_shape, inputs))


def copied(model: nn.Module) -> nn.Module:
    """A copy in training mode.

    Raises:
        ScoreError: the network cannot be copied.
    """
    try:
        other = copy.deepcopy(model)
        other.train()  # some networks' train() and eval() return nothing
        return other
    except Exception as error:
        raise ScoreError(
            f"{type(model).__name__}: must be a network that can be copied (copy.deepcopy), but: "
            f"{named(error)}. If it keeps what an earlier pass computed, empty that, which in many "
            "networks train() does"
        ) from error


def _drawings(model: nn.Module, input_shape: InputShape, inputs: InputsOption) -> Iterator[Drawing]:
    """The ways to be tried in turn: a network with an embedding that does not take N(0, I) is given tokens."""
    if callable(inputs):
        yield Drawing((), inputs)
        return
    shapes, several = _shapes(input_shape)
    if inputs is None:
        yield Drawing((), NormalInputs(shapes)) if several else Drawing(shapes[0], None)
    embedding = first_embedding(model)
    if embedding is not None:
        name, vocabulary = embedding
        words = f"tokens drawn uniformly from the {vocabulary} of {name or 'the network'}"
        yield Drawing((), NormalInputs(shapes, vocabulary), (words,))
    elif inputs is not None:
        raise ScoreError(
            f"score, inputs: must be None, 'tokens' for a network with an nn.Embedding, or a function of a generator "
            f"and a number of samples, but is {inputs!r} and {type(model).__name__} has no embedding"
        )


def _shapes(input_shape: InputShape) -> tuple[tuple[tuple[int, ...], ...], bool]:
    """The shapes of the inputs, and whether several were given."""
    if input_shape is None:
        raise ScoreError("score, input_shape: must be given, such as (3, 32, 32), where inputs is no function")
    if is_one_shape(input_shape):
        return (tuple(input_shape),), False
    return tuple(tuple(shape) for shape in input_shape if not isinstance(shape, int)), True


class _Refusal(NamedTuple):
    """A way to draw inputs that the network does not take."""

    drawing: Drawing
    network: nn.Module
    shapes: str
    error: Exception

    @property
    def why(self) -> str:
        """What the network says, and what it would take."""
        hint = _overrun(self.network) if OUT_OF_RANGE in str(self.error) else ""
        if self.drawing.draw is None and (shape := accepted_shape(self.network, self.drawing.input_shape)):
            hint = f". It accepts an input of shape {shape}"
        return told(self.error) + hint


@torch.no_grad()
def _first_taken(model: nn.Module, drawings: Iterable[Drawing]) -> tuple[Drawing, Any]:
    refusals = []
    for drawing in drawings:
        network = copied(model)
        network.eval()
        inputs = _two_samples(model, drawing)
        try:
            return drawing, inputs.passed_to(network)
        except Exception as error:  # whatever the network itself raises on such inputs
            refusals.append(_Refusal(drawing, network, inputs.shapes, error))
    first, *others = refusals
    whys = [first.why]
    whys += [f"with {' and '.join(r.drawing.told)}: {why}" for r in others if (why := r.why) not in whys]
    raise ScoreError(
        f"{type(model).__name__}: must accept inputs of shape {first.shapes}, but: {'; '.join(whys)}"
    ) from refusals[-1].error


def _two_samples(model: nn.Module, drawing: Drawing) -> Inputs:
    example = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(0))
    if drawing.draw is None:
        return inputs_of(torch.zeros(TRIED, *drawing.input_shape, dtype=example.dtype, device=example.device))
    generator = torch.Generator().manual_seed(0)
    return drawn(drawing.draw, TRIED, generator=generator, dtype=example.dtype, device=example.device)


def _overrun(network: nn.Module) -> str:
    """The sizes of the embeddings, one of which was asked for more."""
    embeddings = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Embedding)]
    found = [f"{name or 'it'} has {embedding.num_embeddings}" for name, embedding in embeddings]
    if not found:
        return ""
    more = f" and {len(found) - NAMED_EMBEDDINGS} more" if len(found) > NAMED_EMBEDDINGS else ""
    sizes = ", ".join(found[:NAMED_EMBEDDINGS]) + more
    return (
        f". An id or a position is beyond an nn.Embedding: {sizes}. Give shorter inputs, or score() in Python inputs=… "
        "with a function that draws each input within these"
    )
