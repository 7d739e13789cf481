from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vkdnw_search.contracts import Probe
from vkdnw_search.errors import DegenerateNetwork, ScoreError
from vkdnw_search.proxies.naswot import Naswot
from vkdnw_search.proxies.rectifiers import activation_codes
from vkdnw_search.proxies.te_nas import LinearRegions, NtkCondition, TeNasTerms

PROBE = Probe(input_shape=(2, 4, 4), num_classes=3, seed=5)


def network(classes: int = 3, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), activation(), nn.Conv2d(5, 4, 3), activation(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, classes),
    )  # fmt: skip


def test_codes_are_seen_however_an_activation_is_called():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inplace, self.six = nn.ReLU(inplace=True), nn.ReLU6()

        def forward(self, x):
            y = self.inplace(x - 0.5)
            y = torch.relu(x + 0.5) + F.relu(x, inplace=False) + y
            y = self.six(y - 1) + (x * 2).relu_() + F.silu(input=x)
            return y.flatten(1)

    x = torch.randn(3, 2, 4, 4)
    codes = list(activation_codes(Net(), x))
    y = F.relu(x + 0.5) + F.relu(x) + F.relu(x - 0.5)
    expected = [x - 0.5, x + 0.5, x, y - 1, x * 2, x]
    assert len(codes) == 6
    for code, values in zip(codes, expected, strict=True):
        assert torch.equal(code, (values > 0).flatten(1))


def test_the_kernel_of_naswot_counts_units_less_hamming_distances():
    proxy, model = Naswot(images=6, initialization="as_built"), network()
    x = proxy.inputs(PROBE)
    first = model[0](x)
    second = model[2](F.relu(first))
    codes = [torch.cat([first[n].flatten(), second[n].flatten()]).gt(0).tolist() for n in range(6)]
    kernel = [[sum(a == b for a, b in zip(p, q, strict=True)) for q in codes] for p in codes]
    assert proxy(model, PROBE).value == pytest.approx(math.log(abs(np.linalg.det(kernel))), rel=1e-9)


def test_naswot_of_a_network_that_cannot_tell_images_apart_is_degenerate():
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 1), nn.ReLU(), nn.Linear(1, 3))
    with pytest.raises(DegenerateNetwork, match="look alike"):
        Naswot(images=8)(model, PROBE)


@pytest.mark.parametrize("proxy", [Naswot(images=4), LinearRegions(region_images=4)])
def test_a_network_without_activations_is_degenerate(proxy):
    with pytest.raises(DegenerateNetwork, match="no ReLU"):
        proxy(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten()), Probe(input_shape=(2, 3, 3), num_classes=3, seed=0))


def test_regions_of_one_unit_are_two_and_of_two_units_in_a_plane_four():
    class Plane(nn.Module):
        """Units that are the coordinates themselves: regions are half planes or quadrants."""

        def __init__(self, units: int) -> None:
            super().__init__()
            self.units = units

        def forward(self, x):
            return F.relu(x.flatten(1)[:, : self.units])

    probe = Probe(input_shape=(2, 1, 1), num_classes=2, seed=0)
    proxy = LinearRegions(region_images=200, region_side=1)
    assert [proxy(Plane(units), probe).value for units in (1, 2)] == [2, 4]


def test_regions_are_counted_as_different_codes():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3, 3))
    codes: set[tuple[bool, ...]] = set()
    handle = model[0].register_forward_hook(
        lambda _m, _i, out: codes.update(tuple(r) for r in (out > 0).flatten(1).tolist())
    )
    value = LinearRegions(region_images=50)(model, PROBE).value
    handle.remove()
    assert value == len(codes) > 2


def test_images_that_are_too_small_for_the_network_are_an_error_that_names_the_option():
    model = nn.Sequential(nn.Conv2d(2, 3, 4), nn.ReLU(), nn.Flatten())
    with pytest.raises(ScoreError, match="region_side: the network must accept 3 × 3"):
        LinearRegions()(model, PROBE)


def test_the_condition_of_the_kernel_agrees_with_explicit_jacobians():
    """Batch norm in training mode included: row n is the gradient of image n's logits within the batch."""
    proxy = NtkCondition(images=5, initialization="as_built")
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).train()
    x = proxy.inputs(PROBE)
    names, weights = zip(*model.named_parameters(), strict=True)

    def outputs(*values):
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x,)).sum(1)

    blocks = torch.autograd.functional.jacobian(outputs, weights)
    J = torch.cat([b.reshape(5, -1) for b in blocks], dim=1).double().numpy()
    values = np.linalg.eigvalsh(J @ J.T)
    assert proxy(model, PROBE).value == pytest.approx(-values[-1] / values[0], rel=1e-3)


def test_the_kernel_of_a_linear_network_is_that_of_its_inputs():
    """z = W x + b: Θ_ij = C (x_i·x_j + 1)."""
    proxy = NtkCondition(images=6)
    x = proxy.inputs(PROBE).flatten(1).double().numpy()
    values = np.linalg.eigvalsh(x @ x.T + 1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
    assert proxy(model, PROBE).value == pytest.approx(-values[-1] / values[0], rel=1e-5)


def test_a_kernel_of_more_images_than_dimensions_is_degenerate():
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
    with pytest.raises(DegenerateNetwork, match="singular"):
        NtkCondition(images=40)(model, PROBE)


def test_both_terms_of_te_nas_are_those_of_its_parts():
    terms = TeNasTerms(images=4, region_images=30)(network(), PROBE).terms
    assert terms == {
        "ntk_condition": pytest.approx(NtkCondition(images=4)(network(), PROBE).value, rel=1e-4),
        "linear_regions": LinearRegions(region_images=30)(network(), PROBE).value,
    }


def test_all_work_for_one_class_and_for_smooth_activations():
    probe = Probe(input_shape=(2, 4, 4), num_classes=1, seed=0)
    proxies = (Naswot(images=8), NtkCondition(images=4), LinearRegions(region_images=20))
    for proxy, activation in itertools.product(proxies, (nn.ReLU, nn.Hardswish)):
        assert math.isfinite(proxy(network(1, activation), probe).value)
