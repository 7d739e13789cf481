"""``score`` for networks with other outputs than logits of one label, and with other inputs than images."""

from __future__ import annotations

import logging
import math
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vkdnw_search import score
from vkdnw_search.contracts import Likelihood, Probe
from vkdnw_search.engine.trainability import check
from vkdnw_search.errors import ScoreError
from vkdnw_search.proxies.gradient_statistics import GradSign, Zico
from vkdnw_search.proxies.probing import random_labels
from vkdnw_search.proxies.saliency import GradNorm, Snip, SynFlow
from vkdnw_search.proxies.size import Flops
from vkdnw_search.proxies.vkdnw import VkdnwSingle

SMALL = VkdnwSingle(images=24, draws=2)
NAMED = namedtuple("NAMED", "logits features")


@dataclass
class Found:
    """What some libraries return."""

    logits: Tensor
    loss: Tensor | None = None


class Returning(nn.Module):
    """Logits of four classes, wrapped up as a library might."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.body, self.head = how, nn.Linear(12, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Any:
        h = torch.tanh(self.body(x.flatten(1)))
        z = self.head(h)
        ways = {"dict": {"logits": z, "features": h}, "tuple": (z, h), "named": NAMED(z, h), "dataclass": Found(z)}
        return ways.get(self.how, z)


@pytest.mark.parametrize(
    ("how", "output"),
    [("dict", "logits"), ("dict", 0), ("tuple", 0), ("tuple", lambda found: found[0]), ("named", "logits"),
     ("named", -2), ("dataclass", "logits"), ("dataclass", None)],
)  # fmt: skip
def test_the_score_of_a_picked_output_is_that_of_the_network_that_returns_it_alone(how: str, output: Any) -> None:
    alone = score(Returning("alone"), (3, 2, 2), proxy=SMALL)
    assert score(Returning(how), (3, 2, 2), proxy=SMALL, output=output) == alone


def test_several_outputs_are_listed_where_none_is_named() -> None:
    with pytest.raises(ScoreError, match=r"returns 'logits' \(2, 4\), 'features' \(2, 6\). Say which counts"):
        score(Returning("dict"), (3, 2, 2))
    with pytest.raises(ScoreError, match=r"has no output 'logit', but 'logits' \(2, 4\).*Did you mean 'logits'\?"):
        score(Returning("dict"), (3, 2, 2), output="logit")
    with pytest.raises(ScoreError, match="output=… must give a tensor, but gives a str"):
        score(Returning("dict"), (3, 2, 2), output=lambda found: "logits")
    with pytest.raises(ScoreError, match=r"output \(--output\): must be left out where likelihood names the outputs"):
        score(Returning("dict"), (3, 2, 2), output="logits", likelihood={"logits": "categorical"})


@pytest.mark.parametrize("output", [None, "logits", 0])
@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (3, r"must return a tensor, or .*, but returns an int, no tensor$"),
        (None, r"but returns a NoneType, no tensor$"),
        ({"logits": [3]}, r"but returns a dict, no tensor. Give score\(\) in Python output=… with a function"),
    ],
)
def test_a_network_that_returns_no_tensor_is_told_so(returned: object, says: str, output: Any) -> None:
    class Odd(nn.Linear):
        def forward(self, x: Tensor) -> Any:
            return returned

    with pytest.raises(ScoreError, match=says):
        score(Odd(3, 2), (3,), output=output)


def test_heads_are_added_each_with_its_own_likelihood() -> None:
    """A head of numbers scaled by a large factor makes up all of the sum, so that the score is that of it alone."""

    class Scaled(Returning):
        def forward(self, x: Tensor) -> Any:
            found = super().forward(x)
            return {**found, "features": 1e6 * found["features"]}

    exact = VkdnwSingle(images=24, draws=2, directions="all")
    both = score(Scaled("dict"), (3, 2, 2), proxy=exact, likelihood={"logits": "categorical", "features": "gaussian"})
    alone = score(Scaled("dict"), (3, 2, 2), proxy=exact, likelihood="gaussian", output="features")
    assert both.terms["decile_9"] == pytest.approx(alone.terms["decile_9"], rel=1e-6)
    assert both.terms["decile_1"] > 1e3 * alone.terms["decile_1"] >= 0  # the head for classes is seen as well


@pytest.mark.parametrize("likelihood", ["auto", "categorical", "gaussian", "bernoulli"])
def test_outputs_at_every_position_have_a_score(likelihood: Likelihood, caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 1))
    with caplog.at_level(logging.INFO, logger="vkdnw_search"):
        found = score(model, (3, 8, 8), proxy=SMALL, likelihood=likelihood)
    assert 4 < found.value <= 4 + math.log(9)
    told = {"gaussian": "gaussian, 5×8×8 numbers", "bernoulli": "bernoulli, 5×8×8 times yes or no"}
    assert told.get(likelihood, "categorical, 5 classes at each of 64 positions") in caplog.text


def test_the_classes_of_a_sequence_may_stand_last() -> None:
    class Last(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            z: Tensor = super().forward(x)
            return z.transpose(1, 2)

    first = nn.Sequential(nn.Conv1d(2, 5, 3), nn.ReLU(), nn.Conv1d(5, 4, 1))
    expected = score(first, (2, 7), proxy=SMALL, likelihood="categorical")
    assert score(Last(*first), (2, 7), proxy=SMALL, class_axis=-1) == expected
    with pytest.raises(ScoreError, match=r"outputs of shape \(N, 4, 5\) must come with a likelihood"):
        score(first, (2, 7))


class Flat(nn.Sequential):
    """One number for each sample, (N,)."""

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = super().forward(x)
        return z.squeeze(1)


@pytest.mark.parametrize(
    ("likelihood", "told"), [("gaussian", "gaussian, 1 number"), ("bernoulli", "bernoulli, 1 times yes or no")]
)
def test_one_number_for_each_sample_needs_no_axis_of_its_own(
    likelihood: Likelihood, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    column = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1))
    expected = score(column, (3,), proxy=SMALL, likelihood=likelihood)
    with caplog.at_level(logging.INFO, logger="vkdnw_search"):
        assert score(Flat(*column), (3,), proxy=SMALL, likelihood=likelihood) == expected
        assert score(Flat(*column), (3,), proxy=SMALL, likelihood={0: likelihood}) == expected
    assert f"{told}, (N,) read as (N, 1)" in caplog.text
    loss = GradNorm(images=3)
    assert score(Flat(*column), (3,), proxy=loss, likelihood=likelihood) == score(
        column, (3,), proxy=loss, likelihood=likelihood
    )
    with pytest.raises(
        ScoreError, match=r"returns \(2,\), torch.float32. For one number a sample give likelihood='gaussian'"
    ):
        score(Flat(*column), (3,))


@pytest.mark.parametrize("axis", [0, 4, 7, -4])
def test_an_axis_that_holds_no_classes_is_refused_with_those_there_are(axis: int) -> None:
    with pytest.raises(ScoreError, match=rf"\(2, 5, 6, 6\) after .*, from 1 to 3, or from -3 to -1, but is {axis}"):
        score(nn.Conv2d(3, 5, 3), (3, 8, 8), class_axis=axis)
    with pytest.raises(ScoreError, match=rf"\(2, 4\) after that of the samples, 1 or -1, but is {axis}"):
        score(nn.Linear(3, 4), (3,), class_axis=axis)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", {0: "gaussian"}])
def test_an_axis_of_classes_is_refused_where_there_are_none(likelihood: Any) -> None:
    with pytest.raises(ScoreError, match=r"class_axis .*: must be left out where no output holds classes"):
        score(nn.Conv2d(3, 5, 3), (3, 8, 8), class_axis=-1, likelihood=likelihood)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Conv1d(2, 6, 3), nn.BatchNorm1d(6), nn.ReLU(), nn.Flatten(), nn.Linear(36, 4)), (2, 8)),
        (nn.Sequential(nn.Conv3d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4)), (1, 4, 5, 6)),
    ],
)  # fmt: skip
def test_signals_of_one_and_of_three_dimensions_have_a_score(model: nn.Module, shape: tuple[int, ...]) -> None:
    assert score(model, shape, proxy=SMALL).terms["entropy"] > 0


class Tokens(nn.Module):
    """Tokens → classes."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(9, 6), nn.Linear(6, 4)
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.layer(self.words(tokens)).mean(dim=1))


