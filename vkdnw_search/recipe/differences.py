"""The values in which two recipes differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vkdnw_search.recipe.yaml_reader import Path as Keys
from vkdnw_search.recipe.yaml_reader import Plain, dotted, write_yaml


@dataclass(frozen=True, slots=True)
class Change:
    """A value in which two recipes differ; ``str`` gives ``key: ours → theirs``."""

    key: str
    ours: Plain
    theirs: Plain

    @property
    def texts(self) -> tuple[str, str]:
        """Both values as a recipe has them."""
        ours, theirs = (write_yaml(value).removesuffix("...\n").strip() for value in (self.ours, self.theirs))
        return ours, theirs

    def __str__(self) -> str:
        ours, theirs = self.texts
        return f"{self.key}: {ours} → {theirs}"


def changes_between(ours: Plain, theirs: Plain, keys: Keys) -> Iterator[Change]:
    """Every value in which ``theirs`` is not ``ours``, below the place ``keys``."""
    if isinstance(ours, dict) or isinstance(theirs, dict):
        mine, other = (tree if isinstance(tree, dict) else {} for tree in (ours, theirs))
        for key in {**mine, **other}:
            yield from changes_between(mine.get(key), other.get(key), (*keys, key))
    elif ours != theirs:
        yield Change(dotted(keys), ours, theirs)
