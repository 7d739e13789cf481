"""A found network quantized to int8, as an ONNX file for devices, and how far its outputs are from those of float32."""

from __future__ import annotations

import copy
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vkdnw_search.errors import ExportError, LatencyUnknown
from vkdnw_search.latencies.onnx_files import quantize, write_part
from vkdnw_search.output.formats import extra

__all__ = ["Agreement", "write_int8"]

CALIBRATION = 32
"""Number of random images that the ranges of activations are taken from: the extremes of ten million numbers in an
early layer change little after."""

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

COMPARED = 64
"""Number of other random images at which int8 is compared with float32."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the outputs of a quantized network are from those of the network itself, on random images.

    Attributes:
        images: number of images.
        same: the share of images, or of positions in them, whose largest output is the same.
        error: ‖q − z‖ / ‖z‖ for all outputs q of the quantized network, and z of the network itself.
    """

    images: int
    same: float
    error: float

    def __str__(self) -> str:
        return (
            f"int8 beside float32 on {self.images} random images: the largest output is the same for {self.same:.1%}, "
            f"relative error of the outputs {self.error:.2g}"
        )


def write_int8(model: nn.Module, input_shape: tuple[int, ...], path: Path) -> Agreement:
    """An ONNX file quantized statically to int8, for one image at a time, calibrated on random images ~ N(0, I).

    Batch norms of the file have the statistics of such images: with those that a network begins with, what an image
    says fades from layer to layer, and the biases of the last are compared.

    Args:
        model: in evaluation mode, without training.
        input_shape: of one image, without the batch.
        path: of the file; its folder is made if needed.

    Raises:
        ExportError: the extra ``onnx`` is not installed, or the network cannot be written or quantized.
    """
    extra("onnx")
    runtime = extra("onnxruntime")
    model = _with_statistics(model, torch.randn(CALIBRATION, *input_shape, generator=torch.Generator().manual_seed(0)))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        plain, draft = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        try:
            write_part(model, input_shape, plain)
            quantize(plain, draft, images=CALIBRATION)
        except LatencyUnknown as error:
            raise ExportError(f"{path.name}: the network {error}. --format onnx writes it in float32") from error
        session = runtime.InferenceSession(str(draft), providers=["CPUExecutionProvider"])
        agreement = _compared(session, model, input_shape)
        draft.replace(path)
    return agreement


@torch.no_grad()
def _with_statistics(model: nn.Module, images: torch.Tensor) -> nn.Module:
    """A copy whose batch norms have the statistics of ``images``."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, BATCH_NORMS):
            module.reset_running_stats()
            module.momentum = None  # the average of all batches, which is one
            module.train()
    model(images)
    return model.eval()


@torch.no_grad()
def _compared(session: Any, model: nn.Module, input_shape: tuple[int, ...]) -> Agreement:
    rng = np.random.default_rng(1)  # other images than those of the calibration
    names = [entry.name for entry in session.get_inputs()]  # none, if the network ignores its input
    ours, theirs = [], []
    for _ in range(COMPARED):
        image = rng.standard_normal((1, *input_shape), dtype=np.float32)
        theirs.append(session.run(None, dict.fromkeys(names, image))[0])
        ours.append(model(torch.from_numpy(image)).numpy())
    z, q = np.concatenate(ours).astype(float), np.concatenate(theirs).astype(float)  # (N, C, …)
    same = float((q.argmax(axis=1) == z.argmax(axis=1)).mean())
    error, size = float(np.linalg.norm(q - z)), float(np.linalg.norm(z))
    return Agreement(COMPARED, same, error / size if size else math.inf if error else 0.0)