def test_a_network_that_does_not_take_numbers_is_given_tokens_of_its_first_embedding(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def drawn(generator: torch.Generator, samples: int) -> Tensor:
        return torch.randint(9, (samples, 5), generator=generator)

    with caplog.at_level(logging.INFO, logger="vkdnw_search"):
        found = score(Tokens(), (5,), proxy=SMALL)
    assert "categorical, 4 classes; tokens drawn uniformly from the 9 of words" in caplog.text
    torch.manual_seed(0)
    model = Tokens()
    found = score(model, (5,), proxy=SMALL)
    assert score(model, None, proxy=SMALL, inputs=drawn) == score(model, (5,), proxy=SMALL, inputs="tokens") == found
    with pytest.raises(ScoreError, match="Linear has no embedding"):
        score(nn.Linear(3, 2), (3,), inputs="tokens")


class Placed(Tokens):
    """Tokens at no more than six places, the place added to each."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(6, 6)

    def forward(self, tokens: Tensor, kinds: Tensor | None = None) -> Tensor:
        places = torch.arange(tokens.shape[1]) if kinds is None else kinds
        return self.head((self.words(tokens) + self.places(places)).mean(dim=1))


@pytest.mark.parametrize("shape", [(8,), ((8,), (8,))])
def test_a_token_or_place_beyond_an_embedding_is_told_with_the_sizes_of_all(shape: Any) -> None:
    assert score(Placed(), (6,), proxy=SMALL).value > 0
    with pytest.raises(ScoreError, match=r"with tokens .* 9 of words: index out of range in self. .*beyond") as found:
        score(Placed(), shape)
    assert "nn.Embedding: words has 9, places has 6. Give shorter inputs, or score() in Python" in str(found.value)
    assert "got torch.FloatTensor" in str(found.value)  # what it says of numbers


def test_an_error_of_drawn_tokens_names_the_embedding_too() -> None:
    with pytest.raises(ScoreError, match=r"shape \(2, 5\), but: index out of range in self.*: words has 9. Give"):
        score(Tokens(), inputs=lambda generator, samples: torch.full((samples, 5), 9))


def test_an_error_that_numbers_and_tokens_share_is_told_once() -> None:
    class Deep(Tokens):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no such day")

    with pytest.raises(ScoreError, match=r"^Deep: must accept inputs of shape \(2, 5\), but: no such day$"):
        score(Deep(), (5,))


class Two(nn.Module):
    """Two vectors → classes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(3, 5), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head(torch.tanh(self.a(x) + self.b(y)))


def test_several_inputs_are_drawn_from_their_shapes() -> None:
    class Joined(Two):
        def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            return super().forward(x[:, :3], x[:, 3:])

    assert score(Two(), ((3,), (4,)), proxy=SMALL).terms["entropy"] > 0
    counted = score(Two(), ((3,), (4,)), proxy=Flops(), free_operators=["aten::add", "aten::tanh"])
    assert counted.value == 3 * 5 + 4 * 5 + 5 * 3

    def halves(generator: torch.Generator, samples: int) -> dict[str, Tensor]:
        joined = torch.randn(samples, 7, generator=generator)
        return {"y": joined[:, 3:], "x": joined[:, :3]}

    joined = score(Joined(), (7,), proxy=SMALL)
    assert score(Two(), None, proxy=SMALL, inputs=halves).value == pytest.approx(joined.value, abs=1e-6)
    assert score(Two(), proxy=SMALL, inputs=halves) == score(Two(), None, proxy=SMALL, inputs=halves)
    with pytest.raises(ScoreError, match=r"must accept inputs of shape \(2, 3\), \(2, 5\)"):
        score(Two(), ((3,), (5,)))
    with pytest.raises(ScoreError, match=r"input_shape: must be given"):
        score(Two(), None)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((Two, (3,)), r"model: must be a network, but is its class. Give what it makes: Two\(…\)"),
        ((len, (3,)), r"model: must be a network, a torch.nn.Module, but is <built-in function len>"),
        ((nn.Linear(3, 2),), r"input_shape: must be given, such as \(3, 32, 32\), where inputs is no function"),
        ((nn.Linear(3, 2), 3), r"must be the sizes of one input .*, but is 3. One axis of that size is \(3,\)"),
        ((nn.Linear(3, 2), torch.ones(1, 3)), r"but is a tensor \(1, 3\). Give the shape alone, .*: \(3,\)"),
        ((nn.Linear(3, 2), (3, 0)), r"whole numbers of at least 1 .*, but is \(3, 0\)"),
        ((nn.Linear(3, 2), (3, 2.5)), r"whole numbers of at least 1 .*, but is \(3, 2.5\)"),
        ((nn.Linear(3, 2), "3,4"), r"whole numbers of at least 1 .*, but is '3,4'"),
        ((Two(), ((3,), 4)), r"or a sequence of such shapes for several inputs, but is \(\(3,\), 4\)"),
    ],
)
@pytest.mark.parametrize("proxy", [SMALL, Flops()])
def test_a_call_that_gives_no_network_or_no_shape_is_told_how_to_mend_it(
    arguments: tuple[Any, ...], says: str, proxy: Any
) -> None:
    with pytest.raises(ScoreError, match=says):
        score(*arguments, proxy=proxy)


