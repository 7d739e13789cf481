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
from vkdnw_search.proxies.gradient_statistics import GradSign, Zico
from vkdnw_search.proxies.probing import random_labels
from vkdnw_search.proxies.saliency import GradNorm, Grasp, Snip, SynFlow
from vkdnw_search.proxies.zen import Zen

PROBE = Probe(input_shape=(2, 4, 4), num_classes=3, seed=7)
OF_LABELS = [GradNorm(images=6), Snip(images=6), Grasp(images=6), GradSign(images=6), Zico(images=6)]


def linear() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(32, 3))


def convolutional(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3, bias=False), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, classes),
    )  # fmt: skip


def batch(proxy, index: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.empty(proxy.images, PROBE.num_classes)
    return proxy.inputs(PROBE, index=index), random_labels(PROBE, logits, index=index)


def softmax_regression(model, x, y):
    """θ, ∂l_n/∂W and ∂l_n/∂b of every image, by the closed form (p − y) xᵀ. Shapes (C, D), (N, C, D), (N, C)."""
    W = model[1].weight.detach().double().numpy()
    X = x.flatten(1).double().numpy()
    z = X @ W.T
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True) - np.eye(3)[y.numpy()]
    return W, np.einsum("nc,nd->ncd", p, X), p


def test_grad_norm_and_snip_of_a_softmax_regression_have_their_closed_forms():
    for proxy in (GradNorm(images=9), Snip(images=9)):
        model = linear()
        value = proxy(model, PROBE).value
        W, g, gb = softmax_regression(model, *batch(proxy))
        norm = math.sqrt((g.mean(0) ** 2).sum() + (gb.mean(0) ** 2).sum())
        expected = norm if isinstance(proxy, GradNorm) else np.abs(W * g.mean(0)).sum()
        assert value == pytest.approx(expected, rel=1e-5)


def test_grasp_agrees_with_the_explicit_hessian():
    proxy = Grasp(images=8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 4), nn.Tanh(), nn.Linear(4, 3))
    value = proxy(model, PROBE).value
    x, y = batch(proxy)
    shapes = [model[1].weight.shape, model[3].weight.shape]
    theta = torch.cat([model[1].weight.detach().flatten(), model[3].weight.detach().flatten()]).double()

    def loss(t):
        first, second = (part.view(s) for part, s in zip(t.split([s.numel() for s in shapes]), shapes, strict=True))
        return F.cross_entropy(torch.tanh(x.flatten(1).double() @ first.T) @ second.T, y)

    g = torch.autograd.functional.jacobian(loss, theta)
    H = torch.autograd.functional.hessian(loss, theta)
    assert value == pytest.approx(float(-(theta @ H @ g)), rel=1e-4)


