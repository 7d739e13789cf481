"""Made images for segmentation: a disc and a square, of random colours, sizes and places, on noise.

    vkdnw-search examples/segmentation.yaml --out runs/shapes
    cd examples
    python ../runs/shapes/best/train.py --data segmentation:shapes --epochs 10 --batch 16 --lr 0.8 --bn-momentum 0.1

finds a network for them and trains it. ``--data segmentation:shapes`` is the function of this file, which is found in
the folder where the training is started. Of each pixel there is to be learned whether it shows the background (0), a
disc (1) or a square (2). This file needs torch alone.
"""

import torch
from torch.utils.data import TensorDataset

SIDE, TRAIN, TEST = 64, 512, 128


class Made(TensorDataset):
    """Images and masks. By ``classes`` train.py knows how many there are."""

    classes = ("background", "disc", "square")


def shapes() -> tuple[Made, Made]:
    """Training and test set of images (3, SIDE, SIDE) and masks (SIDE, SIDE) of whole numbers, a class for a pixel."""
    return made(TRAIN, seed=0), made(TEST, seed=1)


def made(count: int, *, seed: int) -> Made:
    """So many images, and their masks."""
    generator = torch.Generator().manual_seed(seed)
    pairs = [image(generator) for _ in range(count)]
    return Made(*(torch.stack(column) for column in zip(*pairs, strict=True)))


def image(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """One image and its mask; the square may hide a part of the disc."""
    pixels = 0.5 * torch.randn(3, SIDE, SIDE, generator=generator)
    mask = torch.zeros(SIDE, SIDE, dtype=torch.long)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    for number in (1, 2):
        radius = int(torch.randint(SIDE // 10, SIDE // 4, (), generator=generator))
        row, column = torch.randint(radius, SIDE - radius, (2,), generator=generator)
        down, right = (rows - row).abs(), (columns - column).abs()
        inside = down.square() + right.square() <= radius**2 if number == 1 else torch.maximum(down, right) <= radius
        mask[inside] = number
        colour = torch.randn(3, 1, generator=generator)
        pixels[:, inside] += 3 * colour / colour.norm()
    return pixels, mask