def test_a_shape_may_be_a_list_or_torchs_or_of_numpys_numbers() -> None:
    model = nn.Linear(3, 2)
    expected = score(model, (3,), proxy=SMALL)
    for shape in ([3], torch.ones(1, 3).shape[1:], (np.int64(3),)):
        assert score(model, shape, proxy=SMALL) == expected


@pytest.mark.parametrize("proxy", [Snip(), SynFlow(), GradSign(images=2)])
def test_proxies_that_draw_images_refuse_other_inputs_in_words(proxy: Any) -> None:
    with pytest.raises(ScoreError, match="draws one tensor of normal numbers"):
        score(Two(), ((3,), (4,)), proxy=proxy)


def mean_loss(z: Tensor, y: Tensor, likelihood: Likelihood) -> Tensor:
    """−ln p(y | z) up to constants and a factor, averaged over samples and positions, by its definition."""
    if likelihood == "gaussian":
        return (z - y).square().mean()
    if likelihood == "bernoulli":
        return -(y * z.sigmoid().log() + (1 - y) * (1 - z.sigmoid()).log()).mean()
    picked = [
        z[n, y[n, i, j], i, j] - z[n, :, i, j].exp().sum().log() for n in range(len(z)) for i in (0, 1) for j in (0, 1)
    ]
    return -torch.stack(picked).mean()


