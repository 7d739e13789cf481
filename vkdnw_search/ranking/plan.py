"""Which proxies a table needs: each is computed once per network and seed, whatever number of rows use it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vkdnw_search.contracts import AnyProxy, HasRelativeFitness
from vkdnw_search.errors import RankingError
from vkdnw_search.proxies.aggregate import RankSum
from vkdnw_search.proxies.az_nas import AzNasTerms, Expressivity, Progressivity, Trainability
from vkdnw_search.proxies.te_nas import LinearRegions, NtkCondition, TeNasTerms
from vkdnw_search.records import Score

__all__ = ["VALUE", "Chosen", "Plan", "Row", "Terms", "column", "identity", "make_plan"]

VALUE = ""
"""The name under which the value of a score stands among its terms."""

Terms = Mapping[str, NDArray[np.float64]]
"""Term → its value for each of n networks, shape (n,); NaN where the proxy failed."""

Chosen = NDArray[np.intp] | slice
"""Numbers of the networks that are meant, from 0."""

_JOINT: Mapping[type, tuple[str, type]] = {
    Expressivity: ("expressivity", AzNasTerms),
    Progressivity: ("progressivity", AzNasTerms),
    Trainability: ("trainability", AzNasTerms),
    NtkCondition: ("ntk_condition", TeNasTerms),
    LinearRegions: ("linear_regions", TeNasTerms),
}
"""Proxy → its value as a term, and another proxy that computes that term among others, in one go."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: the terms that one method is made of.

    Attributes:
        name: of the proxy.
        proxy: what it is.
        sources: what the proxy is made of: name → (identity of a part, its term that is the value).
    """

    name: str
    proxy: AnyProxy
    sources: Mapping[str, tuple[str, str]]

    @property
    def kind(self) -> str:
        """``aggregate``: the value of a network depends on the other networks."""
        return "aggregate" if isinstance(self.proxy, HasRelativeFitness) else "single"

    @property
    def members(self) -> Mapping[str, AnyProxy]:
        """Name → proxy: those a sum of ranks is made of, or the proxy alone."""
        return self.proxy.proxies if isinstance(self.proxy, RankSum) else {self.name: self.proxy}

    def values(self, parts: Mapping[str, Terms], chosen: Chosen = slice(None)) -> NDArray[np.float64]:
        """The value of each of n networks, for one seed. Shape (n,); NaN: no usable score.

        In an aggregate a network without a usable term ranks last by it, as in the published evaluation.

        Args:
            parts: part → term → values of all networks.
            chosen: which networks; an aggregate ranks them among one another. All by default.
        """
        if not isinstance(self.proxy, HasRelativeFitness):
            ((part, term),) = self.sources.values()
            return column(parts[part], term)[chosen]
        own: dict[str, NDArray[np.float64]] = {}
        for name, (part, value) in self.sources.items():
            terms = {term: numbers[chosen] for term, numbers in parts[part].items()}
            values = column(terms, value)
            if not np.isfinite(values).any():
                return np.full(len(values), np.nan)
            own |= {name: values, **{term: numbers for term, numbers in terms.items() if term != VALUE}}
        return _fitness(self.proxy, {name: _lowest(numbers) for name, numbers in own.items()})


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of a table, and the proxies they are made of.

    Attributes:
        rows: in the order of the table.
        parts: identity → proxy, to be computed.
    """

    rows: Sequence[Row]
    parts: Mapping[str, AnyProxy]

    def names(self) -> dict[str, str]:
        """Part → a short name: that of the single row it is, else its name within an aggregate and the aggregate's."""
        found: dict[str, str] = {}
        for row in sorted(self.rows, key=lambda row: row.kind, reverse=True):
            for member, (part, _) in row.sources.items():
                found.setdefault(part, member if member == row.name else f"{row.name}.{member}")
        return found


def make_plan(proxies: Mapping[str, AnyProxy]) -> Plan:
    """Plan what has to be computed for these proxies, name → proxy.

    A sum of ranks shares its parts with other rows. A single term that another part gives as well is read there.
    """
    rows = [Row(name, proxy, {}) for name, proxy in proxies.items()]
    summed = [row.members for row in rows if isinstance(row.proxy, RankSum)]
    every = {identity(member): member for members in summed for member in members.values()}
    parts = {text: member for text, member in every.items() if _source(member, every)[0] == text}
    for place, row in enumerate(rows):
        sources = {name: _source(member, parts) for name, member in row.members.items()}
        rows[place] = replace(row, sources=sources)
        parts |= {sources[name][0]: m for name, m in row.members.items() if sources[name][0] not in parts}
    return Plan(rows, parts)


def identity(plugin: object) -> str:
    """Text that tells proxies, or spaces, with different options apart, and is the same in every process.

    Raises:
        RankingError: a function has no name of its own, by which its scores could be told from those of another.
    """
    if isinstance(plugin, functools.partial):
        return f"partial({identity(plugin.func)}, {plugin.args!r}, {sorted(plugin.keywords.items())!r})"
    if inspect.ismethod(plugin):
        return f"{identity(plugin.__self__)}.{plugin.__name__}"
    if inspect.isroutine(plugin):
        if "<" in plugin.__qualname__:
            raise RankingError(
                f"{plugin.__qualname__}: must be a function with a name in a module, under which a study keeps its "
                "scores, but is made within another or by lambda"
            )
        return f"{plugin.__module__}.{plugin.__qualname__}"
    if is_dataclass(plugin):
        return f"{type(plugin).__module__}.{plugin!r}"
    options = sorted(vars(plugin).items()) if hasattr(plugin, "__dict__") else []
    return f"{type(plugin).__module__}.{type(plugin).__qualname__}({', '.join(f'{k}={v!r}' for k, v in options)})"


def _source(proxy: object, parts: Mapping[str, object]) -> tuple[str, str]:
    """Where the value of ``proxy`` is found: (part, term)."""
    term, joint = _JOINT.get(type(proxy), (VALUE, None))
    if joint is not None and is_dataclass(proxy):
        options = {option.name: getattr(proxy, option.name) for option in fields(proxy)}
        for text, part in parts.items():
            if type(part) is joint and all(getattr(part, name, value) == value for name, value in options.items()):
                return text, term
    return identity(proxy), VALUE


def column(terms: Terms, name: str) -> NDArray[np.float64]:
    """The values of one term, (n,); all NaN where the proxy failed on every network and so has no terms."""
    return terms.get(name, terms[VALUE])


def _fitness(proxy: HasRelativeFitness, terms: Terms) -> NDArray[np.float64]:
    """What an aggregate makes of the terms of n networks. Shape (n,)."""
    if isinstance(proxy, RankSum) and type(proxy).fitness is RankSum.fitness:
        return proxy.combined(terms)  # the same, ten times as fast
    alone = not isinstance(proxy, RankSum)  # an aggregate of a stranger's: one part, whose value counts
    scores = [
        Score(row[0] if alone else 0.0, terms=dict(zip(terms, row, strict=True)))
        for row in zip(*(column.tolist() for column in terms.values()), strict=True)
    ]
    return np.asarray(proxy.fitness(scores), dtype=np.float64)


def _lowest(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``values`` with the smallest finite one in place of those that are not finite; all NaN where there is none."""
    finite = np.isfinite(values)
    return np.where(finite, values, values[finite].min() if finite.any() else np.nan)
