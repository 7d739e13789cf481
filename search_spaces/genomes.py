"""Genome ↔ the values of its genes, with errors that name the gene."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

from vkdnw_search.errors import SpaceError
from vkdnw_search.records import Gene, GeneValue, Genome

SHOWN = 12
"""Number of choices that an error lists in full."""


def values_of(genome: Genome, genes: Sequence[Gene], *, space: str) -> list[GeneValue]:
    """The choice of each gene.

    Raises:
        SpaceError: the genome has another length, or an index is out of range; the message names the gene.
    """
    if len(genome) != len(genes):
        raise SpaceError(f"{space} genome: must have {len(genes)} indices, but has {len(genome)}: {genome}")
    return [
        gene.choices[index] if 0 <= index < len(gene.choices) else _refused(gene, index, space)
        for gene, index in zip(genes, genome, strict=True)
    ]


def genome_of(values: Iterable[GeneValue], genes: Sequence[Gene], *, space: str) -> Genome:
    """The genome with these values.

    Raises:
        SpaceError: a gene has no such choice; the message names the first.
    """
    return tuple(_index(gene, value, space) for gene, value in zip(genes, values, strict=True))


def _refused(gene: Gene, index: int, space: str) -> NoReturn:
    raise SpaceError(f"{space}, gene {gene.name}: must be in 0 … {len(gene.choices) - 1}, but is {index}")


def _index(gene: Gene, value: GeneValue, space: str) -> int:
    try:
        return gene.choices.index(value)
    except ValueError:
        listed = list(map(str, gene.choices))
        known = ", ".join(listed) if len(listed) <= SHOWN else f"{', '.join(listed[:3])} … {listed[-1]}"
        raise SpaceError(f"{space}, gene {gene.name}: must be one of {known}, but is {value}") from None
