"""``score.use=naswot`` on the command line: options that the other plug-in lacks go, those it has stay."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from vkdnw_search.errors import PluginError
from vkdnw_search.recipe.overrides import Override
from vkdnw_search.recipe.registry import Kind, options_in_source
from vkdnw_search.recipe.sections import SECTIONS
from vkdnw_search.recipe.yaml_reader import Plain

LOGGER = logging.getLogger(__name__)


def without_lost_options(
    tree: dict[str, Plain], before: Mapping[str, Plain], overrides: Sequence[Override]
) -> dict[str, Plain]:
    """``tree`` without the recipe's own options of plug-ins that ``overrides`` have switched; a warning names them.

    Args:
        tree: the recipe after all overrides.
        before: the recipe as it was read.
        overrides: those that were applied. An option that one of them sets stays, to be refused if it is unknown.
    """
    for section, kind in SECTIONS.items():
        chosen = tree.get(section)
        if isinstance(chosen, dict) and _is_switched(section, chosen, before.get(section), overrides):
            lost = _lost(section, kind, chosen, overrides)
            tree = {**tree, section: {key: value for key, value in chosen.items() if key not in lost}}
            if lost:
                names = ", ".join(f"{section}.{name}" for name in lost)
                LOGGER.warning("%s.use=%s has no use for %s of the recipe: left out", section, chosen["use"], names)
    return tree


def _is_switched(section: str, chosen: dict[str, Plain], old: Plain, overrides: Sequence[Override]) -> bool:
    """Whether an override of ``use`` alone has changed it."""
    named = any(override.path == (section, "use") for override in overrides)
    return named and chosen.get("use") != (old.get("use") if isinstance(old, dict) else old)


def _lost(section: str, kind: Kind, chosen: dict[str, Plain], overrides: Sequence[Override]) -> list[str]:
    """The options that the plug-in lacks and no override gave."""
    try:
        known = options_in_source(kind, str(chosen["use"])).model_fields
    except PluginError:
        return []  # which is told when the recipe is checked
    given = {key for override in overrides for key in override.sets(section)}
    return [key for key in chosen if key not in known and key not in given and key != "use"]
