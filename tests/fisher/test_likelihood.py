"""The Fisher matrix of every likelihood against its definition, by a literal Jacobian in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.support.networks import NETWORKS
from vkdnw_search.contracts import Likelihood
from vkdnw_search.errors import ScoreError, SpaceError
from vkdnw_search.fisher.information import FisherPass, choose_scalars
from vkdnw_search.fisher.likelihood import (
    OutputCovariance,
    bernoulli,
    categorical,
    cotangents,
    covariance_of,
    gaussian,
    joined,
    likelihood_of,
)

IMAGES = 5


def dense(channels: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.Tanh(), nn.Conv2d(6, 4, 3, stride=2), nn.SiLU(),
        nn.Conv2d(4, channels, 1),
    )  # fmt: skip


def sequence() -> nn.Module:
    return nn.Sequential(nn.Conv1d(2, 6, 3, padding=1), nn.BatchNorm1d(6), nn.ReLU(), nn.Conv1d(6, 4, 3))


def volume() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 3, (1, 2, 2)))


def flat(outputs: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.Tanh(), nn.Linear(7, outputs))


class Heads(nn.Module):
    """A body with a head for classes of the image and one of numbers at every position."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.label, self.depth = nn.Conv2d(3, 5, 3), nn.Linear(5, 4), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.body(x))
        return self.label(h.mean(dim=(2, 3))), self.depth(h)


def softmax_covariance(z: Tensor, smoothing: float) -> Tensor:
    """Of one sample, (C, …): blocks of diag(p) − p pᵀ, written one entry at a time into a matrix of all outputs."""
    numbers, classes = z.numel(), len(z)
    places = numbers // classes
    matrix = torch.zeros(numbers, numbers, dtype=z.dtype)
    for place in range(places):
        p = torch.exp(z.reshape(classes, places)[:, place])
        p = (1 - smoothing) * p / p.sum() + smoothing / classes
        for a in range(classes):
            for b in range(classes):
                matrix[a * places + place, b * places + place] = (p[a] if a == b else 0) - p[a] * p[b]
    return matrix


def sigmoid_covariance(z: Tensor, smoothing: float) -> Tensor:
    p = (1 - smoothing) / (1 + torch.exp(-z.flatten())) + smoothing / 2
    return torch.diag(p - p * p)


ORACLES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "categorical": softmax_covariance,
    "gaussian": lambda z, _: torch.eye(z.numel(), dtype=z.dtype),
    "bernoulli": sigmoid_covariance,
}


def literal_matrix(
    model: nn.Module, inputs: Tensor, chosen: list[tuple[str, tuple[int, ...]]], kinds: tuple[str, ...], s: float = 0.0
) -> Tensor:
    """1/N Σ_n Σ_heads J_nᵀ Λ_n J_n, output by output: (K, K)."""
    parameters = dict(model.named_parameters())
    total = torch.zeros(len(chosen), len(chosen), dtype=inputs.dtype)
    for n in range(len(inputs)):
        outputs = model(torch.stack([inputs[n], inputs[n]]))
        for head, kind in zip(outputs if isinstance(outputs, tuple) else (outputs,), kinds, strict=True):
            rows = []
            for number in head[0].flatten():
                gradients = torch.autograd.grad(
                    number, [parameters[name] for name, _ in chosen], retain_graph=True, materialize_grads=True,
                    allow_unused=True,
                )  # fmt: skip
                rows.append(torch.stack([g[index] for g, (_, index) in zip(gradients, chosen, strict=True)]))
            J = torch.stack(rows)
            total = total + J.T @ ORACLES[kind](head[0].detach(), s) @ J
    return total / len(inputs)


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], Likelihood | tuple[Likelihood, ...]]] = {
    "classes of the image": (flat, (3, 2, 2), "categorical"),
    "classes at positions": (dense, (3, 5, 5), "auto"),
    "classes along a sequence": (sequence, (2, 6), "categorical"),
    "classes in a volume": (volume, (1, 3, 3, 3), "auto"),
    "numbers": (flat, (3, 2, 2), "gaussian"),
    "a number": (lambda: flat(1), (3, 2, 2), "gaussian"),
    "numbers at positions": (dense, (3, 5, 5), "gaussian"),
    "events": (flat, (3, 2, 2), "bernoulli"),
    "an event at positions": (lambda: dense(1), (3, 5, 5), "bernoulli"),
    "two heads": (Heads, (3, 4, 4), ("categorical", "gaussian")),
    "two heads of positions and events": (Heads, (3, 4, 4), ("bernoulli", "categorical")),
}


