"""``stop.evaluations=200`` on the command line: one value of a recipe replaced by another."""

from __future__ import annotations

from dataclasses import dataclass

from vkdnw_search.errors import RecipeError
from vkdnw_search.options.type_descriptions import shown
from vkdnw_search.recipe.yaml_reader import Path, Plain, dotted, read_yaml

BY_GENE = {("space", "fix"), ("space", "exclude")}
"""The keys of mappings from genes, whose names have dots, to choices."""


@dataclass(frozen=True, slots=True)
class Override:
    """A parsed override.

    Attributes:
        text: as it was written.
        path: the keys to the value it replaces.
        value: read by the rules of a recipe, so also ``{min: 540M, max: 600M}``.
    """

    text: str
    path: Path
    value: Plain

    @property
    def label(self) -> str:
        """The name by which errors call the override."""
        return f"override {shown(self.text)}"

    def concerns(self, path: Path) -> bool:
        """Whether a fault at ``path`` may be of its making: one of the two paths leads to the other."""
        own = (*self.path, "max") if self.is_one_number else self.path
        length = min(len(path), len(own))
        return length > 0 and path[:length] == own[:length]

    def sets(self, section: str) -> set[str]:
        """The keys of a section that it gives a value."""
        if self.path == (section,):
            return set(self.value) if isinstance(self.value, dict) else set()
        return {str(self.path[1])} if self.path[0] == section else set()

    @property
    def is_one_number(self) -> bool:
        """Whether it is the maximum of a limit, whose minimum stays: ``limits.flops=450M``."""
        is_one = isinstance(self.value, int | float | str) and ".." not in str(
            self.value
        )  # a range in dots is told apart
        return len(self.path) == 2 and self.path[0] == "limits" and is_one

    def applied(self, tree: dict[str, Plain]) -> dict[str, Plain]:
        """``tree`` with the value in its place; a section's bare name and a limit's bare number are opened.

        A limit given as one number keeps the minimum that the recipe has.

        Raises:
            RecipeError: something on the way has no keys.
        """
        return self._into(tree, 0)

    def _into(self, tree: dict[str, Plain], depth: int) -> dict[str, Plain]:
        key = str(self.path[depth])
        inner = tree.get(key)
        if depth == len(self.path) - 1:
            if self.is_one_number and isinstance(inner, dict):
                return {**tree, key: {**inner, "max": self.value}}
            return {**tree, key: self.value}
        if isinstance(inner, str) and depth == 0:  # optimizer: random
            inner = {"use": inner}
        elif isinstance(inner, int | float | str) and depth == 1:  # limits: {flops: 600M}
            inner = {"max": inner}
        if not isinstance(inner, dict | None):
            raise RecipeError(f"{self.label}: {dotted(self.path[: depth + 1])} has no keys in this recipe")
        return {**tree, key: self._into(inner or {}, depth + 1)}


def parse_override(text: str) -> Override:
    """Read ``key.key=value``; the value is YAML.

    Raises:
        RecipeError: it is not of this form.
    """
    label = f"override {shown(text)}"
    keys, equals, value = text.partition("=")
    path = _path(keys)
    if not equals or not all(path) or not value.strip():
        raise RecipeError(f"{label}: must have the form KEY=VALUE, such as stop.evaluations=200")
    return Override(text, path, read_yaml(value, source=label).tree)


def _path(keys: str) -> Path:
    """The keys of ``limits.flops.min``. What stands below BY_GENE is the name of one gene, whatever dots it has."""
    path = tuple(key.strip() for key in keys.split("."))
    return (*path[:2], ".".join(path[2:])) if path[:2] in BY_GENE and len(path) > 2 else path
