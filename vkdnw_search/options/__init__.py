"""Options of plug-ins, held to their types the same from a recipe as from Python."""
