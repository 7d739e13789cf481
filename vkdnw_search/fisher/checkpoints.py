"""Networks with activation checkpointing (``torch.utils.checkpoint``), run without it.

A checkpointed part keeps nothing and is run again in the backward pass, where no tap watches it and batch norms would
take other statistics. Its results and derivatives are those of the part itself, by definition, so it is run as if it
were not checkpointed: a score splits its batch where memory is short.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch.utils.checkpoint


class _Here(threading.local):
    plain = False
    """Whether this thread runs checkpointed parts as if they were not."""


_HERE = _Here()
_LOCK = threading.Lock()
_PATCHES = ExitStack()
_inside = 0
"""Passes under way, of all threads: the first changes torch, and the last puts it back."""


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """In this thread, run what is checkpointed directly. However the network imported ``checkpoint``, it is found."""
    before, _HERE.plain = _HERE.plain, True
    _enter()
    try:
        yield
    finally:
        _leave()
        _HERE.plain = before


def _enter() -> None:
    global _inside
    with _LOCK:
        if _inside == 0:
            module = torch.utils.checkpoint
            reentrant, other = module.CheckpointFunction.apply, module._checkpoint_without_reentrant_generator
            _PATCHES.enter_context(patch.object(module.CheckpointFunction, "apply", _directly(reentrant)))
            _PATCHES.enter_context(patch.object(module, "_checkpoint_without_reentrant_generator", _nothing(other)))
        _inside += 1


def _leave() -> None:
    global _inside
    with _LOCK:
        _inside -= 1
        if _inside == 0:
            _PATCHES.close()


def _directly(original: Callable[..., Any]) -> Callable[..., Any]:
    """``CheckpointFunction.apply``, which calls the function with its arguments."""

    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return function(*args) if _HERE.plain else original(function, preserve, *args)

    return apply


def _nothing(original: Callable[..., Any]) -> Callable[..., Any]:
    """What ``checkpoint`` does before and after it calls the function, where it is not reentrant."""

    def before_and_after(*args: Any, **kwargs: Any) -> Iterator[None]:
        return iter([None]) if _HERE.plain else original(*args, **kwargs)

    return before_and_after
