"""Options of plug-ins, held to their types the same from a recipe as from Python."""

from vkdnw_search.options.strict import check_options, strict_options

__all__ = ["check_options", "strict_options"]