def test_synflow_is_the_sum_over_all_paths_of_length_times_product_of_weights():
    """Every path input → hidden → output, and those that take the shortcut past a hidden layer."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.norm, self.b = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)

        def forward(self, x):
            return self.b(torch.relu(self.norm(self.a(x))) + x)

    model = Net()
    value = SynFlow()(model, Probe(input_shape=(3,), num_classes=2, seed=0)).value
    a, b = (layer.weight.detach().abs().numpy() for layer in (model.a, model.b))
    through = sum(2 * a[j, i] * b[k, j] for i, j, k in itertools.product(range(3), range(3), range(2)))
    past = sum(b[k, i] for i, k in itertools.product(range(3), range(2)))
    assert value == pytest.approx(through + past, rel=1e-12)


def test_synflow_takes_no_notice_of_the_signs_of_the_weights():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))
    flipped = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))
    flipped.load_state_dict({name: -value for name, value in model.state_dict().items()})
    proxy = SynFlow(initialization="as_built")
    assert proxy(model, PROBE).value == proxy(flipped, PROBE).value > 0


def test_gradsign_of_a_softmax_regression_by_loops_over_images_and_weights():
    proxy, model = GradSign(images=6), linear()
    value = proxy(model, PROBE).value
    _, g, _ = softmax_regression(model, *batch(proxy))
    expected = sum(abs(sum(np.sign(g[n, c, d]) for n in range(6))) for c in range(3) for d in range(32))
    assert value == expected


def test_zico_by_loops_over_layers_and_weights():
    proxy, model = Zico(images=6, batches=3, initialization="as_built"), convolutional().train()
    layers = [model[0], model[3], model[6]]
    grads = []
    for index in range(3):
        x, y = batch(proxy, index)
        grads.append(torch.autograd.grad(F.cross_entropy(model(x), y), [layer.weight for layer in layers]))
    expected = 0.0
    for layer in range(3):
        total = 0.0
        for values in zip(*(g[layer].flatten().double().tolist() for g in grads), strict=True):
            if (deviation := np.std(values)) > 0:
                total += np.mean(np.abs(values)) / deviation
        expected += math.log(total)
    assert proxy(model, PROBE).value == pytest.approx(expected, rel=1e-6)


def test_zen_of_a_linear_network_is_the_size_of_what_it_makes_of_the_perturbation():
    """f(x) − f(x + αε) = −α W ε, whatever x; the pooling and the classifier do not matter."""
    proxy = Zen(images=5, alpha=0.01)
    model = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    value = proxy(model, PROBE).value
    epsilon = proxy.inputs(PROBE, index=1).double().numpy()
    W = model[0].weight.detach().double().numpy()[:, :, 0, 0]
    moved = np.abs(0.01 * np.einsum("oc,nchw->nohw", W, epsilon)).sum(axis=(1, 2, 3)).mean()
    assert value == pytest.approx(math.log(moved), rel=1e-4)


def test_zen_gives_back_what_batch_norm_takes_away():
    """A convolution made 1000 times larger before a batch norm raises the score by ln 1000, as without batch norm."""

    class Scaled(nn.Module):
        def __init__(self, factor: float, norm: bool) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6, eps=1e-12) if norm else nn.Identity()
            self.factor, self.classifier = factor, nn.Linear(6, 3)

        def forward(self, x):
            return self.classifier(torch.relu(self.norm(self.factor * self.conv(x))).mean(dim=(2, 3)))

    for norm in (True, False):
        small, large = (Zen(images=32)(Scaled(factor, norm), PROBE).value for factor in (1, 1000))
        assert large - small == pytest.approx(math.log(1000), abs=1e-3)


def test_zen_sees_the_features_before_a_pooling_however_it_is_written():
    class Net(nn.Module):
        def __init__(self, pooling) -> None:
            super().__init__()
            self.conv, self.pooling, self.classifier = nn.Conv2d(2, 6, 3), pooling, nn.Linear(6, 3)

        def forward(self, x):
            return self.classifier(self.pooling(self.conv(x)).flatten(1))

    poolings = [nn.AdaptiveAvgPool2d(1), lambda f: f.mean((2, 3)), lambda f: torch.mean(f, dim=(2, 3)),
                lambda f: F.adaptive_avg_pool2d(f, 1)]  # fmt: skip
    values = {Zen(images=4)(Net(pooling), PROBE).value for pooling in poolings}
    assert len(values) == 1


@pytest.mark.parametrize("proxy", OF_LABELS, ids=lambda p: type(p).__name__)
def test_what_needs_labels_refuses_a_single_class(proxy):
    with pytest.raises(ScoreError, match="at least 2 classes"):
        proxy(convolutional(1), Probe(input_shape=(2, 4, 4), num_classes=1, seed=0))


@pytest.mark.parametrize("proxy", [SynFlow(), Zen(images=6)], ids=lambda p: type(p).__name__)
def test_what_needs_no_labels_takes_a_single_class(proxy):
    assert math.isfinite(proxy(convolutional(1), Probe(input_shape=(2, 4, 4), num_classes=1, seed=0)).value)


@pytest.mark.parametrize("proxy", [*OF_LABELS, SynFlow(), Zen(images=6)], ids=lambda p: type(p).__name__)
def test_a_score_is_a_function_of_the_seed(proxy):
    def score(seed: int) -> float:
        return proxy(convolutional(), Probe(input_shape=(2, 4, 4), num_classes=3, seed=seed)).value

    assert score(1) == score(1) != score(2)


@pytest.mark.parametrize("proxy", [*OF_LABELS, SynFlow(), Zen(images=6)], ids=lambda p: type(p).__name__)
def test_a_network_through_which_nothing_flows_is_degenerate(proxy):
    class Zero(nn.Module):
        def forward(self, x):
            return x * 0

    model = nn.Sequential(
        nn.Conv2d(2, 5, 3, bias=False),
        Zero(),
        nn.Conv2d(5, 5, 1, bias=False),
        nn.AdaptiveAvgPool2d(1),
        Zero(),
        nn.Flatten(),
    )
    with pytest.raises(DegenerateNetwork):
        proxy(model, PROBE)


def test_a_single_image_that_batch_norm_cannot_take_is_an_error_that_says_so():
    model = nn.Sequential(nn.Conv2d(2, 5, 4), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(5, 3))
    with pytest.raises(ScoreError, match="must accept a single image"):
        GradSign(images=4)(model, PROBE)


def test_open_bounds_are_checked_too():
    with pytest.raises(ScoreError, match=r"Zen, alpha: must be a number above 0, at most 1, but is 0\.0"):
        Zen(alpha=0.0)