@pytest.mark.parametrize("likelihood", ["auto", "categorical", "gaussian", "bernoulli"])
def test_scores_of_a_loss_take_that_of_the_likelihood_and_a_target_for_every_position(likelihood: Likelihood) -> None:
    probe = Probe((3, 2, 2), 4, seed=5, likelihood=likelihood)
    proxy = GradNorm(images=3, initialization="as_built")
    model = nn.Conv2d(3, 4, 1).double()
    z = model(proxy.inputs(probe).double())
    y = random_labels(probe, z)
    assert y.shape == ((3, 2, 2) if likelihood in ("auto", "categorical") else (3, 4, 2, 2))
    gradients = torch.autograd.grad(mean_loss(z, y, likelihood), list(model.parameters()))
    expected = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    assert proxy(model.float(), probe).value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("likelihood", ["categorical", "gaussian", "bernoulli"])
def test_gradsign_and_zico_take_outputs_at_positions(likelihood: Likelihood) -> None:
    probe = Probe((3, 4, 4), 4, seed=0, likelihood=likelihood)
    for proxy in (GradSign(images=3), Zico(images=3)):
        model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Tanh(), nn.Conv2d(5, 4, 1))
        assert math.isfinite(proxy(model, probe).value)


def test_a_score_of_a_loss_refuses_several_outputs() -> None:
    with pytest.raises(ScoreError, match="needs one output, but there are 2"):
        score(Returning("dict"), (3, 2, 2), proxy=Snip(), likelihood={"logits": "categorical", "features": "gaussian"})


@pytest.mark.parametrize("likelihood", ["categorical", "gaussian", "bernoulli"])
def test_networks_of_any_likelihood_are_tried_for_being_trainable(likelihood: Likelihood) -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1))
    assert check(model, (3, 5, 5), 4, 0, likelihood) == []

    cut = nn.Sequential(*model[:2], Constant(), model[2])
    (fault,) = check(cut, (3, 5, 5), 4, 0, likelihood)
    assert fault.startswith("no gradient reaches 0.weight")


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()
