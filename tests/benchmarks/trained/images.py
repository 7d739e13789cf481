"""Fashion-MNIST as Debian installs it: 60,000 training and 10,000 test images of 28×28, in IDX files."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

FOLDER = Path("/usr/share/datasets/fashion-mnist")
UNSIGNED_BYTES = 8
"""The element type of an IDX file, the third of its bytes."""

SHIFT = 2
"""Pixels by which a training image is moved at most, each way: what is moved in is black."""


@dataclass(frozen=True, eq=False)
class Images:
    """Training and test images.

    Attributes:
        train, test: grey values 0 … 255, uint8, shape (n, side, side).
        train_labels, test_labels: int64, shape (n,).
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor

    def training_batches(
        self, *, batch: int, steps: int, resolution: int, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """``steps`` batches, one pass in random order after another: (batch, 3, resolution, resolution), labels.

        Every image is moved by up to SHIFT pixels and half of them are mirrored.
        """
        count = len(self.train)
        passes = math.ceil(batch * steps / count)
        order = torch.cat([torch.randperm(count, generator=generator) for _ in range(passes)])
        for start in range(0, batch * steps, batch):
            chosen = order[start : start + batch]
            yield self._prepared(augmented(self.train[chosen], generator), resolution), self.train_labels[chosen]

    def test_batches(self, *, batch: int, resolution: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All test images in order, as they are."""
        for images, labels in zip(self.test.split(batch), self.test_labels.split(batch), strict=True):
            yield self._prepared(images, resolution), labels

    def _prepared(self, images: Tensor, resolution: int) -> Tensor:
        """Resized, standardised by the training images' mean and deviation, three equal channels."""
        mean, deviation = self._scale
        x = functional.interpolate(images[:, None].float(), size=resolution, mode="bilinear")
        return ((x - mean) / deviation).expand(-1, 3, -1, -1)

    @cached_property
    def _scale(self) -> tuple[float, float]:
        """Mean and standard deviation of all training pixels, from how often each of the 256 values occurs."""
        counts = torch.bincount(self.train.flatten(), minlength=256).double()
        values = torch.arange(256, dtype=torch.float64)
        mean = float((counts * values).sum() / counts.sum())
        return mean, max(float((counts * (values - mean) ** 2).sum() / counts.sum()) ** 0.5, 1.0)


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved and perhaps mirrored. (n, side, side) → the same shape."""
    count, side = len(images), images.shape[-1]
    padded = functional.pad(images, (SHIFT,) * 4)
    rows, columns = torch.randint(2 * SHIFT + 1, (2, count, 1), generator=generator) + torch.arange(side)
    mirrored = torch.rand(count, generator=generator) < 0.5
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def read_images(folder: Path = FOLDER) -> Images:
    """The four files of ``folder``.

    Raises:
        FileNotFoundError: one is absent; the message says how to install them.
        ValueError: one is not an IDX file of bytes, or images and labels are not equally many.
    """
    arrays = []
    for part in ("train", "t10k"):
        images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise ValueError(
                f"{folder}, {part}: must be images (n, side, side) and n labels, but are {images.shape} and "
                f"{labels.shape}. Install the Debian package dataset-fashion-mnist again"
            )
        arrays += [torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))]
    return Images(*arrays)


def read_idx(file: Path) -> NDArray[np.uint8]:
    """The array of a gzipped IDX file: two zeros, the type, the number of axes, each length (big-endian), the bytes.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_images`.
    """
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: must be a file of Fashion-MNIST, but there is none. Install it: apt install dataset-fashion-mnist"
        )
    with gzip.open(file) as stream:
        content = stream.read()
    axes = content[3] if content[:3] == bytes((0, 0, UNSIGNED_BYTES)) else 0
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", count=axes, offset=4)) if axes else ()
    if not axes or len(content) != 4 + 4 * axes + math.prod(shape):
        raise ValueError(
            f"{file}: must be an IDX file of unsigned bytes, but begins {content[:4]!r} and has {len(content)} bytes. "
            "Install the Debian package dataset-fashion-mnist again"
        )
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()
