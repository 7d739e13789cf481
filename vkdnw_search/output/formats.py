"""A found network in other forms than Python source: torch.export, ONNX, and its initial weights."""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vkdnw_search.errors import ExportError
from vkdnw_search.runs.result import FoundNetwork
from vkdnw_search.source_rules import defined_by, must_import_torch_alone

OPSET = 18
"""Of ONNX: the lowest that torch's exporter writes without conversion, so that most runtimes take it."""
TOLERANCE = 1e-4
"""Between onnxruntime and PyTorch, relative to the largest logit (or absolute, if that is below 1)."""
BATCHES = (2, 5)
"""Sizes at which a program is compared with the network; neither is special to the exporter."""


def network(found: FoundNetwork, *, seed: int, arguments: Mapping[str, Any]) -> nn.Module:
    """``Network(**arguments)`` of the source that ``export`` writes, in evaluation mode, its weights from ``seed``.

    Raises:
        ExportError: Network has no such argument.
    """
    source = found.space.source(found.architecture)
    must_import_torch_alone(source, found.space.name, found.key)
    names = defined_by(source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            made: nn.Module = names["Network"](**arguments)
        except TypeError as error:
            raise ExportError(f"{found.space.name}: Network does not take {', '.join(arguments)}: {error}") from error
    return made.eval()


def write_torch_export(model: nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
    """A ``torch.export`` program with any batch size, compared with ``model`` before it is kept.

    Raises:
        ExportError: it computes something else.
    """
    program = torch.export.export(
        model, (torch.randn(BATCHES[0], *input_shape),), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
    )
    _keep(path, lambda draft: torch.export.save(program, draft), lambda draft: _run_program(draft), model, input_shape)


def write_onnx(model: nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
    """An ONNX file with any batch size, compared by onnxruntime with ``model`` before it is kept.

    Raises:
        ExportError: the extra ``onnx`` is not installed, or the file computes something else.
    """
    runtime = _extra("onnxruntime")
    _extra("onnxscript")

    def write(draft: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own, about its internals
            torch.onnx.export(
                model,
                (torch.randn(BATCHES[0], *input_shape),),
                draft,
                dynamo=True,
                external_data=False,
                verbose=False,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            )

    def run(draft: Path) -> Any:
        session = runtime.InferenceSession(str(draft), providers=["CPUExecutionProvider"])
        return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    _keep(path, write, run, model, input_shape)


def write_safetensors(model: nn.Module, path: Path) -> None:
    """The weights and batch-norm statistics of ``model``.

    Raises:
        ExportError: the extra ``onnx`` is not installed.
    """
    _extra("safetensors.torch").save_file(model.state_dict(), str(path))


def _run_program(draft: Path) -> Any:
    return torch.export.load(draft).module()


def _keep(path: Path, write: Any, run: Any, model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Write to a folder of its own, compare at two batch sizes, then move to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / path.name
        write(draft)
        compute = run(draft)
        generator = torch.Generator().manual_seed(0)
        for batch in BATCHES:
            images = torch.randn(batch, *input_shape, generator=generator)
            with torch.no_grad():
                _must_agree(compute(images), model(images), path)
        draft.replace(path)


def _must_agree(theirs: Tensor, ours: Tensor, path: Path) -> None:
    difference = float((theirs - ours).abs().max()) if theirs.shape == ours.shape else float("inf")
    if not difference <= TOLERANCE * max(1.0, float(ours.abs().max())):
        raise ExportError(
            f"{path}: must compute what the network does to {TOLERANCE:g}, but differs by up to {difference:.3g} "
            f"(shapes {tuple(theirs.shape)} and {tuple(ours.shape)}). Nothing was kept"
        )


def _extra(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ExportError(
            f"{name} is needed for this format, but is not installed: pip install 'vkdnw-search[onnx]'"
        ) from error
