"""A search space made of any module, whose constructor asks ``Choice(name, …)``: ``space_of`` collects the genes.

``narrowed`` takes choices away from any search space.
"""

from __future__ import annotations

from vkdnw_search.choices.narrowing import narrowed
from vkdnw_search.choices.space import Choice, space_of

__all__ = ["Choice", "narrowed", "space_of"]
