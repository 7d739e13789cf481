"""The score of any one network, found by a search or written by hand."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import is_dataclass

import torch
from torch import nn

from vkdnw_search.contracts import AnyProxy, HasCostScore, HasFastWay, Probe
from vkdnw_search.cost.counter import count
from vkdnw_search.determinism import device_of, forked_generators, one_thread, seed_from
from vkdnw_search.errors import ScoreError, VkdnwSearchError, named, told
from vkdnw_search.fisher.checkpoints import without_checkpoints
from vkdnw_search.proxies.accepted_inputs import accepted_shape
from vkdnw_search.proxies.plain import must_be_proxy, name_of, score_with
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.records import Score


def score(
    model: nn.Module,
    input_shape: Sequence[int],
    *,
    proxy: AnyProxy | None = None,
    seed: int = 0,
    free_operators: Sequence[str] = (),
) -> Score:
    """Score ``model`` as it would be scored in a search. Higher is better.

    A copy is scored: mode, hooks, buffers, gradients, weights and device of ``model`` stay as they are, whatever
    happens, and so do the global random generators. By default every weight of the copy is drawn anew (Kaiming
    normal); ``proxy=VkdnwSingle(initialization="as_built")`` scores the weights that are there.

    Args:
        model: takes (N, *input_shape) to logits (N, classes): convolutions of any kind, linear layers,
            normalisations, attention, bare parameters. Layers without a fast rule are differentiated literally.
        input_shape: the shape of one input, without the batch, e.g. (3, 32, 32).
        proxy: VkdnwSingle() by default; a plain function of the network that gives a number will do. A fast way to its
            score is checked against the literal one.
        seed: all randomness comes from it.
        free_operators: for proxies that count FLOPs, operators unknown to fvcore that cost nothing.

    Raises:
        ScoreError: the network does not take such inputs or does not give logits, or the settings do not suit it.
        DegenerateNetwork: it has no usable score.
    """
    proxy = VkdnwSingle() if proxy is None else proxy
    must_be_proxy(proxy)
    if isinstance(proxy, HasFastWay):
        proxy = proxy.careful()
    if isinstance(proxy, HasCostScore):
        return proxy.score_cost(count(model, input_shape, free_operators=free_operators))
    with one_thread(), forked_generators(seed_from(seed, "proxy")), without_checkpoints():
        classes = _classes(_copied(model), tuple(input_shape))
        copied = _copied(model)  # another, which has not run: some networks keep what they compute
        try:
            return score_with(proxy, copied, Probe(tuple(input_shape), classes, seed, device_of(proxy)))
        except VkdnwSearchError:
            raise
        except Exception as error:
            what = proxy if is_dataclass(proxy) else name_of(proxy)
            raise ScoreError(f"{type(model).__name__}: cannot be scored with {what}: {named(error)}") from error


def _copied(model: nn.Module) -> nn.Module:
    """A copy in training mode, in which networks that keep things in evaluation mode keep nothing."""
    try:
        copied = copy.deepcopy(model)
        copied.train()  # some networks' train() and eval() return nothing
        return copied
    except Exception as error:
        raise ScoreError(
            f"{type(model).__name__}: must be a network that can be copied (copy.deepcopy), but: "
            f"{named(error)}. If it keeps what an earlier pass computed, empty that, which in many "
            "networks train() does"
        ) from error


@torch.no_grad()
def _classes(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """The number of logits, from a pass over two inputs."""
    example = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(0))
    images = torch.zeros(2, *input_shape, dtype=example.dtype, device=example.device)
    model.eval()
    try:
        logits = model(images)
    except Exception as error:
        accepted = accepted_shape(model, input_shape)
        raise ScoreError(
            f"{type(model).__name__}: must accept inputs of shape {tuple(images.shape)}, but: {told(error)}"
            + (f". It accepts an input of shape {accepted}" if accepted else "")
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2 or len(logits) != 2:
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        mend = "Wrap it in a module that does"
        if isinstance(getattr(logits, "logits", None), torch.Tensor):
            mend += ", such as one whose forward returns network(x).logits"
        raise ScoreError(
            f"{type(model).__name__}: must return logits of shape (N, classes), but for inputs "
            f"{tuple(images.shape)} returns {shape}. {mend}"
        )
    return math.prod(logits.shape[1:])