def case(name: str) -> tuple[nn.Module, Tensor, Likelihood | tuple[Likelihood, ...], tuple[str, ...]]:
    make, shape, likelihood = CASES[name]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model, inputs = make().double().eval(), torch.randn(IMAGES, *shape, dtype=torch.float64)
    kinds = likelihood if isinstance(likelihood, tuple) else (likelihood,)
    return model, inputs, likelihood, tuple("categorical" if kind == "auto" else kind for kind in kinds)


@pytest.mark.parametrize("smoothing", [0.0, 0.05])
@pytest.mark.parametrize("name", CASES)
def test_all_directions_give_the_matrix_of_the_definition(name: str, smoothing: float) -> None:
    model, inputs, likelihood, kinds = case(name)
    chosen = choose_scalars(
        model, parameters=99, draws=2, positions="random", generator=torch.Generator().manual_seed(2)
    )
    fisher = FisherPass(calibrate=False, smoothing=smoothing, likelihood=likelihood, check=True)
    found = fisher.checked_rows(model, inputs, chosen, generator=torch.Generator().manual_seed(3))
    assert found.wrong == ()
    for draw in range(2):
        ours = found.rows[draw].T @ found.rows[draw] / IMAGES
        literal = literal_matrix(model, inputs, [(s.name, s.indices[draw]) for s in chosen], kinds, smoothing)
        assert literal.norm() > 0
        assert (ours - literal).norm() <= 1e-9 * literal.norm()


@pytest.mark.parametrize("name", ["classes at positions", "numbers at positions", "two heads"])
def test_splitting_the_batch_changes_nothing(name: str) -> None:
    model, inputs, likelihood, _ = case(name)
    chosen = choose_scalars(model, parameters=99, draws=2, generator=torch.Generator().manual_seed(2))

    def rows(memory: int | None) -> Tensor:
        fisher = FisherPass(directions=2, likelihood=likelihood, memory=memory)
        return fisher.rows(model, inputs, chosen, generator=torch.Generator().manual_seed(3))

    whole, split = (found.mT @ found for found in (rows(None), rows(8_000)))
    assert (split - whole).norm() <= 1e-9 * whole.norm()


