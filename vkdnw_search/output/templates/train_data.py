"""The images that train.py, the file beside this one, trains on: where they are, and how they are varied.

digits             the 1,797 digits that scikit-learn ships
a folder           train/CLASS/*.jpg and val/CLASS/*.jpg, or the four IDX files of MNIST and Fashion-MNIST, perhaps
                   gzipped
FILE.npz           x_train, y_train, x_test, y_test: uint8 images (N, H, W), (N, H, W, C) or (N, C, H, W), and labels
MODULE:FUNCTION    a function of yours without arguments: (train, test), each a torch.utils.data.Dataset of
                   (image (C, H, W), label), or in place of a label a mask (H, W) of whole numbers, a class for each
                   pixel, or float numbers of the shape of the network's output

Grey images become those of as many channels as the network takes, colour ones grey where it takes one; a function gives
what the network takes. torch alone, and Pillow for a folder of images, numpy for a .npz, scikit-learn for its digits.
"""

from __future__ import annotations

import gzip
import importlib
import math
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

Images = Dataset[tuple[Tensor, Any]]
Size = tuple[int, int]  # height and width

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels
GREY = (0.299, 0.587, 0.114)  # of red, green and blue in a grey pixel (ITU-R BT.601), as Pillow has it
MODES = {1: "L", 3: "RGB"}  # channels → Pillow's name of such images
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
PADDING = 8  # a crop moves an image by up to an eighth of its sides
IDX = {"train": "train-{}", "test": "t10k-{}"}
UNSIGNED_BYTES = 8  # the element type of an IDX file, the third of its bytes


class DataError(Exception):
    """Data that cannot be trained on; the message names the place and says how to mend it."""


