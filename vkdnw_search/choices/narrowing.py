"""A search space with some of its choices taken away: genes that are fixed, choices that are excluded.

``narrowed(MobileNet(), fix={"stem.out": 32}, exclude={"stage1.block1.type": ["E6K7"]})`` is a space of the same
networks in which no genome can stand for another choice. Whoever holds it sees the narrowed genes and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from torch import nn

from vkdnw_search.contracts import Architecture, HasEncoding, HasMutation, SearchSpace
from vkdnw_search.errors import SpaceError, nearest
from vkdnw_search.records import Gene, GeneValue, Genome

__all__ = ["NarrowedSpace", "narrowed"]

TRIES = 20
"""Mutations by the space's own rule that may all lead back to the same network before a gene is changed at random."""

Kept = tuple[tuple[int, ...], ...]
"""For each gene the indices of the choices that are left, ascending."""


def narrowed(
    space: SearchSpace[Any],
    *,
    fix: Mapping[str, GeneValue] | None = None,
    exclude: Mapping[str, Sequence[GeneValue]] | None = None,
) -> NarrowedSpace:
    """The networks of ``space`` whose genes are as ``fix`` says and not as ``exclude`` says.

    A gene is what a space is asked for: where it says of itself that some genes do not count, or that it brings widths
    into an order, it does so here, too. The space offers what ``space`` offers, and nothing else.

    Args:
        space: any search space; it is not changed.
        fix: gene → the one choice that is left of it.
        exclude: gene → choices that are taken away.

    Raises:
        SpaceError: there is no such gene or choice, or no choice is left; the message lists what there is.
    """
    kept = {gene.name: list(range(len(gene.choices))) for gene in space.genes}
    genes = {gene.name: gene for gene in space.genes}
    for name, value in (fix or {}).items():
        kept[name] = [_index(genes, name, value, "fix")]
    for name, values in (exclude or {}).items():
        gone = {_index(genes, name, value, "exclude") for value in values}
        kept[name] = [index for index in kept[name] if index not in gone]
        if not kept[name]:
            raise SpaceError(f"exclude, gene {name}: must leave a choice, but leaves none of {_listed(genes[name])}")
    return _around(space, tuple(map(tuple, kept.values())))