COVARIANCES: dict[str, tuple[Callable[[Tensor], OutputCovariance], tuple[str, ...]]] = {
    "categorical": (lambda z: categorical(z.softmax(dim=1)), ("categorical",)),
    "gaussian": (gaussian, ("gaussian",)),
    "bernoulli": (lambda z: bernoulli(z.sigmoid()), ("bernoulli",)),
    "joined": (lambda z: joined([categorical(z.softmax(dim=1)), bernoulli(z.sigmoid())]), ("categorical", "bernoulli")),
}


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("name", COVARIANCES)
def test_the_mean_of_random_directions_is_the_block_diagonal_covariance(name: str, directions: int) -> None:
    """Also between positions and between heads, where it is zero. The error of such a mean is about 0.005."""
    make, kinds = COVARIANCES[name]
    many = 20_000
    z = torch.tensor([[1.0, -0.5, 0.3], [0.2, 0.9, -1.0]], dtype=torch.float64)  # two classes at three positions
    covariance = make(z.expand(many, 2, 3))
    shape = (many, covariance.scale.shape[1], directions)
    v = cotangents(covariance, torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    mean = torch.einsum("mnc,mnd->cd", v, v) / many
    expected = torch.block_diag(*(ORACLES[kind](z, 0.0) for kind in kinds))
    torch.testing.assert_close(mean, expected, rtol=0, atol=0.06 if name == "gaussian" else 0.02)


def test_directions_of_one_label_are_computed_as_ever() -> None:
    """The published formula for (N, C), as it stood before there were other likelihoods, byte for byte."""
    generator = torch.Generator().manual_seed(4)
    z = torch.randn(7, 10, generator=generator)
    noise = torch.randn(7, 10, 3, generator=generator, dtype=torch.float64)
    p = z.double().softmax(dim=1)
    root = p.sqrt()[:, :, None]
    q, _ = torch.linalg.qr(noise - root * (root * noise).sum(dim=1, keepdim=True))
    assert torch.equal(cotangents(covariance_of(z, "auto"), noise), (root * q * math.sqrt(9 / 3)).permute(2, 0, 1))


def test_the_number_of_directions_is_at_most_that_of_independent_outputs() -> None:
    for name, rank in {"classes at positions": 2 * 4, "numbers at positions": 3 * 4, "two heads": 3 + 2 * 4}.items():
        model, inputs, likelihood, _ = case(name)
        chosen = choose_scalars(model, parameters=4, draws=1, generator=torch.Generator())
        for directions, used in {2: 2, None: rank, 10_000: rank}.items():
            rows = FisherPass(directions=directions, likelihood=likelihood).rows(
                model, inputs, chosen, generator=torch.Generator()
            )
            assert rows.shape == (1, used * IMAGES, 4)


@pytest.mark.parametrize(
    ("shape", "likelihood", "message"),
    [
        ((2, 5, 7), "auto", r"outputs of shape \(N, 5, 7\) must come with a likelihood.*class_axis=-1"),
        ((2, 1), "auto", "at least 2 logits .* but has 1 .*likelihood='gaussian'"),
        ((2, 1, 4, 4), "categorical", "at least 2 logits"),
        ((2,), "gaussian", r"outputs \(N, 1\)"),
    ],
)
def test_outputs_that_tell_no_likelihood_are_refused_in_words(
    shape: tuple[int, ...], likelihood: Likelihood, message: str
) -> None:
    with pytest.raises(ScoreError, match=message):
        covariance_of(torch.zeros(shape), likelihood)


def test_several_outputs_without_a_likelihood_for_each_are_refused() -> None:
    model, inputs, _, _ = case("two heads")
    chosen = choose_scalars(model, parameters=9, draws=1, generator=torch.Generator())
    with pytest.raises(ScoreError, match="must return one tensor, but returns a tuple"):
        FisherPass().rows(model, inputs, chosen, generator=torch.Generator())


def test_all_directions_of_too_many_outputs_are_refused_before_they_fill_the_memory() -> None:
    model = nn.Conv2d(3, 64, 1).eval()
    chosen = choose_scalars(model, parameters=9, draws=1, generator=torch.Generator())
    with pytest.raises(ScoreError, match=r"must fit into 4 GiB, but take .*Lower directions \('all' are 16128 here\)"):
        FisherPass().rows(model, torch.randn(4, 3, 16, 16), chosen, generator=torch.Generator())


def test_a_space_says_what_its_outputs_are_or_nothing() -> None:
    class Dense:
        likelihood = "gaussian"

    class Wrong:
        likelihood = "poisson"

    assert likelihood_of(Dense()) == "gaussian" and likelihood_of(object()) == "auto"
    with pytest.raises(SpaceError, match=r"Wrong\.likelihood: must be one of auto, categorical.*'poisson'"):
        likelihood_of(Wrong())


def test_numbers_of_any_network_have_a_matrix(name: str = "residual") -> None:
    make, shape = NETWORKS[name]
    model, inputs = make().double().eval(), torch.randn(3, *shape, dtype=torch.float64)
    chosen = choose_scalars(model, parameters=99, draws=1, generator=torch.Generator())
    rows = FisherPass(calibrate=False, likelihood="gaussian").rows(model, inputs, chosen, generator=torch.Generator())
    literal = literal_matrix(model, inputs, [(s.name, s.indices[0]) for s in chosen], ("gaussian",))
    torch.testing.assert_close(rows[0].T @ rows[0] / 3, literal, rtol=1e-9, atol=1e-12)
