"""What generated source must be: a file that imports torch alone and defines the network that ``build`` gives."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import nn


def load_network(source: str) -> type[nn.Module]:
    """The class ``Network`` of a source that may import torch alone."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} == {"torch"}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None and node.module.split(".")[0] in ("__future__", "torch")
    namespace: dict[str, Any] = {"__name__": "generated"}
    exec(compile(source, "generated.py", "exec"), namespace)
    return namespace["Network"]


def load(path: Path) -> Any:
    """The module in a file, as its user imports it."""
    spec = importlib.util.spec_from_file_location("exported", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_same_network(ours: nn.Module, theirs: nn.Module, x: torch.Tensor) -> None:
    """Same names, shapes and order of parameters and buffers; same outputs with the same weights."""
    state = ours.state_dict()
    assert [(name, t.shape) for name, t in state.items()] == [(n, t.shape) for n, t in theirs.state_dict().items()]
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    theirs.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=0, atol=0)


def assert_variants_work(network: type[nn.Module], x: torch.Tensor) -> None:
    """What a MobileNet offers for training: squeeze-excitation, drop path, dropout, channels, momentum."""
    plain = network(num_classes=7)
    excited = network(num_classes=7, squeeze_excitation=True, channels_in=1, drop_path=0.5, dropout=0.5)
    assert excited.eval()(x[:, :1]).shape == (len(x), 7)
    added = excited.state_dict().keys() - plain.state_dict().keys()
    assert added and all(".excite." in name for name in added)
    assert plain.state_dict().keys() <= excited.state_dict().keys()
    units = [module for module in excited.modules() if type(module).__name__ == "Unit"]
    assert len({name.partition(".excite.")[0] for name in added}) == len(units)
    rates = [unit.drop_path.rate for unit in units]  # type: ignore[union-attr]  # a DropPath
    assert rates == sorted(rates) and rates[-1] == 0.5
    for module in network(num_classes=7, bn_momentum=0.01).modules():
        assert not isinstance(module, nn.BatchNorm2d) or module.momentum == 0.01
