"""The images that train.py, the file beside this one, trains on: where they are, and how they are varied.

digits             the 1,797 digits that scikit-learn ships
a folder           train/CLASS/*.jpg and val/CLASS/*.jpg, or the four IDX files of MNIST and Fashion-MNIST, perhaps
                   gzipped
FILE.npz           x_train, y_train, x_test, y_test: uint8 images (N, H, W), (N, H, W, C) or (N, C, H, W), and labels
MODULE:FUNCTION    a function of yours without arguments: (train, test), each a torch.utils.data.Dataset of
                   (image (3, H, W), label), or in place of a label a mask (H, W) of whole numbers, a class for each
                   pixel, or float numbers of the shape of the network's output

Needs torch alone, and Pillow for a folder of images, numpy for a .npz, scikit-learn for its digits.
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

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
PADDING = 8  # a crop moves an image by up to an eighth of its side
IDX = {"train": "train-{}", "test": "t10k-{}"}
UNSIGNED_BYTES = 8  # the element type of an IDX file, the third of its bytes


class DataError(Exception):
    """Data that cannot be trained on; the message names the place and says how to mend it."""


def read(name: str, *, size: int, augment: str | None = None, classes: int | None = None) -> tuple[Images, Images, int]:
    """Training images, test images and the number of classes.

    Args:
        name: as above.
        size: height and width of the images; a function of yours has its own.
        augment: how training images are varied. flip: half of them are mirrored; standard: moved and mirrored, of a
            folder cut out at random instead; randaugment: that and RandAugment (arXiv 1909.13719), by torchvision.
            None: standard for a folder of images, none for the others, of which some must not be mirrored.
        classes: how many there are, where the data does not say it.

    Raises:
        DataError: the data is missing, or not what it must be.
    """
    place = Path(name)
    if name == "digits":
        train, test = digits()
    elif place.is_dir() and _idx_files(place, "train", "images"):
        train, test = (_idx(place, part) for part in IDX)
    elif place.suffix == ".npz":
        train, test = _npz(place)
    elif ":" in name and not place.exists():
        return _of_function(name, augment, classes)
    else:
        return _folder(place, size, augment or "standard")
    count = classes or int(max(train.labels.max(), test.labels.max())) + 1
    mean, deviation = train.colours()
    return (
        Pictures(train, size=size, mean=mean, deviation=deviation, augment=augment or "none"),
        Pictures(test, size=size, mean=mean, deviation=deviation),
        count,
    )


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images (N, C, H, W), uint8, of one or three channels, and labels (N,), int64."""

    images: Tensor
    labels: Tensor

    def colours(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, (3,), of the first ten thousand."""
        x = self.images[:10_000].to(torch.float64) / 255
        return x.mean(dim=(0, 2, 3)).expand(3).float(), x.std(dim=(0, 2, 3)).clamp(min=1e-3).expand(3).float()


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """The images at one size, perhaps varied, and standardised: (3, size, size) and the label."""

    def __init__(self, images: Labelled, *, size: int, mean: Tensor, deviation: Tensor, augment: str = "none") -> None:
        self.labelled, self.size, self.vary = images, size, Varied(augment)
        self.mean, self.deviation = mean.view(3, 1, 1), deviation.view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.labelled.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = self.labelled.images[index : index + 1].float() / 255
        if x.shape[-2:] != (self.size, self.size):
            x = functional.interpolate(x, size=(self.size, self.size), mode="bilinear", antialias=True)
        x = self.vary(x[0].expand(3, -1, -1))
        return (x - self.mean) / self.deviation, self.labelled.labels[index]


class Varied:
    """Varies an image (3, H, W) of numbers from 0 to 1, as ``augment`` of :func:`read` says."""

    def __init__(self, augment: str, *, move: bool = True) -> None:
        self.moves, self.mirrors = move and augment in ("standard", "randaugment"), augment != "none"
        self.rand_augment = _rand_augment() if augment == "randaugment" else None

    def __call__(self, x: Tensor) -> Tensor:
        """The image varied, of the same shape."""
        if self.moves:
            x = _moved(x, x.shape[1] // PADDING)
        if self.mirrors and torch.rand(()) < 0.5:
            x = x.flip(2)
        if self.rand_augment is not None:
            x = self.rand_augment((x * 255).round().to(torch.uint8)).float() / 255
        return x


def _moved(x: Tensor, most: int) -> Tensor:
    """The image moved by up to ``most`` pixels each way, black where it was not."""
    top, left = (int(n) for n in torch.randint(0, 2 * most + 1, (2,)))
    return functional.pad(x, (most, most, most, most))[:, top : top + x.shape[1], left : left + x.shape[2]]


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


def _npz(file: Path) -> tuple[Labelled, Labelled]:
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
        parts.append(_labelled(*(found[name] for name in names), where=f"{file} ({part})"))
    return parts[0], parts[1]


def _labelled(images: Tensor, labels: Tensor, *, where: str) -> Labelled:
    """The arrays as they are needed."""
    if images.dim() == 3:
        images = images[:, None]
    if images.dim() == 4 and images.shape[1] not in (1, 3):
        images = images.permute(0, 3, 1, 2)
    if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] not in (1, 3) or not len(images):
        kind = str(images.dtype).removeprefix("torch.")
        raise DataError(
            f"{where}: images must be uint8 of one or three channels, but are {kind} of shape {tuple(images.shape)}"
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


def _folder(place: Path, size: int, augment: str) -> tuple[Images, Images, int]:
    if not place.is_dir():
        there = "is a file" if place.exists() else "is not there"
        raise DataError(
            f"--data {place}: must be `digits`, a folder of images or IDX files, a .npz or MODULE:FUNCTION, but {there}"
        )
    train = ImageFolder(place / "train", size=size, augment=augment)
    test = ImageFolder(place / "val", size=size)
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
    """Images in one folder for each class: (3, size, size), standardised, and the number of the class."""

    def __init__(self, root: Path, *, size: int, augment: str = "none") -> None:
        try:
            importlib.import_module("PIL.Image")
        except ImportError:
            raise DataError("--data: reading images needs Pillow: pip install pillow") from None
        self.size, self.cut = size, augment in ("standard", "randaugment")
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
                image = opened.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{file}: must be an image, but cannot be read: {error}. Mend it or take it away") from None
        box = self._random_box(*image.size) if self.cut else self._central_box(*image.size)
        image = image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(self.size, self.size, 3)
        x = self.vary(pixels.permute(2, 0, 1) / 255)
        return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1), label

    def _random_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """8 % to 100 % of the area, 3:4 to 4:3 wide, anywhere."""
        area = width * height * float(torch.empty(()).uniform_(0.08, 1))
        ratio = math.exp(float(torch.empty(()).uniform_(-1, 1)) * math.log(4 / 3))
        w, h = min(math.sqrt(area * ratio), width), min(math.sqrt(area / ratio), height)
        left, top = float(torch.rand(())) * (width - w), float(torch.rand(())) * (height - h)
        return left, top, left + w, top + h

    def _central_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The square in the middle, 7/8 of the shorter side wide, as is usual for ImageNet."""
        side = min(width, height) * 0.875
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side
