from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.mobilenet import MobileNet
from search_spaces.nasbench201 import NasBench201
from vkdnw_search.contracts import Probe
from vkdnw_search.errors import DegenerateNetwork, ScoreError
from vkdnw_search.proxies.az_nas import AzNasTerms, Expressivity, Progressivity, Trainability
from vkdnw_search.proxies.stages import find_stages, stage_features

EMPTY_BUT_SKIP = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
PROBE = Probe(input_shape=(3, 8, 8), num_classes=5, seed=2)


class Unit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)) + x)


class Net(nn.Module):
    """Stem, two units, an activation that works in place, a strided convolution, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.body = nn.Sequential(Unit(6), nn.LeakyReLU(0.5, inplace=True), Unit(6))
        self.last = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(6, 10, 3, stride=2, padding=1))
        self.head = nn.Sequential(nn.BatchNorm2d(10), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(10, 5)

    def forward(self, x):
        return self.classifier(self.head(self.last(self.body(self.stem(x)))))


class Linear1x1(nn.Module):
    """A stage that is a known linear map of the channels at each position."""

    def __init__(self, matrix: torch.Tensor, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(matrix.shape[1], matrix.shape[0], stride, stride=stride, bias=False)
        side = (stride, stride)
        self.conv.weight.data = matrix[:, :, None, None].expand(*matrix.shape, *side).clone()

    def forward(self, x):
        return self.conv(x)


def chain(*stages: nn.Module, channels: int) -> nn.Module:
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))


def test_the_stages_are_stem_units_and_convolutions_but_no_activation_or_pooling():
    model = Net()
    assert list(find_stages(model)) == [model.stem, model.body[0], model.body[2], model.last, model.classifier]
    assert [f.shape[1] for f in stage_features(model, torch.randn(2, 3, 8, 8))] == [6, 6, 6, 10]  # no logits


def test_the_stages_of_the_shipped_spaces_are_those_az_nas_compares():
    """NAS-Bench-201: stem, 3 × 2 cells, 2 reductions. MobileNetV2: stem, 4 × 2 units, last convolution."""
    cells = NasBench201(cells=2)
    for text in ("|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|", EMPTY_BUT_SKIP):
        features = stage_features(cells.build(cells.parse(text)), torch.randn(2, 3, 32, 32))
        assert [f.shape[1] for f in features] == [16] * 3 + [32] * 3 + [64] * 3
    blocks = MobileNet(last_width=64)
    shallowest = blocks.build(blocks.decode(tuple(0 for _ in blocks.genes)))
    features = stage_features(shallowest, torch.randn(2, 3, 64, 64))
    assert [f.shape[2] for f in features] == [32, 16, 16, 8, 8, 4, 4, 2, 2, 2]


def test_stages_of_a_wrapped_network_are_found_by_unwrapping():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = Net()

        def forward(self, x):
            return self.network(x)

    assert len(stage_features(Wrapper(), torch.randn(2, 3, 8, 8))) == 4


def test_a_network_may_name_its_stages():
    class Named(Net):
        def stages(self):
            return [self.stem, self.last]

    assert [f.shape[1] for f in stage_features(Named(), torch.randn(2, 3, 8, 8))] == [6, 10]


def test_the_features_are_not_changed_by_what_works_in_place_after_them():
    model, x = Net().eval(), torch.randn(2, 3, 8, 8)
    first = model.body[0](model.stem(x))
    second = model.body[2](nn.functional.leaky_relu(first, 0.5))
    features = stage_features(model, x)
    torch.testing.assert_close(features[1], first)
    torch.testing.assert_close(features[2], second)
    torch.testing.assert_close(features[3], model.last[1](torch.relu(second)))


def test_a_network_with_one_stage_is_refused_in_words():
    with pytest.raises(ScoreError, match="at least 2 are needed, but 1 were found"):
        Expressivity(images=2)(nn.Sequential(nn.Conv2d(3, 6, 8), nn.Flatten(), nn.Linear(6, 5)), PROBE)


def test_the_entropies_agree_with_numpy_when_positions_are_many_and_when_they_are_few():
    """Eigenvalues of np.cov of the features; with 2 images of 1 × 1 the covariance has rank 1."""
    for images, size in ((4, 8), (2, 1)):
        proxy = Expressivity(images=images, resolution=size, initialization="as_built")
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 7, 1), nn.ReLU(), nn.Conv2d(7, 9, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        x = proxy.inputs(PROBE)
        features = [model[0](x), model[2](torch.relu(model[0](x)))]
        expected = []
        for f in features:
            values = f.detach().double().movedim(1, 0).flatten(1).numpy()
            lam = np.linalg.eigvalsh(np.cov(values))
            p = lam / lam.sum()
            expected.append(-np.sum(p * np.log(p + 1e-8)))
        score = proxy(model, PROBE)
        assert score.value == pytest.approx(sum(expected), abs=2e-5)
        assert score.terms["progressivity"] == pytest.approx(expected[1] - expected[0], abs=2e-5)


def test_features_that_fill_all_channels_evenly_reach_the_logarithm_of_their_number():
    eye = torch.eye(3)
    model = chain(Linear1x1(eye), Linear1x1(eye * 2), channels=3)
    score = Expressivity(images=512, resolution=16, initialization="as_built")(model, PROBE)
    assert score.value == pytest.approx(2 * np.log(3), abs=1e-3)
    assert score.terms["progressivity"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_trainability_of_a_linear_map_is_that_of_its_largest_singular_value(stride):
    """A stage that sums s × s patches and then applies M has Jacobian [M M …], whose norm is s·σ(M)."""
    rng = np.random.default_rng(0)
    M = torch.tensor(rng.normal(size=(6, 4)), dtype=torch.float32)
    model = chain(Linear1x1(torch.ones(4, 3)), Linear1x1(M, stride=stride), channels=6)
    sigma = stride * np.linalg.norm(M.numpy(), 2)
    value = Trainability(images=256, resolution=16, initialization="as_built")(model, PROBE).value
    assert value == pytest.approx(2 - sigma - 1 / sigma, rel=0.02)


def test_trainability_does_not_need_a_size_that_the_stride_divides():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(4 * 16, 5)
    )
    assert np.isfinite(Trainability(images=4, resolution=7)(model, PROBE).value)


def test_one_pass_gives_the_three_terms_of_the_three_proxies():
    together = AzNasTerms(images=8)(Net(), PROBE).terms
    for name, proxy in (
        ("expressivity", Expressivity),
        ("progressivity", Progressivity),
        ("trainability", Trainability),
    ):
        assert proxy(images=8)(Net(), PROBE).value == pytest.approx(together[name], rel=1e-5)


def test_a_stage_that_hands_its_input_on_is_degenerate():
    class Same(nn.Module):
        def __init__(self):
            super().__init__()
            self.nothing = nn.Identity()

        def forward(self, x):
            return self.nothing(x)

    with pytest.raises(DegenerateNetwork, match=r"stage 1 .* unchanged"):
        Trainability(images=2)(chain(nn.Conv2d(3, 4, 1), Same(), channels=4), PROBE)


def test_a_stage_without_features_is_degenerate():
    class Zero(nn.Module):
        def __init__(self):
            super().__init__()
            self.nothing = nn.Identity()

        def forward(self, x):
            return torch.zeros_like(x)

    for proxy in (Expressivity(images=2), Trainability(images=2), AzNasTerms(images=2)):
        with pytest.raises(DegenerateNetwork, match="stage 1"):
            proxy(chain(nn.Conv2d(3, 4, 1), Zero(), channels=4), PROBE)


def test_multilayer_perceptrons_have_stages_too():
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 5))
    probe = Probe(input_shape=(20,), num_classes=5, seed=0)
    features = stage_features(model, torch.randn(4, 20))
    assert [f.shape for f in features] == [(4, 30), (4, 30)]
    assert np.isfinite(AzNasTerms(images=16)(model, probe).value)
