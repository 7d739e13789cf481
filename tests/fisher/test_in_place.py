"""Whether an activation or addition works in place is a matter of memory: the derivatives are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.support.oracles import fisher_matrix
from vkdnw_search import score
from vkdnw_search.contracts import Probe
from vkdnw_search.fisher.information import FisherPass, choose_scalars
from vkdnw_search.proxies.vkdnw import VkdnwSingle

WIDTH = 6


class Tokens(nn.Module):
    """A layer over channels as the last axis of tokens."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(2).transpose(1, 2)).transpose(1, 2).view(x.shape)


class LastAxis(Tokens):
    """A layer over channels as the last axis of an image."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Scale(nn.Module):
    """A scale of each channel, and a shift of each place."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.rand(WIDTH, 1, 1)), nn.Parameter(torch.randn(1, WIDTH, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.shift


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "1×1": lambda: nn.Conv2d(WIDTH, WIDTH, 1),
    "1×1 without bias": lambda: nn.Conv2d(WIDTH, WIDTH, 1, bias=False),
    "1×1 in groups": lambda: nn.Conv2d(WIDTH, WIDTH, 1, groups=2),
    "3×3": lambda: nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
    "7×7 depthwise": lambda: nn.Conv2d(WIDTH, WIDTH, 7, padding=3, groups=WIDTH, bias=False),
    "transposed": lambda: nn.ConvTranspose2d(WIDTH, WIDTH, 3, padding=1),
    "linear of tokens": lambda: Tokens(nn.Linear(WIDTH, WIDTH)),
    "linear without bias": lambda: Tokens(nn.Linear(WIDTH, WIDTH, bias=False)),
    "linear of last axis": lambda: LastAxis(nn.Linear(WIDTH, WIDTH)),
    "scale": Scale,
}
NORMS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "batch": lambda: nn.BatchNorm2d(WIDTH),
    "group": lambda: nn.GroupNorm(2, WIDTH),
    "instance": lambda: nn.InstanceNorm2d(WIDTH, affine=True),
    "layer": lambda: LastAxis(nn.LayerNorm(WIDTH)),
    "rms": lambda: Tokens(nn.RMSNorm(WIDTH)),
}
ACTIVATIONS: dict[str, Callable[[Tensor, bool], Tensor]] = {
    "ReLU": F.relu,
    "leaky ReLU": lambda x, inplace: F.leaky_relu(x, 0.1, inplace),
    "ELU": lambda x, inplace: F.elu(x, 1.0, inplace),
    "SiLU": F.silu,
    "hard swish": F.hardswish,
    "tanh": lambda x, inplace: x.tanh_() if inplace else x.tanh(),
    "dropout": lambda x, inplace: F.dropout(x, 0.5, False, inplace),
}


@dataclass(frozen=True)
class Unit:
    """x → activation(norm(layer(activation(norm(layer(x)), ¹))) + x ², ³); ¹ ² ³ may be in place."""

    layers: tuple[str, str]
    norms: tuple[str, str]
    activations: tuple[str, str]
    in_place: tuple[bool, bool, bool]


class Block(nn.Module):
    def __init__(self, unit: Unit) -> None:
        super().__init__()
        self.unit = unit
        self.first, self.second = (
            nn.Sequential(LAYERS[layer](), NORMS[norm]()) for layer, norm in zip(unit.layers, unit.norms, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        inside, sum_, outside = self.unit.in_place
        first, second = (ACTIVATIONS[name] for name in self.unit.activations)
        y = self.second(first(self.first(x), inside))
        if sum_:
            y += x
        else:
            y = y + x
        return second(y, outside)


def built(units: list[Unit]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        blocks = (Block(unit) for unit in units)
        return nn.Sequential(
            nn.Conv2d(3, WIDTH, 3, padding=1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 3)
        )


def pair(names: dict[str, object]) -> st.SearchStrategy[tuple[str, str]]:
    one = st.sampled_from(sorted(names))
    return st.tuples(one, one)


UNITS = st.builds(
    Unit, pair(LAYERS), pair(NORMS), pair(ACTIVATIONS), st.tuples(st.booleans(), st.booleans(), st.booleans())
)


@given(st.lists(UNITS, min_size=1, max_size=3))
@settings(deadline=None, max_examples=60)
def test_rows_are_the_same_whatever_works_in_place(units: list[Unit]) -> None:
    apart = [replace(unit, in_place=(False, False, False)) for unit in units]
    swapped = [replace(unit, in_place=tuple(not there for there in unit.in_place)) for unit in units]
    images = torch.randn(4, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows: list[Tensor] = []
    for network in (built(apart), built(units), built(swapped)):
        model = network.double().eval()
        chosen = choose_scalars(model, parameters=100, draws=2, generator=torch.Generator())
        rows.append(FisherPass(calibrate=False).rows(model, images, chosen, generator=torch.Generator().manual_seed(2)))
        torch.testing.assert_close(rows[-1], rows[0], rtol=1e-9, atol=1e-12)
    literal = fisher_matrix(built(apart).double().eval(), images, [(s.name, s.indices[1]) for s in chosen])
    torch.testing.assert_close(rows[0][1].mT @ rows[0][1] / 4, literal, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_score_of_a_search_is_the_same_in_place(layer: str) -> None:
    unit = Unit((layer, layer), ("none", "none"), ("ReLU", "SiLU"), (False, False, False))
    values = [
        VkdnwSingle(images=32, parameters=12)(built([u, u]), Probe((3, 4, 4), 3, 1)).value
        for u in (unit, replace(unit, in_place=(True, True, True)))
    ]
    assert abs(values[0] - values[1]) < 1e-4


def test_a_gate_that_is_off_for_most_samples_is_scored_alike_in_place() -> None:
    class Gated(nn.Module):
        def __init__(self, inplace: bool) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, padding=1)
            self.gate = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 1, 1), nn.ReLU(inplace), nn.Conv2d(1, 8, 1), nn.Sigmoid()
            )
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x).relu()
            return self.head((x * self.gate(x)).mean(dim=(2, 3)))

    for seed in range(3):
        values = [score(Gated(inplace), (3, 8, 8), seed=seed).value for inplace in (False, True)]
        assert abs(values[0] - values[1]) < 1e-4
