"""Models with choices, in a file that needs torch alone but for its plug-in's declaration."""

from __future__ import annotations

import math

import torch
from torch import nn

from vkdnw_search.choices.space import Choice, ChoiceSpace, space_of

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


def conv(inputs: int, outputs: int, kernel: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class Block(nn.Module):
    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv, self.norm = conv(channels, channels, kernel), nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.norm(self.conv(x)).relu()


class Model(nn.Sequential):
    """Width and activation; one to three blocks, each with a kernel; perhaps a hidden layer, which has a width."""

    def __init__(self, num_classes: int = 10) -> None:
        width = Choice("width", 8, 16, 24)
        layers: list[nn.Module] = [conv(3, width, 3), ACTIVATIONS[Choice("activation", "relu", "gelu")]()]
        layers += [Block(width, Choice(f"block{i}.kernel", 1, 3)) for i in range(Choice("depth", 1, 2, 3))]
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        if Choice("hidden", False, True):
            hidden = Choice("hidden.width", 4, 12)
            layers += [nn.Linear(width, hidden), nn.ReLU()]
            width = hidden
        super().__init__(*layers, nn.Linear(width, num_classes))


def small(num_classes: int) -> nn.Module:
    width = Choice("width", 4, 8)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, width), nn.Linear(width, num_classes))


def fixed(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(48, num_classes))


def hidden_by_two(num_classes: int) -> nn.Module:
    if Choice("a", 1, 2) + Choice("b", 1, 2) == 4:
        Choice("e", 1, 2)
    return fixed(num_classes)


def contradicting(num_classes: int) -> nn.Module:
    Choice("a", 1, 2), Choice("a", 1, 3)
    return fixed(num_classes)


def foreign(num_classes: int) -> nn.Module:
    width = int(math.sqrt(Choice("width", 4, 16)))
    return nn.Sequential(nn.Flatten(), nn.Linear(48, width), nn.Linear(width, num_classes))


SMALLEST = 2
SMALLEST += 2
try:
    from torch.nn import Mish as Act
except ImportError:  # an older torch
    Act = nn.ReLU  # type: ignore[misc,assignment]
result = math.sqrt(4)  # which the network below does not use, though it has a name like that


def gradual(num_classes: int) -> nn.Module:
    result = Choice("width", SMALLEST, 2 * SMALLEST)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, result), Act(), nn.Linear(result, num_classes))


class Scaled(nn.Module):
    """Residual blocks whose shortcuts get weaker with the depth, as rates of stochastic depth do."""

    def __init__(self, width: int, rates: list[float]) -> None:
        super().__init__()
        self.blocks, self.rates = nn.ModuleList(nn.Linear(width, width) for _ in rates), rates

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block, rate in zip(self.blocks, self.rates, strict=True):
            x = x + (1 - rate) * block(x)
        return x


READERS = {
    "item": lambda depth: [r.item() for r in torch.linspace(0, 0.2, depth)],
    "tolist": lambda depth: torch.linspace(0, 0.2, depth).tolist(),
    "float": lambda depth: [float(x) for x in torch.arange(depth) / 10],
    "numpy": lambda depth: [float(x) for x in torch.tensor([0.0, 0.1, 0.2])[:depth].numpy()],
    "weights": lambda depth: torch.full((depth,), 0.1).cumsum(0).tolist(),
    "module": lambda depth: nn.BatchNorm1d(depth).weight.tolist(),
}
"""Ways in which a constructor may come to the numbers of its drop-path rates."""


def dropping(way: str, num_classes: int) -> nn.Module:
    depth, width = Choice("depth", 1, 2, 3), Choice("width", 4, 8)
    rates = READERS[way](depth)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, width), Scaled(width, rates), nn.Linear(width, num_classes))


def dropping_by_item(num_classes: int) -> nn.Module:
    return dropping("item", num_classes)


def faulty(num_classes: int) -> nn.Module:
    raise ValueError(f"width {Choice('width', 4, 8)} is not to my liking")


def chosen_model(*, num_classes: int = 10) -> ChoiceSpace:
    """A model with choices, as a plug-in."""
    return space_of(
        Model,
        input_shape=(3, 8, 8),
        num_classes=num_classes,
        name="chosen_model",
        free_operators=("aten::add", "aten::gelu"),
    )


SPACES = {"chosen_model": chosen_model}
