"""A found network in other forms than Python source: torch.export, ONNX, and its initial weights."""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vkdnw_search.determinism import forked_generators
from vkdnw_search.errors import ExportError, named, told
from vkdnw_search.runs.result import FoundNetwork
from vkdnw_search.source_rules import defined_by, must_import_torch_alone

OPSET = 18
"""The version of ONNX operators: the lowest that torch's exporter writes without conversion, so that most runtimes
take it."""
TOLERANCE = 1e-4
"""The difference allowed between onnxruntime and PyTorch, relative to the largest logit (or absolute, if that is
below 1)."""
BATCHES = (2, 5)
"""The batch sizes at which a program is compared with the network; neither is special to the exporter."""
LONGEST = 300
"""Characters that are repeated of what an exporter says."""


def network(found: FoundNetwork, *, seed: int, arguments: Mapping[str, Any]) -> nn.Module:
    """``Network(**arguments)`` of the source that ``export`` writes, in evaluation mode, its weights from ``seed``.

    Raises:
        ExportError: Network does not take these arguments.
    """
    source = found.space.source(found.architecture)
    must_import_torch_alone(source, found.space.name, found.key)
    with forked_generators(seed):
        names = defined_by(source)
        try:
            made: nn.Module = names["Network"](**arguments)
        except Exception as error:
            given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
            raise ExportError(f"{found.space.name}: Network does not take {given}: {named(error)}") from error
    return made.eval()


def write_torch_export(model: nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
    """A ``torch.export`` program with any batch size, compared with ``model`` before it is kept.

    Raises:
        ExportError: torch.export cannot trace the network, or the program computes something else.
    """

    def write(draft: Path) -> None:
        images = torch.randn(BATCHES[0], *input_shape)
        program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
        torch.export.save(program, draft)

    _keep(path, write, lambda draft: torch.export.load(draft).module(), model, input_shape)


def write_onnx(model: nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
    """An ONNX file with any batch size, compared by onnxruntime with ``model`` before it is kept.

    Raises:
        ExportError: the extra ``onnx`` is not installed, torch cannot trace the network, or the file computes something
            else.
    """
    runtime = extra("onnxruntime")
    extra("onnxscript")

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


def write_safetensors(model: nn.Module, fresh: nn.Module, path: Path) -> None:
    """The weights and batch-norm statistics of ``model``, so that ``fresh.load_state_dict(load_file(path))`` has them.

    A tensor with several names, as tied weights have, is written under each of them.

    Args:
        model: with the weights.
        fresh: another instance of the same network, into which they are loaded to see that they can be.
        path: of the file.

    Raises:
        ExportError: the extra ``onnx`` is not installed, or the weights cannot be written so.
    """
    safetensors = extra("safetensors.torch")
    with _in_words(path):
        state = {name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()}
        safetensors.save_file(state, str(path))
        fresh.load_state_dict(safetensors.load_file(str(path)))
        loaded = fresh.state_dict()
        different = [name for name, tensor in state.items() if not torch.equal(loaded[name], tensor)]
    if different:
        raise ExportError(f"{path.name}: weights must come back as they are, but {different[0]} does not")


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Say of whatever an exporter raises that it cannot write this network."""
    try:
        yield
    except (ExportError, OSError):
        raise
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said = next(iter(told(cause).splitlines()), "").rstrip(".")[:LONGEST]
        raise ExportError(
            f"{path.name}: the network cannot be written in this form: {type(cause).__name__}: {said}. Its Python "
            "module, which is all that training needs, is written by --format python"
        ) from error


def _keep(path: Path, write: Any, run: Any, model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Write to a folder of its own, compare at two batch sizes, then move to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with forked_generators(), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / path.name
        with _in_words(path):
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
            f"{path.name}: must compute what the network does to {TOLERANCE:g}, but differs by up to {difference:.3g} "
            f"(shapes {tuple(theirs.shape)} and {tuple(ours.shape)}). Nothing was kept"
        )


def extra(name: str) -> Any:
    """The module ``name``, which the extra ``onnx`` installs. Raises ExportError if it is not there."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ExportError(
            f"{name} is needed for this format, but is not installed: pip install 'vkdnw-search[onnx]'"
        ) from error