class NarrowedSpace:
    """A search space of which some choices are taken away; see :func:`narrowed`.

    Its class has the public members of the space within, so that it keeps the protocols that that one keeps and no
    others.

    Attributes:
        inner: the space within.
        kept: for each of its genes the indices of the choices that are left.
        genes: the genes with the choices that are left.
    """

    def __init__(self, inner: SearchSpace[Any], kept: Kept) -> None:
        self.inner, self.kept = inner, kept
        self.genes: tuple[Gene, ...] = tuple(
            replace(gene, choices=tuple(gene.choices[index] for index in indices))
            for gene, indices in zip(inner.genes, kept, strict=True)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _around, (self.inner, self.kept)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NarrowedSpace) and (self.inner, self.kept) == (other.inner, other.kept)

    def __hash__(self) -> int:
        return hash((self.inner, self.kept))

    def __repr__(self) -> str:
        few = [gene for gene, whole in zip(self.genes, self.inner.genes, strict=True) if gene != whole]
        return f"<{self.inner!r} with {', '.join(f'{gene.name} of {_listed(gene)}' for gene in few) or 'all choices'}>"

    @property
    def name(self) -> str:
        """The name of the space within."""
        return self.inner.name

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input without the batch."""
        return self.inner.input_shape

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return self.inner.num_classes

    def decode(self, genome: Genome) -> Architecture:
        """The architecture of a genome of the genes that are left."""
        architecture: Architecture = self.inner.decode(self.inner_genome(genome))
        return architecture

    def build(self, architecture: Architecture) -> nn.Module:
        """The network: (N, *input_shape) → logits (N, num_classes)."""
        return self.inner.build(architecture)

    def source(self, architecture: Architecture) -> str:
        """Python source of the network."""
        return self.inner.source(architecture)

    def inner_genome(self, genome: Genome) -> Genome:
        """The same genome in the space within.

        Raises:
            SpaceError: it has not an index for each gene that is within its range.
        """
        sizes = [len(indices) for indices in self.kept]
        if len(genome) != len(sizes) or not all(0 <= i < size for i, size in zip(genome, sizes, strict=True)):
            raise SpaceError(
                f"{self.name} genome: must have an index for each of {len(sizes)} genes, below its number of choices, "
                f"but is {genome}"
            )
        return tuple(indices[index] for indices, index in zip(self.kept, genome, strict=True))

    def around(self, inner: SearchSpace[Any]) -> NarrowedSpace:
        """The same choices of another space with these genes, such as one for more classes."""
        return _around(inner, self.kept)

    def _genome(self, whole: Genome, parent: Genome | None = None) -> Genome:
        """The genome nearest to ``whole`` of the space within; an unordered gene falls back to that of ``parent``."""
        fallback = parent or (0,) * len(whole)
        rows = zip(self.inner.genes, self.kept, whole, fallback, strict=True)
        return tuple(_place(gene, kept, index, other) for gene, kept, index, other in rows)


class _Encoding(NarrowedSpace):
    """One whose inner space encodes."""

    def encode(self, architecture: Architecture) -> Genome:
        """A genome of ``architecture`` of the genes that are left.

        A space encodes into one of several genomes of a network, which may have a choice that is not left in a gene
        that does not count there, or counts together with another; so the nearest genome and those one gene beside it
        are tried.

        Raises:
            SpaceError: none of these is of the network; the message names the first gene that is in the way.
        """
        assert isinstance(self.inner, HasEncoding)
        whole = self.inner.encode(architecture)
        first = self._genome(whole)
        if self.inner_genome(first) == whole:
            return first
        for genome in (first, *_one_change(first, self.genes)):
            if self.decode(genome).key == architecture.key:
                return genome
        place = next(i for i, index in enumerate(whole) if index not in self.kept[i])
        raise SpaceError(
            f"{self.name}, gene {self.genes[place].name}: must be one of {_listed(self.genes[place])}, which is what "
            f"fix and exclude leave, but is {self.inner.genes[place].choices[whole[place]]}: {architecture.key}"
        )


class _Mutating(NarrowedSpace):
    """One whose inner space mutates."""

    def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """The mutation of the space within, drawn again until the network differs.

        A gene that leaves its choices goes to the nearest that is left, or stays as it was if it is not ordered. Where
        that leads nowhere, a gene at random goes to another of its choices.
        """
        assert isinstance(self.inner, HasMutation)
        whole, key = self.inner_genome(genome), self.decode(genome).key
        for _ in range(TRIES):
            child = self._genome(self.inner.mutate(whole, rng), genome)
            if self.decode(child).key != key:
                return child
        return _changed(genome, self.genes, rng)


class _EncodingMutating(_Encoding, _Mutating):
    """One whose inner space does both."""


def _around(inner: SearchSpace[Any], kept: Kept) -> NarrowedSpace:
    """The space of these choices, of a class that has the members that ``inner`` has."""
    members = tuple(name for name in dir(inner) if not name.startswith("_"))
    return _class(members, isinstance(inner, HasEncoding), isinstance(inner, HasMutation))(inner, kept)


@lru_cache(maxsize=256)
def _class(members: tuple[str, ...], encodes: bool, mutates: bool) -> type[NarrowedSpace]:
    base = {(True, True): _EncodingMutating, (True, False): _Encoding, (False, True): _Mutating}.get(
        (encodes, mutates), NarrowedSpace
    )
    others = {
        name: _same(name) for name in members if name not in ("genes", "inner", "kept") and not hasattr(base, name)
    }
    return type("NarrowedSpace", (base,), {**others, "__module__": __name__, "__doc__": NarrowedSpace.__doc__})


def _same(name: str) -> property:
    """A member that is that of the space within."""
    return property(lambda self: getattr(self.inner, name))


def _index(genes: Mapping[str, Gene], name: str, value: GeneValue, where: str) -> int:
    """The index of a choice of a gene. Raises SpaceError if there is no such gene or choice."""
    if name not in genes:
        raise SpaceError(
            f"{where}: must name genes of the space ({_names(list(genes))}), but names {name!r}.{nearest(name, genes)} "
            "vkdnw-search list NAME shows all of them"
        )
    for index, choice in enumerate(genes[name].choices):
        if choice == value and isinstance(choice, bool) == isinstance(value, bool):
            return index
    known = {str(choice): choice for choice in genes[name].choices}
    raise SpaceError(
        f"{where}, gene {name}: must be one of {_listed(genes[name])}, but is {value!r}.{nearest(str(value), known)}"
    )


def _names(names: Sequence[str]) -> str:
    """Some of many names."""
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} … {names[-1]}"


def _listed(gene: Gene) -> str:
    return ", ".join(map(str, gene.choices))


def _place(gene: Gene, kept: tuple[int, ...], index: int, fallback: int) -> int:
    """The place among ``kept`` of a gene's choice ``index``, or of the nearest to it, or else ``fallback``."""
    if index in kept:
        return kept.index(index)
    return min(range(len(kept)), key=lambda place: abs(kept[place] - index)) if gene.ordered else fallback


def _one_change(genome: Genome, genes: Sequence[Gene]) -> Iterator[Genome]:
    """All genomes that differ from ``genome`` in one gene."""
    for place, gene in enumerate(genes):
        for index in range(len(gene.choices)):
            if index != genome[place]:
                yield (*genome[:place], index, *genome[place + 1 :])


def _changed(genome: Genome, genes: Sequence[Gene], rng: np.random.Generator) -> Genome:
    """A copy with one gene at another choice; the genome itself where no gene has another."""
    movable = [place for place, gene in enumerate(genes) if len(gene.choices) > 1]
    if not movable:
        return genome
    place = movable[int(rng.integers(len(movable)))]
    other = int(rng.integers(len(genes[place].choices) - 1))
    return (*genome[:place], other + (other >= genome[place]), *genome[place + 1 :])
