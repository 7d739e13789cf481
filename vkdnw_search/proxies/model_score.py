"""The score of any one network, found by a search or written by hand."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import is_dataclass

from torch import nn

from vkdnw_search.contracts import AnyProxy, HasCostScore, HasFastWay, Probe
from vkdnw_search.cost.counter import count
from vkdnw_search.determinism import device_of, forked_generators, one_thread, seed_from
from vkdnw_search.errors import ScoreError, VkdnwSearchError, named, shortened
from vkdnw_search.fisher.checkpoints import without_checkpoints
from vkdnw_search.proxies.input_shapes import InputShape, checked_shape, is_one_shape
from vkdnw_search.proxies.picked_output import Output
from vkdnw_search.proxies.plain import must_be_proxy, name_of, score_with
from vkdnw_search.proxies.subject import Likelihoods, Subject, subject_of
from vkdnw_search.proxies.tried_inputs import InputsOption
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.records import Score

LOGGER = logging.getLogger(__name__)


def score(
    model: nn.Module,
    input_shape: InputShape = None,
    *,
    proxy: AnyProxy | None = None,
    seed: int = 0,
    free_operators: Sequence[str] = (),
    likelihood: Likelihoods = "auto",
    output: Output | None = None,
    class_axis: int | None = None,
    inputs: InputsOption = None,
) -> Score:
    """Score ``model`` as it would be scored in a search. Higher is better.

    A copy is scored: mode, hooks, buffers, gradients, weights and device of ``model`` stay as they are, whatever
    happens, and so do the global random generators. By default every weight of the copy is drawn anew (Kaiming
    normal); ``proxy=VkdnwSingle(initialization="as_built")`` scores the weights that are there.

    Args:
        model: takes (N, *input_shape) to logits (N, classes), or to other outputs (see ``likelihood``): convolutions of
            any kind, linear layers, normalisations, attention, bare parameters. Layers without a fast rule are
            differentiated literally.
        input_shape: the shape of one input, without the batch, e.g. (3, 32, 32); a sequence of shapes for a network of
            several inputs. It may be left out where ``inputs`` is a function.
        proxy: VkdnwSingle() by default; a plain function of the network that gives a number will do. A fast way to its
            score is checked against the literal one.
        seed: all randomness comes from it.
        free_operators: for proxies that count FLOPs, operators unknown to fvcore that cost nothing.
        likelihood: what the outputs stand for. ``categorical``: logits of classes, (N, C) or, at every position,
            (N, C, …). ``gaussian``: numbers to be regressed, of any shape. ``bernoulli``: logits of yes or no, of any
            shape; of both, (N,) is one a sample. ``auto``: categorical, for (N, C) and (N, C, H, W); it is logged what
            was taken. For several heads, whose Fisher matrices are added, a mapping of names or positions of outputs
            to the likelihood of each.
        output: which output counts where the network returns a tuple, mapping or dataclass: a name, a position, or a
            function of what it returns.
        class_axis: where categorical outputs have their classes, if not along axis 1: −1 for (N, L, C), as language
            models have them.
        inputs: a function of a ``torch.Generator`` and a number N of samples, which returns a tensor, a tuple of
            arguments or a dict of named ones: whatever follows N along its first axis holds the samples, and all share
            the rest. By default inputs are N(0, I); where a network with an ``nn.Embedding`` does not take these, or
            with "tokens", inputs whose shape is one number are tokens, uniform over the vocabulary of the first one.

    Raises:
        ScoreError: the network does not take such inputs or does not give such outputs, or the settings do not suit it.
        DegenerateNetwork: it has no usable score.
    """
    proxy = VkdnwSingle() if proxy is None else proxy
    must_be_proxy(proxy)
    _must_be_network(model)
    input_shape = checked_shape(input_shape)
    if isinstance(proxy, HasCostScore) and inputs is None and is_one_shape(input_shape):
        return proxy.score_cost(count(model, input_shape, free_operators=free_operators))
    with one_thread(), forked_generators(seed_from(seed, "proxy")), without_checkpoints():
        subject = subject_of(
            model, input_shape, likelihood=likelihood, output=output, class_axis=class_axis, inputs=inputs
        )
    LOGGER.info("%s: %s", type(model).__name__, subject.told)
    return _score(subject, proxy, seed=seed, free_operators=free_operators)


def _must_be_network(model: object) -> None:
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise ScoreError(f"score, model: must be a network, but is its class. Give what it makes: {model.__name__}(…)")
    if not isinstance(model, nn.Module):
        raise ScoreError(
            f"score, model: must be a network, a torch.nn.Module, but is {shortened(repr(model))}. Wrap what is none "
            "in a class with a method forward"
        )


def _score(subject: Subject, proxy: AnyProxy, *, seed: int = 0, free_operators: Sequence[str] = ()) -> Score:
    """The same for a network whose inputs and outputs are known."""
    if isinstance(proxy, HasCostScore):
        example = subject.example()
        return proxy.score_cost(
            count(subject.model, subject.input_shape, free_operators=free_operators, example=example)
        )
    if isinstance(proxy, HasFastWay):
        proxy = proxy.careful()
    with one_thread(), forked_generators(seed_from(seed, "proxy")), without_checkpoints():
        copied = subject.copied()  # one that has not run: some networks keep what they compute
        probe = Probe(
            subject.input_shape, subject.classes, seed, device_of(proxy),
            likelihood=subject.likelihood, inputs=subject.inputs,
        )  # fmt: skip
        try:
            return score_with(proxy, copied, probe)
        except VkdnwSearchError:
            raise
        except Exception as error:
            what = proxy if is_dataclass(proxy) else name_of(proxy)
            raise ScoreError(f"{subject.name}: cannot be scored with {what}: {named(error)}") from error
