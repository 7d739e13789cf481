"""What a module holds besides its weights, put back after every forward pass.

Some networks keep in evaluation mode what they computed from their weights: attention biases, rotary tables. A second
pass would then not see those weights at all, and their derivatives would be zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

PLAIN = frozenset(vars(nn.Module())) - {"_buffers", "_parameters"}
"""Attributes that every module has, such as hooks and submodules: a forward pass leaves them alone."""


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Afterwards every module has the attributes, buffers, dicts, lists and sets that it had before.

    What is changed within a tensor stays changed.
    """
    before = [(module, {name: _copied(value) for name, value in _own(module).items()}) for module in model.modules()]
    try:
        yield
    finally:
        for module, kept in before:
            attributes = vars(module)
            for name in _own(module).keys() - kept.keys():
                del attributes[name]
            for name, (value, content) in kept.items():
                if attributes.get(name) is not value:
                    attributes[name] = value
                _put_back(value, content)


def keeps_tensors(module: nn.Module) -> list[str]:
    """Names of attributes of ``module`` that hold tensors which are neither parameters nor buffers."""
    return [name for name, value in _own(module).items() if name not in ("_buffers", "_parameters") and _holds(value)]


def _own(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name not in PLAIN}


def _copied(value: Any) -> tuple[Any, Any]:
    """``value``, and what is in it if it is a container: nested containers are looked into."""
    if isinstance(value, dict):
        return value, {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return value, [_copied(item) for item in value]
    return value, set(value) if isinstance(value, set) else None


def _put_back(value: Any, content: Any) -> None:
    """Give a container what it held: the same objects, in their order."""
    if isinstance(value, dict):
        if list(map(id, value.values())) != [id(item) for item, _ in content.values()] or value.keys() != content:
            value.clear()
            value.update((key, item) for key, (item, _) in content.items())
        for item, inner in content.values():
            _put_back(item, inner)
    elif isinstance(value, list):
        if list(map(id, value)) != [id(item) for item, _ in content]:
            value[:] = [item for item, _ in content]
        for item, inner in content:
            _put_back(item, inner)
    elif isinstance(value, set) and value != content:
        value.clear()
        value.update(content)


def _holds(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds, value.values()))
    return any(map(_holds, value)) if isinstance(value, list | tuple | set) else isinstance(value, Tensor)
