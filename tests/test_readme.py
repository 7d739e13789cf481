"""The README says what the program does."""

from __future__ import annotations

import re
from pathlib import Path

from vkdnw_search.commands.main import VERBS
from vkdnw_search.recipe.recipe import load_recipe, parse_recipe, shipped_recipes
from vkdnw_search.recipe.reference_table import recipe_table

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_table_of_keys_is_the_one_the_models_give() -> None:
    written = README.partition("<!-- recipe table")[2].partition("-->\n")[2].partition("<!-- end of recipe table")[0]
    assert written.strip() == recipe_table().strip(), "run: python -m vkdnw_search.recipe.reference_table README.md"


def test_every_recipe_in_the_readme_is_valid() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        parse_recipe(block, source="README.md")


def test_every_shipped_recipe_is_named_and_loads() -> None:
    for name in shipped_recipes():
        load_recipe(name)
        assert f"`{name}`" in README


def test_python_in_the_readme_is_python() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")


def test_every_command_is_named() -> None:
    for verb in VERBS:
        assert f"vkdnw-search {verb}" in README
