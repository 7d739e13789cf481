"""What a proxy may be: an object called with network and probe, or a plain function of the network; record or number.

Whatever scores with a proxy does so through :func:`score_with`.
"""

from __future__ import annotations

import functools
import inspect
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import nn

from vkdnw_search.contracts import DrawsWeights, HasCostScore, Probe
from vkdnw_search.errors import ScoreError
from vkdnw_search.records import Score

WHAT = (
    "A score, or zero-cost proxy, takes a network that has just been built and says how good it looks: the higher, the "
    "better. It is a function of the network that returns a number, or an object called with the network and a probe "
    "that returns a number or a vkdnw_search.records.Score"
)
"""What a proxy is, in the words of docs/own-score.md."""


def score_with(proxy: Any, model: nn.Module, probe: Probe) -> Score:
    """The score of ``model``, of an object called with network and probe or of a function of the network alone.

    Raises:
        ScoreError: ``proxy`` is neither, or returns neither a Score nor a number.
    """
    must_be_proxy(proxy)
    value = proxy(model) if _takes_the_network_alone(proxy) else proxy(model, probe)
    if isinstance(value, Score):
        return value
    try:
        return Score(_number(value))
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ScoreError(
            f"{name_of(proxy)}: must return a number or a vkdnw_search.records.Score, but returns "
            f"{_shown(value)}. {WHAT}"
        ) from None


def must_be_proxy(proxy: object) -> None:
    """Raise a ScoreError if ``proxy`` cannot score a network, as far as that can be told beforehand."""
    if isinstance(proxy, type):
        raise ScoreError(f"{name_of(proxy)}: must be a proxy, but is a class. Give an instance: {proxy.__name__}(…)")
    if not callable(proxy) and not isinstance(proxy, HasCostScore):
        raise ScoreError(f"{_shown(proxy)}: must be a proxy, but cannot be called. {WHAT}")
    names = _required(proxy)
    if names is not None and not _accepts(proxy, 1) and not _accepts(proxy, 2):
        raise ScoreError(f"{name_of(proxy)}: must be a proxy, but is called with ({', '.join(names)}). {WHAT}")


def draws_weights(proxy: object) -> bool:
    """Whether ``proxy`` needs no weights in the networks that it is given, as it draws them or looks at none."""
    return isinstance(proxy, HasCostScore) or (isinstance(proxy, DrawsWeights) and proxy.draws_weights)


def name_of(proxy: object) -> str:
    """What a proxy is called: a function by its own name, an object by that of its class."""
    while isinstance(proxy, functools.partial):
        proxy = proxy.func
    return str(getattr(proxy, "__name__", type(proxy).__name__))


def _takes_the_network_alone(proxy: object) -> bool:
    """Whether the network is all that must be given; a second argument with a default is an option of its own."""
    required = _required(proxy)
    return required is not None and len(required) < 2 and not _asks_for_a_probe(proxy)


def _asks_for_a_probe(proxy: object) -> bool:
    parameters = list(_parameters(proxy) or ())
    return any(p.kind is p.VAR_POSITIONAL for p in parameters) or any(p.name == "probe" for p in parameters[:2])


def _required(proxy: object) -> list[str] | None:
    """Names of the arguments that must be given; None where the signature cannot be told."""
    parameters = _parameters(proxy)
    if parameters is None:
        return None
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _parameters(proxy: object) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(proxy).parameters.values())  # type: ignore[arg-type]  # TypeError if not callable
    except (TypeError, ValueError):
        return None


def _accepts(proxy: Any, arguments: int) -> bool:
    try:
        inspect.signature(proxy).bind(*range(arguments))
    except TypeError:
        return False
    return True


def _number(value: object) -> float:
    """``value`` as a float, if it is one number: of Python or numpy, or a tensor or array of one element."""
    if isinstance(value, torch.Tensor | np.ndarray):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError
    return float(value)


def _shown(value: object) -> str:
    """A value in a few words."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return f"a {type(value).__name__} of shape {tuple(value.shape)}"
    return f"{value!r:.80}"
