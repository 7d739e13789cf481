"""What ``build`` and ``source`` of a search space give: shapes, equality, the same network twice."""

from __future__ import annotations

import ast
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vkdnw_search.contracts import HasParts
from vkdnw_search.cost.counter import CostCounter, count
from vkdnw_search.determinism import one_thread
from vkdnw_search.output.verify import differences
from vkdnw_search.proxies.initialization import initialize
from vkdnw_search.records import Cost
from vkdnw_search.source_rules import foreign_imports
from vkdnw_search.testing.findings import Findings, said

BATCH = 2

LARGE = 500_000_000
"""FLOPs for one input, or parameters, from which a network is slower in earnest than on the meta device."""


def check_network(space: Any, architecture: Any, findings: Findings, *, size: Cost | None) -> None:
    """Check that ``architecture`` builds and gives logits. A network of a large ``size`` is looked at on the meta
    device.
    """
    shape, classes = tuple(space.input_shape), space.num_classes
    where = f"build({architecture.key})"
    try:
        if size is not None and (size.flops > LARGE or size.parameters > LARGE):
            logits = _logits_on_meta(space, architecture, shape)
        else:
            logits = _logits(space, architecture, shape)
    except Exception as error:
        findings.add(
            "build",
            f"{where}: must give a module that takes (N, {', '.join(map(str, shape))}), but raised {said(error)}. "
            "Every genome must build: mend the module, or drop the choice that breaks it",
        )
        return
    found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    findings.require(
        found == (BATCH, classes),
        "logits",
        f"{where}: must return logits of shape (N, num_classes) = {(BATCH, classes)}, but returns {found}",
    )


def _logits(space: Any, architecture: Any, shape: tuple[int, ...]) -> Any:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return space.build(architecture).eval()(torch.zeros(BATCH, *shape))


def _logits_on_meta(space: Any, architecture: Any, shape: tuple[int, ...]) -> Any:
    """Run the network for shapes alone, or in earnest where it cannot be built without numbers."""
    try:
        with torch.device("meta"):
            return space.build(architecture).eval()(torch.empty(BATCH, *shape))
    except Exception:
        return _logits(space, architecture, shape)


def check_source(space: Any, architecture: Any, findings: Findings) -> None:
    """Check that ``source`` is Python that imports torch alone and defines the network that ``build`` gives."""
    where = f"source({architecture.key})"
    try:
        source = space.source(architecture)
        foreign = foreign_imports(ast.parse(source))
    except Exception as error:
        findings.add("source", f"{where}: must give Python, but raised {said(error)}")
        return
    if not findings.require(
        not foreign,
        "source imports",
        f"{where}: must import torch alone, but imports {', '.join(foreign)}. Write what it needs into the source",
    ):
        return
    mend = "Make both from the same code, such as inspect.getsource of the module that build uses"
    with findings.no_error("source runs", f"{where}: must define Network(num_classes=…) like build", mend):
        difference = _difference(space, architecture, source)
        findings.require(
            not difference,
            "source equals",
            f"{where}: must define the network that build gives, but {difference}. {mend}",
        )


def _difference(space: Any, architecture: Any, source: str) -> str:
    """How the network in ``source`` differs from the one that ``build`` gives, in words; empty if it does not."""
    free = sorted(getattr(space, "free_operators", ()))
    with one_thread(), torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        model = _built(space, architecture)
        images = torch.randn(BATCH, *space.input_shape)
        with torch.no_grad():
            logits = model(images)
        flops = count(model, space.input_shape, free_operators=free).flops
        expected = {"state": model.state_dict(), "images": images, "logits": logits, "flops": flops, "free": free}
        path = Path(folder) / "model.py"
        path.write_text(source, encoding="utf-8")
        return differences(path, expected)


def _built(space: Any, architecture: Any) -> nn.Module:
    """The network with weights that are the same for the same shapes. Call it within ``fork_rng``."""
    torch.manual_seed(0)
    model: nn.Module = space.build(architecture).eval()
    initialize(model, seed=0)
    return model


class Twins:
    """Tells whether two architectures of a space are the same network."""

    def __init__(self, space: Any, counter: CostCounter[Any]) -> None:
        self._space, self._counter = space, counter

    def equal(self, ours: Any, theirs: Any) -> bool:
        """Whether both have the same parameters and buffers, in order, and then the same finite, varied outputs."""
        if isinstance(self._space, HasParts) and self._counter.cost(ours) != self._counter.cost(theirs):
            return False  # which takes no time
        with one_thread(), torch.random.fork_rng(devices=[]), torch.no_grad():
            first, second = (_built(self._space, architecture) for architecture in (ours, theirs))
            if _shapes(first) != _shapes(second):
                return False
            torch.manual_seed(1)
            images = torch.randn(BATCH, *self._space.input_shape)
            logits = first(images)
            return bool(logits.isfinite().all()) and bool(logits.any()) and torch.equal(logits, second(images))


def _shapes(model: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in model.state_dict().values()]
