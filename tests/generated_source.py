"""What generated source must be: a file that imports torch alone and defines the network that ``build`` gives."""

from __future__ import annotations

import ast
from typing import Any

import torch
from torch import nn


def load_network(source: str) -> type[nn.Module]:
    """The class ``Network`` of a source that may import torch alone."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} == {"torch"}
        elif isinstance(node, ast.ImportFrom):
            assert node.module in ("__future__", "torch")
    namespace: dict[str, Any] = {"__name__": "generated"}
    exec(compile(source, "generated.py", "exec"), namespace)
    return namespace["Network"]


def assert_same_network(ours: nn.Module, theirs: nn.Module, x: torch.Tensor) -> None:
    """Same names, shapes and order of parameters and buffers; same outputs with the same weights."""
    state = ours.state_dict()
    assert [(name, t.shape) for name, t in state.items()] == [(n, t.shape) for n, t in theirs.state_dict().items()]
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    theirs.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=0, atol=0)
