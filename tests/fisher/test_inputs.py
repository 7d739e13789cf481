"""Networks of tokens, masks and several inputs: their Fisher matrix against the definition, whatever the call."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vkdnw_search.contracts import Likelihood
from vkdnw_search.errors import ScoreError
from vkdnw_search.fisher.information import FisherPass, choose_scalars
from vkdnw_search.fisher.inputs import Inputs, drawn, inputs_of

SAMPLES = 4


class Language(nn.Module):
    """Tokens (N, L) → logits (N, C, L), by an attention that may be masked."""

    def __init__(self, vocabulary: int = 11, length: int = 4, width: int = 8) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.layer = nn.TransformerEncoderLayer(width, 2, 12, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, 5)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        h = self.token(tokens) + self.place(torch.arange(tokens.shape[1]))
        return self.head(self.layer(h, src_mask=mask)).transpose(1, 2)


class Two(nn.Module):
    """An image and a vector → classes; an offset that all samples share."""

    def __init__(self) -> None:
        super().__init__()
        self.of_image, self.of_vector, self.head = nn.Conv2d(3, 6, 3), nn.Linear(5, 6), nn.Linear(6, 4)

    def forward(self, image: Tensor, vector: Tensor, offset: Tensor | float = 0.0) -> Tensor:
        return self.head(torch.tanh(self.of_image(image).mean(dim=(2, 3)) + self.of_vector(vector) + offset))


def causal(length: int) -> Tensor:
    return torch.full((length, length), -torch.inf, dtype=torch.float64).triu(1)


def tokens(generator: torch.Generator, samples: int) -> Tensor:
    return torch.randint(11, (samples, 4), generator=generator)


def masked(generator: torch.Generator, samples: int) -> dict[str, Tensor]:
    return {"tokens": tokens(generator, samples), "mask": causal(4)}  # as long as there are samples in these tests


def pair(generator: torch.Generator, samples: int) -> tuple[Tensor, Tensor, Tensor]:
    image, vector = torch.randn(samples, 3, 5, 5, generator=generator), torch.randn(samples, 5, generator=generator)
    return image, vector, torch.linspace(-1, 1, 6)


CASES: dict[str, tuple[type[nn.Module], Any, Likelihood]] = {
    "tokens": (Language, tokens, "categorical"),
    "tokens and a mask by name": (Language, masked, "categorical"),
    "two inputs and a shared one": (Two, pair, "categorical"),
}


def literal(model: nn.Module, inputs: Inputs, chosen: list[tuple[str, tuple[int, ...]]]) -> Tensor:
    """1/N Σ_n Σ_positions Jᵀ (diag(p) − p pᵀ) J, each sample called by itself: (K, K)."""
    parameters, total = dict(model.named_parameters()), torch.zeros(len(chosen), len(chosen), dtype=torch.float64)
    for n in range(len(inputs)):
        arguments = {k: v[n : n + 1] if k in inputs.of_samples else v for k, v in inputs.arguments.items()}
        by_name = any(isinstance(key, str) for key in arguments)
        z = model(**arguments) if by_name else model(*arguments.values())
        z = z[0].flatten(1) if z.dim() > 2 else z[0][:, None]  # (C, positions)
        for column in z.T:
            rows = []
            for logit in column:
                gradients = torch.autograd.grad(
                    logit, [parameters[name] for name, _ in chosen], retain_graph=True, materialize_grads=True,
                    allow_unused=True,
                )  # fmt: skip
                rows.append(torch.stack([g[index] for g, (_, index) in zip(gradients, chosen, strict=True)]))
            J, p = torch.stack(rows), column.detach().softmax(dim=0)
            total += J.T @ (torch.diag(p) - torch.outer(p, p)) @ J
    return total / len(inputs)


@pytest.mark.parametrize("name", CASES)
def test_the_matrix_is_that_of_the_definition_whole_and_split(name: str) -> None:
    make, draw, likelihood = CASES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().double().eval()
    inputs = drawn(draw, SAMPLES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    chosen = choose_scalars(
        model, parameters=99, draws=2, positions="random", generator=torch.Generator().manual_seed(2)
    )
    for memory in (None, 9_000):
        fisher = FisherPass(calibrate=False, likelihood=likelihood, memory=memory, check=True)
        found = fisher.checked_rows(model, inputs, chosen, generator=torch.Generator().manual_seed(3))
        assert found.wrong == ()
        for draw_number, rows in enumerate(found.rows):
            expected = literal(model, inputs, [(s.name, s.indices[draw_number]) for s in chosen])
            assert expected.norm() > 0
            assert (rows.T @ rows / SAMPLES - expected).norm() <= 1e-9 * expected.norm()


def test_what_follows_the_number_of_samples_holds_them_and_all_share_the_rest() -> None:
    inputs = drawn(masked, SAMPLES, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    assert inputs.of_samples == {"tokens"}
    part = inputs[1:3]
    assert len(part) == 2 and part.arguments["tokens"].shape == (2, 4) and part.arguments["mask"].shape == (4, 4)
    assert inputs.arguments["mask"].dtype == torch.float32 and not inputs.arguments["tokens"].is_floating_point()


def test_images_among_the_inputs_have_their_channels_last_where_that_is_asked() -> None:
    inputs = inputs_of((torch.zeros(2, 3, 4, 5), torch.zeros(2, 7)))
    assert inputs.has_images and not inputs_of(torch.zeros(2, 7)).has_images
    image, vector = inputs.contiguous(channels_last=True).arguments.values()
    assert image.is_contiguous(memory_format=torch.channels_last) and vector.is_contiguous()
    assert inputs.contiguous().arguments[0].is_contiguous()


def test_inputs_that_hold_no_samples_are_refused_in_words() -> None:
    with pytest.raises(ScoreError, match=r"for 4 of them gives \(3, 2\).*called as inputs\(generator, samples\)"):
        drawn(lambda generator, samples: torch.zeros(3, 2), SAMPLES, generator=torch.Generator())
    with pytest.raises(ScoreError, match="inputs: must be tensors whose first axis holds the samples"):
        inputs_of({"length": 3})
