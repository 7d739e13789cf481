"""Inputs other than one tensor of normal numbers: tokens, and several tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["NormalInputs", "first_embedding"]


@dataclass(frozen=True)
class NormalInputs:
    """Draws one tensor for each shape: N(0, I), or tokens where the shape is one number and there is a vocabulary.

    Attributes:
        shapes: each without the batch.
        vocabulary: number of tokens, which are drawn uniformly; 0: none of the inputs are tokens.
    """

    shapes: tuple[tuple[int, ...], ...]
    vocabulary: int = 0

    def __call__(self, generator: torch.Generator, samples: int) -> tuple[Tensor, ...]:
        """Draw so many samples of each input, (samples, *shape)."""
        return tuple(self._one((samples, *shape), generator) for shape in self.shapes)

    def _one(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        if self.vocabulary and len(shape) == 2:
            return torch.randint(self.vocabulary, shape, generator=generator)
        return torch.randn(shape, generator=generator)


def first_embedding(model: nn.Module) -> tuple[str, int] | None:
    """The name and the vocabulary of the first embedding of ``model``, which is taken to be that of its tokens."""
    found = ((name, m.num_embeddings) for name, m in model.named_modules() if isinstance(m, nn.Embedding))
    return next(found, None)
