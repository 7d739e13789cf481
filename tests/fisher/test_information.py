from __future__ import annotations

import gc
import math
import subprocess
import sys
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.support.networks import NETWORKS, Residual
from tests.support.oracles import calibrate_in_order, entropy_of_deciles, fisher_matrix
from vkdnw_search.errors import DegenerateNetwork, ScoreError
from vkdnw_search.fisher.information import FisherPass, choose_scalars, spectrum
from vkdnw_search.fisher.likelihood import categorical, cotangents
from vkdnw_search.fisher.rules import RULES
from vkdnw_search.fisher.taps import Scalars, Taps
from vkdnw_search.proxies.vkdnw import decile_entropy

DTYPES = {"float64": (torch.float64, 1e-9), "float32": (torch.float32, 1e-5)}


def network(name: str, dtype: torch.dtype = torch.float64, images: int = 6) -> tuple[nn.Module, Tensor]:
    make, shape = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = make().to(dtype).eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)
        return model, torch.randn(images, *shape, dtype=dtype)


def scalars(model: nn.Module, draws: int = 3, positions: str = "random") -> list[Scalars]:
    generator = torch.Generator().manual_seed(5)
    return choose_scalars(model, parameters=500, draws=draws, positions=positions, generator=generator)  # type: ignore[arg-type]


