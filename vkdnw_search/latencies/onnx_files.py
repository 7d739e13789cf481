"""A module as an ONNX file with inputs of one shape, in float32 or quantized to int8, for whatever times it."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vkdnw_search.determinism import forked_generators
from vkdnw_search.errors import LatencyError, LatencyUnknown, shortened

__all__ = ["inputs_of", "must_have_extra", "nothing", "quantize", "write_part"]

OPSET = 17
"""The version of ONNX operators: runtimes of boards and phones take it since 2022."""

CALIBRATION = 4
"""Number of random inputs that the ranges of activations are taken from. Times do not depend on the ranges."""


def must_have_extra() -> None:
    """Raise LatencyError if the extra ``onnx`` is not installed."""
    for name in ("onnx", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise LatencyError(
                f"{name} is needed for such latencies, but is not installed: pip install 'vkdnw-search[onnx]'"
            ) from error


def write_part(module: nn.Module, input_shape: Sequence[int], path: Path) -> None:
    """Write ``module`` in evaluation mode, for one input, to ``path``.

    It is written by torch's older exporter, from a trace: a fiftieth of the time that ``torch.export`` takes, and a
    space has hundreds of parts. Nothing is computed with the file but times.

    Raises:
        LatencyUnknown: the exporter cannot trace it.
    """
    x = torch.randn(1, *input_shape)
    try:
        with forked_generators(), torch.inference_mode(), _silent():
            torch.onnx.export(module.eval(), (x,), str(path), dynamo=False, opset_version=OPSET, input_names=["images"])
    except Exception as error:  # whatever the exporter raises for this module
        raise LatencyUnknown(f"cannot be written as ONNX: {type(error).__name__}: {shortened(error)}") from error


def nothing() -> tuple[nn.Module, tuple[int, ...]]:
    """A module that computes nothing, and the shape of its input: its time is that of a call."""
    return nn.Identity(), (1,)


def quantize(source: Path, target: Path, *, images: int = CALIBRATION) -> None:
    """Quantize an ONNX file statically to int8, calibrated on random inputs ~ N(0, I): batch norms are folded into the
    convolutions before, as whatever deploys int8 does.

    Args:
        source: the file in float32.
        target: the file to write; one whose name ends in .folded.onnx stays beside it.
        images: number of random inputs.

    Raises:
        LatencyUnknown: ONNX Runtime cannot quantize it.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    folded = target.with_suffix(".folded.onnx")
    try:
        with _silent():
            quant_pre_process(str(source), str(folded), skip_symbolic_shape=True)
            quantization.quantize_static(str(folded), str(target), _random_inputs(folded, images), per_channel=True)
    except Exception as error:  # whatever the quantizer raises for this graph
        raise LatencyUnknown(f"cannot be quantized: {type(error).__name__}: {shortened(error)}") from error


def inputs_of(session: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A random value for each input of a session of ONNX Runtime; a network that ignores its input has none."""
    return {entry.name: rng.standard_normal(entry.shape, dtype=np.float32) for entry in session.get_inputs()}


def _random_inputs(file: Path, count: int) -> Any:
    """The reader of calibration data for ``file`` that ONNX Runtime's quantizer takes."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    batches: Iterator[Mapping[str, np.ndarray]] = (inputs_of(session, rng) for _ in range(count))

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # its package has no types
        def get_next(self) -> Mapping[str, np.ndarray] | None:
            return next(batches, None)

    return Reader()


@contextmanager
def _silent() -> Iterator[None]:
    """Without warnings and logs of exporters about their own insides."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
