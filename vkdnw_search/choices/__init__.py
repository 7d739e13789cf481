"""A search space made of any module: its constructor asks ``Choice(name, …)``, and ``space_of`` collects the genes."""

from __future__ import annotations

from vkdnw_search.choices.space import Choice, space_of

__all__ = ["Choice", "space_of"]
