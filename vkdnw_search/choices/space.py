"""A search space from ordinary PyTorch code: mark what may vary, and let the search choose.

    class Model(nn.Sequential):
        def __init__(self, num_classes: int) -> None:
            width, kernel = Choice("width", 16, 32, 64), Choice("kernel", 3, 5, 7)
            layers = [nn.Conv2d(3, width, kernel, padding=kernel // 2), nn.ReLU()]
            for i in range(Choice("depth", 1, 2, 3)):
                k = Choice(f"layer{i}.kernel", 1, 3)
                layers += [nn.Conv2d(width, width, k, padding=k // 2), nn.ReLU()]
            super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))

    search(recipe, space=space_of(Model, input_shape=(3, 32, 32), num_classes=10))

On its own, ``Model(num_classes=10)`` is the network of first choices. A choice may depend on others, as those of layers
depend on the depth: the key of a network names the choices that were met when it was constructed, and no others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from vkdnw_search.choices.source import chosen_source
from vkdnw_search.contracts import Likelihood
from vkdnw_search.determinism import forked_generators
from vkdnw_search.errors import SpaceError, VkdnwSearchError, nearest
from vkdnw_search.records import Gene, GeneValue, Genome

__all__ = ["Choice", "ChoiceSpace", "Chosen", "space_of"]

T = TypeVar("T", int, float, str, bool)

MEMO = 2**14
"""Number of genomes whose met choices are remembered; each costs one construction without weights."""

WEIGHTS = frozenset({torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn})
"""Functions that make weights. What others make, such as ``torch.linspace``, are numbers that constructors look at."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_VALUE = re.compile(r"[A-Za-z0-9_.+/:-]+")

_answer: ContextVar[Callable[[Gene], GeneValue] | None] = ContextVar("_answer", default=None)


def Choice(name: str, *choices: T, ordered: bool | None = None) -> T:
    """One of ``choices``: that of the network being constructed in a search, else the first.

    Asked again under the same name while one network is constructed, the answer is the same.

    Args:
        name: letters, digits, ``_`` and ``.``; in a loop make it differ, as in ``f"layer{i}.kernel"``.
        choices: numbers, text or truth values; the first is the default.
        ordered: whether a mutation goes to a near choice. By default numbers in ascending order are ordered.

    Raises:
        SpaceError: name or choices are not of this form, or differ from an earlier call under this name.
    """
    if not _NAME.fullmatch(name):
        raise SpaceError(f"Choice({name!r}): a name must have letters, digits, _ and . only, as in 'layer1.kernel'")
    for choice in choices:
        if not isinstance(choice, bool | int | float | str) or not _VALUE.fullmatch(str(choice)):
            raise SpaceError(f"Choice({name!r}): must be among numbers, truth values or plain words, but is {choice!r}")
    numbers = all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in choices)
    ascending = numbers and list(choices) == sorted(choices)
    gene = Gene(name, choices, ordered=ascending if ordered is None else ordered)
    answer = _answer.get()
    chosen: T = gene.choices[0] if answer is None else answer(gene)  # type: ignore[assignment]  # one of choices
    return chosen


@dataclass(frozen=True, slots=True)
class Chosen:
    """A network: each choice that was met, in the order of meeting, with its value."""

    answers: tuple[tuple[str, GeneValue], ...]

    @property
    def key(self) -> str:
        """The choices as text, such as ``width=16,kernel=3,depth=1,layer0.kernel=1``."""
        return ",".join(f"{name}={value}" for name, value in self.answers)


