"""The faults of a recipe in words, one on each line: where, what must hold, what came, and how to mend it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence

from pydantic import ValidationError

from vkdnw_search.errors import PluginError
from vkdnw_search.options.checked import MISSING, MOST_TOLD, Checked, Elsewhere
from vkdnw_search.recipe.overrides import Override
from vkdnw_search.recipe.registry import names, options_in_source
from vkdnw_search.recipe.sections import CROSSED, SECTIONS, Limits, SpaceSection, Stop
from vkdnw_search.recipe.yaml_reader import Path as Keys
from vkdnw_search.recipe.yaml_reader import Plain, dotted

Fault = tuple[Keys, str]
"""The keys to a value as the user wrote it, and a sentence."""


def absences(tree: Mapping[str, Plain], supplied: Collection[str]) -> Iterator[Fault]:
    """The sections that are neither in ``tree`` nor supplied by Python."""
    for section, kind in SECTIONS.items():
        if tree[section] is None and section not in supplied:
            yield (section,), f"{MISSING}: must name one of {', '.join(names(kind))}"


def faults_of(tree: Plain, error: ValidationError) -> Iterator[Fault]:
    """What ``error`` says is wrong with ``tree``."""
    for fault in error.errors(include_url=False):
        keys, message = fault["loc"], str(fault["msg"])
        if keys[0] in SECTIONS and keys[1:2] == ("options",):
            keys = (keys[0], *keys[2:])
        yield (keys if message.startswith(MISSING) else _as_written(tree, keys)), message


def line_about(fault: Fault, *, source: str, lines: Mapping[Keys, int], overrides: Sequence[Override]) -> str:
    """One line about ``fault``, which names the override it comes from, or else the place in ``source``."""
    keys, message = fault
    override = next((override for override in reversed(overrides) if override.concerns(keys)), None)
    if override is None:
        line = next((lines[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in lines), None)
        return f"{_joined(source, keys)}: {message}" + (f" (line {line})" if line else "")
    mend = ""
    if override.is_one_number and message.startswith(CROSSED):
        mend = f". The minimum is the recipe's: {dotted(keys)}={{max: {override.value}}} leaves it out"
    return f"{_joined(override.label, keys[:2] if override.is_one_number else keys)}: {message}{mend}"


def first_of(lines: Sequence[str]) -> str:
    """The first of many lines, and how many are left out."""
    left_out = [f"… and {len(lines) - MOST_TOLD:,} more faults"] if len(lines) > MOST_TOLD else []
    return "\n".join([*lines[:MOST_TOLD], *left_out])


def full_names(model: type[Checked], tree: Mapping[str, Plain]) -> Elsewhere:
    """Key → full names of all keys of a recipe that are called so, by the plug-ins that ``tree`` chooses."""
    every: list[tuple[str, ...]] = [(key,) for key in model.model_fields]
    every += [("limits", key) for key in Limits.model_fields] + [("stop", key) for key in Stop.model_fields]
    every += [("space", key) for key in SpaceSection.own_keys()]
    for section, kind in SECTIONS.items():
        chosen = tree.get(section)
        use = chosen.get("use") if isinstance(chosen, Mapping) else chosen
        with contextlib.suppress(PluginError):
            every += [(section, key) for key in options_in_source(kind, str(use)).model_fields]
    places: dict[str, list[str]] = {}
    for keys in every:
        places.setdefault(keys[-1], []).append(".".join(keys))
    written = {".".join(keys): ["{}: {{{}: …}}".format(*keys)] for keys in every if len(keys) == 2}
    return places | written  # a key of YAML that is written as an override would be


def _joined(where: str, keys: Keys) -> str:
    return ", ".join(filter(None, [where, dotted(keys)]))


def _as_written(tree: Plain, keys: Keys) -> Keys:
    """``keys`` as far as they are in ``tree``: ``limits.flops`` for ``limits.flops.max`` where that is one number."""
    for depth, key in enumerate(keys):
        if not isinstance(tree, dict) or key not in tree:
            return keys[:depth]
        tree = tree[str(key)]
    return keys
