"""What ``build`` and ``source`` of a search space give: shapes, equality, the same network twice."""

from __future__ import annotations

import ast
import math
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from vkdnw_search.contracts import HasParts, Likelihood, input_shape_of
from vkdnw_search.cost.counter import CostCounter, count
from vkdnw_search.determinism import forked_generators, one_thread, seed_generators
from vkdnw_search.output.verify import differences
from vkdnw_search.proxies.initialization import initialize
from vkdnw_search.source_rules import defined_by, foreign_imports
from vkdnw_search.testing.findings import Findings, said

BATCH = 2

SLOW = 500_000_000
"""FLOPs for one input from which a network is slower in earnest than on the meta device."""

HEAVY = 25_000_000
"""Parameters, 100 MB, from which a network is built on the meta device, and its numbers are not looked at: the largest
of a space may not fit into memory."""


def parameters_of(space: Any, architecture: Any) -> int:
    """The number of parameters of a network; 0 if it cannot be built, as another check will find."""
    try:
        model = _without_numbers(lambda: space.build(architecture))
    except Exception:
        return 0
    return sum(parameter.numel() for parameter in model.parameters())


def _without_numbers(make: Callable[[], nn.Module]) -> nn.Module:
    """A network on the meta device; in earnest one that cannot be constructed without numbers."""
    with forked_generators():
        try:
            with torch.device("meta"):
                return make()
        except Exception:
            return make()


def check_network(space: Any, architecture: Any, findings: Findings, *, parameters: int, flops: int) -> None:
    """Check that ``architecture`` builds and gives logits. A large one is looked at on the meta device.

    Args:
        space: of the architecture.
        architecture: decoded.
        findings: gets what is wrong.
        parameters: of the network.
        flops: of the network, 0 if they are not known.
    """
    shape, classes = input_shape_of(space, architecture), space.num_classes
    where = f"build({architecture.key})"
    try:
        if flops > SLOW or parameters > HEAVY:
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
    likelihood, kinds = getattr(space, "likelihood", "auto"), get_args(Likelihood)
    if not findings.require(
        likelihood in kinds,
        "likelihood",
        f"likelihood: must be one of {', '.join(kinds)}, but is {likelihood!r}. See contracts.HasLikelihood",
    ):
        return
    findings.require(
        isinstance(found, tuple) and _suits(found, classes, likelihood),
        "logits",
        f"{where}: must return {_wanted(classes, likelihood)}, but returns {found}. Other outputs are for spaces "
        "with a property likelihood",
    )


def _suits(shape: tuple[int, ...], classes: int, likelihood: str) -> bool:
    """Whether outputs of this shape are what the likelihood asks for."""
    if len(shape) < 2 or shape[0] != BATCH or 0 in shape:
        return False
    if likelihood == "auto":
        return shape[1:] == (classes,)
    return shape[1] == classes if likelihood == "categorical" else classes in shape[1:]


def _wanted(classes: int, likelihood: str) -> str:
    if likelihood == "auto":
        return f"logits of shape (N, num_classes) = {(BATCH, classes)}"
    if likelihood == "categorical":
        return f"logits of shape (N, num_classes, …) = ({BATCH}, {classes}, …)"
    return f"outputs of shape (N, …) = ({BATCH}, …), one axis of which is num_classes = {classes} long"


def _logits(space: Any, architecture: Any, shape: tuple[int, ...]) -> Any:
    with torch.no_grad(), forked_generators():
        return space.build(architecture).eval()(torch.zeros(BATCH, *shape))


def _logits_on_meta(space: Any, architecture: Any, shape: tuple[int, ...]) -> Any:
    """Run the network for shapes alone, or in earnest where it cannot be built without numbers."""
    try:
        with forked_generators(), torch.device("meta"):
            return space.build(architecture).eval()(torch.empty(BATCH, *shape))
    except Exception:
        return _logits(space, architecture, shape)


def check_source(space: Any, architecture: Any, findings: Findings, *, shapes_alone: bool = False) -> None:
    """Check that ``source`` is Python that imports torch alone and defines the network that ``build`` gives.

    Args:
        space: of the architecture.
        architecture: decoded.
        findings: gets what is wrong.
        shapes_alone: compare the names and shapes of parameters only, without numbers.
    """
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
        difference = (_different_shapes if shapes_alone else _difference)(space, architecture, source)
        findings.require(
            not difference,
            "source equals",
            f"{where}: must define the network that build gives, but {difference}. {mend}",
        )


def _difference(space: Any, architecture: Any, source: str) -> str:
    """How the network in ``source`` differs from the one that ``build`` gives, in words; empty if it does not."""
    free = sorted(getattr(space, "free_operators", ()))
    with one_thread(), forked_generators(), tempfile.TemporaryDirectory() as folder:
        model = _built(space, architecture)
        shape = input_shape_of(space, architecture)
        images = torch.randn(BATCH, *shape)
        with torch.no_grad():
            logits = model(images)
        flops = count(model, shape, free_operators=free).flops
        expected = {"num_classes": space.num_classes, "flops": flops, "free": free}
        expected |= {"state": model.state_dict(), "images": images, "logits": logits}
        path = Path(folder) / "model.py"
        path.write_text(source, encoding="utf-8")
        return differences(path, expected)


def _different_shapes(space: Any, architecture: Any, source: str) -> str:
    """Whether names or shapes of parameters differ, in words; empty if they do not."""
    network = defined_by(source)["Network"]
    makes = (lambda: space.build(architecture), lambda: network(num_classes=space.num_classes))
    ours, theirs = (
        {(name, tuple(tensor.shape)) for name, tensor in _without_numbers(make).state_dict().items()} for make in makes
    )
    differing = sorted(ours ^ theirs)[:4]
    return f"names or shapes of parameters differ: {differing}" if differing else ""


def _built(space: Any, architecture: Any) -> nn.Module:
    """The network with weights that are the same for the same shapes. Call it within ``forked_generators``."""
    seed_generators(0)
    model: nn.Module = space.build(architecture).eval()
    initialize(model, seed=0)
    return model


class Twins:
    """Tells whether two architectures of a space are the same network."""

    def __init__(self, space: Any, counter: CostCounter[Any]) -> None:
        self._space, self._counter = space, counter

    def equal(self, ours: Any, theirs: Any) -> bool:
        """Whether both have the same parameters and buffers, in order, and then the same finite, varied outputs.

        Of heavy networks it is not told. One of the two is built at a time.
        """
        if isinstance(self._space, HasParts) and self._counter.cost(ours) != self._counter.cost(theirs):
            return False  # which takes no time
        shapes, others = (_shapes(_without_numbers(partial(self._space.build, a))) for a in (ours, theirs))
        if shapes != others or sum(map(math.prod, shapes)) > HEAVY:
            return False
        logits = self._logits(ours)
        return bool(logits.isfinite().all()) and bool(logits.any()) and torch.equal(logits, self._logits(theirs))

    def _logits(self, architecture: Any) -> torch.Tensor:
        with one_thread(), forked_generators(), torch.no_grad():
            model = _built(self._space, architecture)
            seed_generators(1)
            logits: torch.Tensor = model(torch.randn(BATCH, *input_shape_of(self._space, architecture)))
            return logits


def _shapes(model: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in model.state_dict().values()]