def read(
    name: str, *, size: int | Size, channels: int = 3, augment: str | None = None, classes: int | None = None
) -> tuple[Images, Images, int]:
    """Training images, test images and the number of classes.

    Args:
        name: as above.
        size: height and width of the images, or one number for both; a function of yours has its own.
        channels: of the images that the network takes; a function of yours has its own.
        augment: how training images are varied. flip: half of them are mirrored; standard: moved and mirrored, of a
            folder cut out at random instead; randaugment: that and RandAugment (arXiv 1909.13719), by torchvision.
            None: standard for a folder of images, none for the others, of which some must not be mirrored.
        classes: how many there are, where the data does not say it.

    Raises:
        DataError: the data is missing, or not what it must be.
    """
    place, size = Path(name), (size, size) if isinstance(size, int) else size
    if name == "digits":
        train, test = digits()
    elif place.is_dir() and _idx_files(place, "train", "images"):
        train, test = (_idx(place, part) for part in IDX)
    elif place.suffix == ".npz":
        train, test = _npz(place, channels)
    elif ":" in name and not place.exists():
        return _of_function(name, augment, classes)
    else:
        return _folder(place, size, channels, augment or "standard")
    train, test = (part.of_channels(channels, where=f"--data {name}") for part in (train, test))
    count = classes or int(max(train.labels.max(), test.labels.max())) + 1
    mean, deviation = train.colours(channels)
    return (
        Pictures(train, size=size, mean=mean, deviation=deviation, augment=augment or "none"),
        Pictures(test, size=size, mean=mean, deviation=deviation),
        count,
    )


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images (N, C, H, W), uint8, and labels (N,), int64."""

    images: Tensor
    labels: Tensor

    def of_channels(self, channels: int, *, where: str) -> Labelled:
        """The same images if they are grey or have so many channels; colour ones grey where one is asked for."""
        there = self.images.shape[1]
        if channels == 1 and there == 3:
            weights, chunks = torch.tensor(GREY).view(1, 3, 1, 1), self.images.chunk(1 + len(self.images) // 1000)
            grey = [(chunk * weights).sum(1, keepdim=True).round() for chunk in chunks]
            return Labelled(torch.cat(grey).to(torch.uint8), self.labels)
        if there not in (1, channels):
            raise DataError(f"{where}: images must have {channels} channels, as the network takes, but have {there}")
        return self

    def colours(self, channels: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, (channels,), of the first ten thousand."""
        x = self.images[:10_000].to(torch.float64) / 255
        mean, deviation = x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3)).clamp(min=1e-3)
        return mean.expand(channels).float(), deviation.expand(channels).float()


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """The images at one size, perhaps varied, and standardised: (C, H, W) and the label."""

    def __init__(self, images: Labelled, *, size: Size, mean: Tensor, deviation: Tensor, augment: str = "none") -> None:
        self.labelled, self.size, self.vary = images, size, Varied(augment)
        self.mean, self.deviation = mean.view(-1, 1, 1), deviation.view(-1, 1, 1)

    def __len__(self) -> int:
        return len(self.labelled.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = self.labelled.images[index : index + 1].float() / 255
        if x.shape[-2:] != self.size:
            x = functional.interpolate(x, size=self.size, mode="bilinear", antialias=True)
        x = self.vary(x[0].expand(len(self.mean), -1, -1))
        return (x - self.mean) / self.deviation, self.labelled.labels[index]


class Varied:
    """Varies an image (C, H, W) of numbers from 0 to 1, as ``augment`` of :func:`read` says."""

    def __init__(self, augment: str, *, move: bool = True) -> None:
        self.moves, self.mirrors = move and augment in ("standard", "randaugment"), augment != "none"
        self.rand_augment = _rand_augment() if augment == "randaugment" else None

    def __call__(self, x: Tensor) -> Tensor:
        """The image varied, of the same shape."""
        if self.moves:
            x = _moved(x)
        if self.mirrors and torch.rand(()) < 0.5:
            x = x.flip(2)
        if self.rand_augment is not None:
            x = self.rand_augment((x * 255).round().to(torch.uint8)).float() / 255
        return x


def _moved(x: Tensor) -> Tensor:
    """The image moved by up to an eighth of its height and of its width each way, black where it was not."""
    height, width = x.shape[1:]
    down, right = height // PADDING, width // PADDING
    top, left = (int(torch.randint(0, 2 * most + 1, ())) for most in (down, right))
    return functional.pad(x, (right, right, down, down))[:, top : top + height, left : left + width]


def _rand_augment() -> Any:
    try:
        from torchvision.transforms import v2  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        raise DataError("--augment randaugment: needs torchvision: pip install torchvision") from None
    return v2.RandAugment()


def digits() -> tuple[Labelled, Labelled]:
    """Four fifths of scikit-learn's digits, (N, 1, 8, 8), to train, the rest to test."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError("--data digits: needs scikit-learn, which has them: pip install scikit-learn") from None
    grey, labels = load_digits(return_X_y=True)
    images = (torch.tensor(grey).view(-1, 1, 8, 8) * 255 / 16).round().to(torch.uint8)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    parts = order[: len(order) * 4 // 5], order[len(order) * 4 // 5 :]
    train, test = (Labelled(images[part], torch.tensor(labels)[part]) for part in parts)
    return train, test


def _idx_files(folder: Path, part: str, kind: str) -> list[Path]:
    return sorted(folder.glob(f"*{IDX[part].format(kind)}-idx*"))


def _idx(folder: Path, part: str) -> Labelled:
    """One part of MNIST's files: http://yann.lecun.com/exdb/mnist says how they are made."""
    arrays = []
    for kind, axes in (("images", 3), ("labels", 1)):
        found = _idx_files(folder, part, kind)
        if not found:
            raise DataError(f"--data {folder}: must hold {IDX[part].format(kind)}-idx{axes}-ubyte, but does not")
        arrays.append(_idx_array(found[0], axes))
    return _labelled(*arrays, where=f"{folder} ({part})")


def _idx_array(file: Path, axes: int) -> Tensor:
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: must be an IDX file, but cannot be read: {error}") from None
    start = 4 + 4 * axes
    sides = struct.unpack(f">{axes}I", content[4:start]) if len(content) >= start else ()
    if content[:4] != bytes((0, 0, UNSIGNED_BYTES, axes)) or len(content) != start + math.prod(sides):
        raise DataError(f"{file}: must be an IDX file of bytes with {axes} axes, but is not, or is cut off")
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).view(sides)


def _npz(file: Path, channels: int) -> tuple[Labelled, Labelled]:
    try:
        import numpy as np
    except ImportError:
        raise DataError(f"--data {file}: needs numpy: pip install numpy") from None
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (OSError, ValueError, EOFError, TypeError, zlib.error) as error:
        raise DataError(f"--data {file}: must be a file of numpy's arrays, but cannot be read: {error}") from None
    parts = []
    for part in ("train", "test"):
        names = f"x_{part}", f"y_{part}"
        if missing := [name for name in names if name not in found]:
            raise DataError(f"--data {file}: must hold {missing[0]}, but holds {', '.join(found) or 'nothing'}")
        parts.append(_labelled(*(found[name] for name in names), where=f"{file} ({part})", channels=channels))
    return parts[0], parts[1]


def _labelled(images: Tensor, labels: Tensor, *, where: str, channels: int = 3) -> Labelled:
    """The arrays as they are needed."""
    usual = {1, 3, channels}
    if images.dim() == 3:
        images = images[:, None]
    if images.dim() == 4 and images.shape[1] not in usual:
        images = images.permute(0, 3, 1, 2)
    if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] not in usual or not len(images):
        kind = str(images.dtype).removeprefix("torch.")
        words = "one or three" if len(usual) == 2 else f"one, three or {channels}"
        raise DataError(
            f"{where}: images must be uint8 of {words} channels, but are {kind} of shape {tuple(images.shape)}"
        )
    if labels.is_floating_point() or labels.numel() != len(images):
        raise DataError(f"{where}: must have a whole number for each of {len(images)} images, but has {labels.numel()}")
    labels = labels.reshape(-1).long()
    if int(labels.min()) < 0:
        first = int(labels.argmin())
        raise DataError(f"{where}: labels must be 0 or more, but that of image {first} is {int(labels[first])}")
    return Labelled(images, labels)