@dataclass(frozen=True)
class ChoiceSpace:
    """All networks that ``make(num_classes=…)`` can construct. See :func:`space_of`."""

    make: Callable[..., nn.Module]
    input_shape: tuple[int, ...]
    num_classes: int
    name: str = "choices"
    free_operators: frozenset[str] = frozenset()
    likelihood: Likelihood = "auto"

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The choices, in the order in which they were found.

        First the network of first choices is constructed; then, for each choice, that network (or the one in which the
        choice was found) with each other value, so that choices that depend on one value of another are found too.
        """
        genes: dict[str, Gene] = {}
        waiting: list[dict[str, GeneValue]] = [{}]
        while waiting:
            context = waiting.pop(0)
            for name, gene in self._met(context, genes).items():
                if name not in genes:
                    genes[name] = gene
                    waiting += [{**context, name: value} for value in gene.choices[1:]]
        if not genes:
            raise SpaceError(f"{self._where}: must ask for a Choice, but asks for none")
        return tuple(genes.values())

    def decode(self, genome: Genome) -> Chosen:
        """The network of ``genome``: genes that its construction does not ask for are left out.

        Raises:
            SpaceError: the genome is not of this space, or the constructor asks for something it did not ask before.
        """
        return _decoded(self, tuple(genome))

    def encode(self, architecture: Chosen) -> Genome:
        """The genome of ``architecture``; choices it does not meet are the first ones."""
        answers = dict(architecture.answers)
        return tuple(gene.choices.index(answers.get(gene.name, gene.choices[0])) for gene in self.genes)

    def parse(self, text: str) -> Chosen:
        """The network written as its key is, in any order; choices that are left out are the first ones.

        Raises:
            SpaceError: a name or value is none of this space.
        """
        values = dict.fromkeys((gene.name for gene in self.genes), 0)
        known = {gene.name: gene for gene in self.genes}
        for word in text.strip().split(","):
            name, _, value = word.partition("=")
            choices = [str(choice) for choice in known[name].choices] if name in known else []
            if value not in choices:
                what = f"{name} must be one of {', '.join(choices)}" if choices else f"must name {', '.join(known)}"
                raise SpaceError(f"{self.name} network {text!r}: {what}, but is {word!r}.{nearest(name, known)}")
            values[name] = choices.index(value)
        return self.decode(tuple(values.values()))

    def build(self, architecture: Chosen) -> nn.Module:
        """The network: (N, *input_shape) → logits (N, num_classes), or what ``likelihood`` says."""
        answers = dict(architecture.answers)
        with _answering(lambda gene: answers[gene.name]):
            return self.make(num_classes=self.num_classes)

    def source(self, architecture: Chosen) -> str:
        """The code of ``make`` itself, with what it uses of its own file, and the answers as a table.

        Raises:
            SpaceError: that code cannot be found, or needs more than torch. ``build`` gives the network all the same,
                and ``torch.export.save`` writes it without its code.
        """
        return chosen_source(self.make, dict(architecture.answers), self.num_classes)

    @property
    def _where(self) -> str:
        return f"{self.name}, {getattr(self.make, '__qualname__', self.make)}(num_classes={self.num_classes})"

    def _met(self, answers: dict[str, GeneValue], known: dict[str, Gene]) -> dict[str, Gene]:
        """The choices that are met when those in ``answers`` are given, and all others are the first ones."""
        try:
            return self._asked(answers, known, _WithoutWeights())
        except VkdnwSearchError:
            raise
        except Exception:  # of a constructor that looks at its weights; if it is at fault itself, it says so again
            return self._asked(answers, known, nullcontext())

    def _asked(
        self, answers: dict[str, GeneValue], known: dict[str, Gene], world: AbstractContextManager[object]
    ) -> dict[str, Gene]:
        """The choices that are asked for while a network is constructed in ``world``."""
        met: dict[str, Gene] = {}

        def answer(gene: Gene) -> GeneValue:
            earlier = met.setdefault(gene.name, known.get(gene.name, gene))
            if earlier != gene:
                raise SpaceError(
                    f"{self._where}: Choice({gene.name!r}) must have the same choices each time, but has "
                    f"{gene.choices} after {earlier.choices}. Use another name for another choice"
                )
            return answers.get(gene.name, gene.choices[0])

        with _answering(answer), forked_generators(), world:
            self.make(num_classes=self.num_classes)
        return met


class _WithoutWeights(TorchFunctionMode):
    """Weights have shapes and no numbers within, which takes no time; rates, positions and the like keep theirs."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in WEIGHTS and given.get("device") is None:
            given["device"] = "meta"
        return func(*args, **given)


def space_of(
    make: Callable[..., nn.Module],
    *,
    input_shape: Sequence[int],
    num_classes: int,
    name: str = "choices",
    free_operators: Sequence[str] = (),
    likelihood: Likelihood = "auto",
) -> ChoiceSpace:
    """The search space of all networks that ``make`` can construct by its calls of :func:`Choice`.

    Args:
        make: a class or function of a module, called as ``make(num_classes=…)``; what it asks for must depend on
            earlier answers alone. For the export, it and all it uses must stand in one file that needs torch alone.
        input_shape: of one input without the batch, e.g. (3, 32, 32).
        num_classes: number of logits, or of output channels.
        name: of the space, in files.
        free_operators: operators unknown to fvcore that cost nothing worth counting, such as ``aten::add``.
        likelihood: what the outputs are, where they are not logits (N, num_classes): ``categorical`` at every position,
            (N, num_classes, …), ``gaussian`` or ``bernoulli`` (:class:`vkdnw_search.contracts.HasLikelihood`).

    As a plug-in::

        def my_model(*, num_classes: int = 10):
            return space_of(Model, input_shape=(3, 32, 32), num_classes=num_classes, name="my_model")

        SPACES = {"my_model": my_model}
    """
    return ChoiceSpace(make, tuple(input_shape), num_classes, name, frozenset(free_operators), likelihood)


@contextmanager
def _answering(answer: Callable[[Gene], GeneValue]) -> Iterator[None]:
    token = _answer.set(answer)
    try:
        yield
    finally:
        _answer.reset(token)


@lru_cache(maxsize=MEMO)
def _decoded(space: ChoiceSpace, genome: Genome) -> Chosen:
    genes = space.genes
    if len(genome) != len(genes) or not all(0 <= i < len(g.choices) for g, i in zip(genes, genome, strict=True)):
        raise SpaceError(f"{space.name} genome: must have an index for each of {len(genes)} genes, but is {genome}")
    values = {gene.name: gene.choices[index] for gene, index in zip(genes, genome, strict=True)}
    met = space._met(values, {gene.name: gene for gene in genes})
    unknown = [name for name in met if name not in values]
    if unknown:
        raise SpaceError(
            f"{space._where}: Choice({unknown[0]!r}) was not met before, since it depends on the values of two others "
            "at once. Ask for it in any case, and use the answer where it applies"
        )
    return Chosen(tuple((name, values[name]) for name in met))