def matrices(model: nn.Module, images: Tensor, chosen: list[Scalars], **options: object) -> Tensor:
    """F = RᵀR / N of each draw, (D, K, K)."""
    generator = torch.Generator().manual_seed(7)
    rows = FisherPass(**options).rows(model, images, chosen, generator=generator)  # type: ignore[arg-type]
    return rows.mT @ rows / len(images)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("calibrate", [True, False], ids=["calibrated", "initial"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_fisher_matrix_of_any_network_equals_its_definition(name: str, calibrate: bool, dtype: str) -> None:
    kind, tolerance = DTYPES[dtype]
    model, images = network(name, kind)
    chosen = scalars(model)
    ours = matrices(model, images, chosen, calibrate=calibrate)
    if calibrate:
        calibrate_in_order(model, images)
    for draw, matrix in enumerate(ours):
        literal = fisher_matrix(model, images, [(s.name, s.indices[draw]) for s in chosen]).double()
        assert literal.norm() > 0
        assert (matrix - literal).norm() <= tolerance * literal.norm()


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_differentiated_whatever_else_is_not_chosen(name: str) -> None:
    model, images = network(name)
    last = scalars(model)[-3:]
    (matrix, *_) = matrices(model, images, last, calibrate=False)
    literal = fisher_matrix(model, images, [(s.name, s.indices[0]) for s in last])
    torch.testing.assert_close(matrix, literal, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("positions", ["aligned", "first"])
def test_aligned_and_first_positions_agree_with_the_definition_too(positions: str) -> None:
    model, images = network("residual")
    chosen = scalars(model, positions=positions)
    ours = matrices(model, images, chosen, calibrate=False, smoothing=0.05)
    for draw, matrix in enumerate(ours):
        literal = fisher_matrix(model, images, [(s.name, s.indices[draw]) for s in chosen], smoothing=0.05)
        torch.testing.assert_close(matrix, literal, rtol=1e-9, atol=1e-12)


def test_aligned_draws_follow_one_channel_through_the_network() -> None:
    chosen = {s.name: s.indices for s in scalars(Residual(), draws=6, positions="aligned")}
    assert chosen["stem.weight"] == tuple((s, s % 3, 0, 0) for s in range(6))
    assert chosen["a.weight"] == tuple((s, s % 2, 0, 0) for s in range(6))
    assert chosen["norm.bias"] == tuple((s,) for s in range(6))
    assert chosen["fc.weight"] == tuple(
        (
            s % 5,
            s,
        )
        for s in range(6)
    )


@given(classes=st.integers(2, 12), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_all_directions_give_the_covariance_of_softmax_exactly(classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    p = torch.randn(2, classes, generator=generator, dtype=torch.float64).mul(3).softmax(dim=1)
    noise = torch.randn(2, classes, classes - 1, generator=generator, dtype=torch.float64)
    v = cotangents(categorical(p), noise)
    covariance = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    torch.testing.assert_close(torch.einsum("mnc,mnd->ncd", v, v), covariance, rtol=1e-9, atol=1e-12)


def test_random_directions_are_unbiased() -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.tensor([[0.6, 0.2, 0.15, 0.05]], dtype=torch.float64)
    many = 40_000
    v = cotangents(categorical(p.expand(many, 4)), torch.randn(many, 4, 2, generator=generator, dtype=torch.float64))
    mean = torch.einsum("mnc,mnd->cd", v, v) / many
    torch.testing.assert_close(mean, torch.diag(p[0]) - torch.outer(p[0], p[0]), rtol=0, atol=0.004)


def test_eigenvalues_are_those_of_the_matrix() -> None:
    model, images = network("residual")
    chosen = scalars(model)
    rows = FisherPass().rows(model, images, chosen, generator=torch.Generator().manual_seed(7))
    ours = spectrum(rows, samples=len(images))
    literal = torch.linalg.eigvalsh(rows.mT @ rows / len(images)).flip(-1)
    torch.testing.assert_close(ours, literal[:, : ours.shape[1]], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", ["residual", "vision transformer"])
def test_splitting_the_batch_to_fit_the_memory_changes_nothing(name: str) -> None:
    model, images = network(name, torch.float32, images=8)
    chosen = scalars(model)
    whole = matrices(model, images, chosen, directions=2)
    split = matrices(model, images, chosen, directions=2, memory=60_000)
    assert (split - whole).norm() <= 1e-6 * whole.norm()


def test_splitting_the_batch_leaves_nothing_in_memory() -> None:
    """A hook that keeps a result for the graph that made it would make a cycle that nothing ever frees."""
    layers = [[nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1), nn.ReLU()] for i in range(4)]
    model = nn.Sequential(*(module for pair in layers for module in pair), nn.Flatten(), nn.Linear(8 * 36, 5)).eval()
    kept: list[weakref.ref[Tensor]] = []
    for module in model:
        module.register_forward_hook(lambda _module, _inputs, output: kept.append(weakref.ref(output)))
    matrices(model, torch.randn(8, 3, 6, 6), scalars(model), directions=2, memory=30_000)
    gc.collect()
    assert kept and not any(reference() is not None for reference in kept)


def test_a_memory_too_small_for_one_image_is_refused() -> None:
    model, images = network("residual")
    with pytest.raises(ScoreError, match=r"score\.memory: must hold the graph of at least one image"):
        matrices(model, images, scalars(model), memory=100)


def test_the_network_and_its_buffers_are_untouched() -> None:
    model, images = network("residual", torch.float32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    matrices(model, images, scalars(model))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_a_network_whose_logits_ignore_its_weights_is_degenerate() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return x

    model = Constant()
    with pytest.raises(DegenerateNetwork):
        matrices(model, torch.randn(4, 3), scalars(model))


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=40))
@settings(deadline=None)
def test_the_entropy_of_deciles_equals_the_hand_made_one(values: list[float]) -> None:
    ours = float(decile_entropy(torch.tensor(values, dtype=torch.float64)))
    assert math.isclose(ours, entropy_of_deciles(values), rel_tol=1e-9, abs_tol=1e-9)
    assert -1e-12 <= ours <= math.log(9) + 1e-12


def test_an_even_spectrum_has_the_greatest_entropy() -> None:
    assert math.isclose(float(decile_entropy(torch.ones(20, dtype=torch.float64))), math.log(9))


POOLS = [
    {"kernel_size": 3, "stride": 1, "padding": 1, "count_include_pad": False},
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "stride": (2, 1), "ceil_mode": True},
    {"kernel_size": 2, "divisor_override": 3},
]


@pytest.mark.parametrize("options", POOLS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_average_pooling_spreads_gradients_as_ever_and_keeps_nothing(
    options: dict[str, object], layout: torch.memory_format
) -> None:
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    kept: list[Tensor] = []
    pool = nn.AvgPool2d(**options)  # type: ignore[arg-type]
    with (
        Taps((), RULES, samples=2, calibrate=True),
        torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor),
    ):
        y = pool(x)
    assert not kept
    weights = torch.randn_like(y)
    ours, theirs = (torch.autograd.grad((out * weights).sum(), x)[0] for out in (y, pool(x)))
    torch.testing.assert_close(ours, theirs)
    assert ours.is_contiguous(memory_format=layout)


def test_a_score_does_not_import_what_takes_seconds_in_each_worker() -> None:
    code = (
        "import sys; from search_spaces.nasbench201 import NasBench201; from vkdnw_search import score;"
        "from vkdnw_search.proxies.vkdnw import VkdnwSingle; space = NasBench201(cells=1);"
        "model = space.build(space.decode((3,) * 6));"
        "score(model, (3, 8, 8), proxy=VkdnwSingle(images=16, parameters=8)); print('sympy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_derivatives_that_are_not_finite_make_a_network_degenerate() -> None:
    class Distances(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(48, 4)

        def forward(self, x: Tensor) -> Tensor:
            z = self.fc(x.flatten(1))
            return (z[:, :, None] - z[:, None]).square().sum(dim=2).sqrt() + (z - z.detach()).sqrt()

    torch.manual_seed(0)
    rows = FisherPass(directions=2).rows(
        model := Distances().eval(), torch.randn(6, 3, 4, 4), scalars(model), generator=torch.Generator()
    )
    with pytest.raises(DegenerateNetwork, match="derivatives of the logits are not finite"):
        spectrum(rows, samples=6)


def test_the_gradient_of_tokens_below_a_batch_norm_is_that_of_finite_differences() -> None:
    """Where PyTorch's own derivative of one sample by itself is wrong: that of XCiT's first layers is."""
    model, images = network("tokens of a batch norm", images=3)
    chosen = scalars(model, draws=1)
    (matrix,) = matrices(model, images, chosen, calibrate=False)
    columns = []
    with torch.no_grad():
        for s in chosen:
            weight, step = s.parameter[s.indices[0]], 1e-6
            before = weight.clone()
            ends = []
            for value in (before + step, before - step):
                weight.copy_(value)
                ends.append(model(images))
            weight.copy_(before)
            columns.append((ends[0] - ends[1]) / (2 * step))  # (N, C)
        J, p = torch.stack(columns, dim=2), model(images).softmax(dim=1)
        covariance = torch.diag_embed(p) - p[:, :, None] * p[:, None]
        expected = torch.einsum("nck,ncd,ndl->kl", J, covariance, J) / len(images)
    assert (matrix - expected).norm() <= 1e-7 * expected.norm()