def _of_function(name: str, augment: str | None, classes: int | None) -> tuple[Images, Images, int]:
    module, _, function = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        made = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise DataError(f"--data {name}: must be a function of a module here or installed, but: {error}") from None
    if augment not in (None, "none"):
        raise DataError(f"--augment {augment}: is for data that is read here; vary the images of {name} there")
    train, test = made()
    count = classes or len(getattr(train, "classes", ())) or _numbers(train)
    if not count:
        raise DataError("--classes: say how many there are; the training dataset has no attribute `classes`")
    return train, test, count


def _numbers(train: Images) -> int:
    """The first axis of float targets, as the output has it; 0 where targets are classes."""
    target = torch.as_tensor(train[0][1])
    return len(target) if target.is_floating_point() and target.dim() else 0


def _folder(place: Path, size: Size, channels: int, augment: str) -> tuple[Images, Images, int]:
    if not place.is_dir():
        there = "is a file" if place.exists() else "is not there"
        raise DataError(
            f"--data {place}: must be `digits`, a folder of images or IDX files, a .npz or MODULE:FUNCTION, but {there}"
        )
    if channels not in MODES:
        raise DataError(
            f"--data {place}: a folder has images of 1 or 3 channels, but the network takes {channels}. Give a .npz "
            "or MODULE:FUNCTION"
        )
    train = ImageFolder(place / "train", size=size, channels=channels, augment=augment)
    test = ImageFolder(place / "val", size=size, channels=channels)
    for mine, others, here, there in (
        (train.classes, test.classes, "train", "val"),
        (test.classes, train.classes, "val", "train"),
    ):
        if alone := sorted(set(mine) - set(others)):
            raise DataError(
                f"--data {place}: train and val must have the same classes, but {alone[0]!r} is in {here} and not in "
                f"{there}"
            )
    if len(train.classes) < 2:
        raise DataError(f"--data {place}: must have two classes or more, but has only {train.classes[0]!r}")
    return train, test, len(train.classes)


class ImageFolder(Dataset[tuple[Tensor, int]]):
    """Images in one folder for each class: (C, H, W), standardised, and the number of the class."""

    def __init__(self, root: Path, *, size: Size, channels: int = 3, augment: str = "none") -> None:
        try:
            importlib.import_module("PIL.Image")
        except ImportError:
            raise DataError("--data: reading images needs Pillow: pip install pillow") from None
        self.size, self.channels, self.cut = size, channels, augment in ("standard", "randaugment")
        mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
        self.mean, self.deviation = (mean, deviation) if channels == 3 else (mean.mean(), deviation.mean())
        self.vary = Varied(augment, move=False)
        folders = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
        self.classes = [folder.name for folder in folders]
        self.files = [
            (file, label)
            for label, folder in enumerate(folders)
            for file in sorted(folder.rglob("*"))
            if file.suffix.lower() in SUFFIXES
        ]
        if not self.files:
            raise DataError(f"--data: {root} must hold a folder of images for each class, but there are none")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        file, label = self.files[index]
        try:
            with Image.open(file) as opened:
                image = opened.convert(MODES[self.channels])
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{file}: must be an image, but cannot be read: {error}. Mend it or take it away") from None
        box = self._random_box(*image.size) if self.cut else self._central_box(*image.size)
        high, wide = self.size
        image = image.resize((wide, high), Image.Resampling.BILINEAR, box=box)
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(high, wide, self.channels)
        x = self.vary(pixels.permute(2, 0, 1) / 255)
        return (x - self.mean) / self.deviation, label

    def _random_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """8 % to 100 % of the area, 3:4 to 4:3 as wide as the images that come of it, anywhere."""
        area = width * height * float(torch.empty(()).uniform_(0.08, 1))
        ratio = math.exp(float(torch.empty(()).uniform_(-1, 1)) * math.log(4 / 3)) * self.size[1] / self.size[0]
        w, h = min(math.sqrt(area * ratio), width), min(math.sqrt(area / ratio), height)
        left, top = float(torch.rand(())) * (width - w), float(torch.rand(())) * (height - h)
        return left, top, left + w, top + h

    def _central_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The largest box in the middle that is as wide as the images, 7/8 of it, as is usual for ImageNet."""
        ratio = self.size[1] / self.size[0]
        h = min(height, width / ratio) * 0.875
        w = h * ratio
        left, top = (width - w) / 2, (height - h) / 2
        return left, top, left + w, top + h
