"""YAML → frozen Recipe: reading, checking, and the plug-ins that a recipe may choose."""
