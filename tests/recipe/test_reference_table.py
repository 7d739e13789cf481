"""The table of a recipe's keys against the recipes themselves."""

from vkdnw_search.recipe.recipe import load_recipe, shipped_recipes
from vkdnw_search.recipe.reference_table import recipe_table
from vkdnw_search.recipe.sections import SECTIONS


def test_the_tables_of_keys_have_a_row_for_every_value_of_every_shipped_recipe():
    rows = [line.split(" | ") for line in recipe_table().splitlines() if line.startswith("| `")]
    told = {row[0].strip("| "): row for row in rows}
    assert all(len(row) == 4 and row[1] for row in rows), "a meaning is missing"
    for name in shipped_recipes():
        for section, values in load_recipe(name).resolved().items():
            keys = values if isinstance(values, dict) else [None]
            for key in keys:
                label = f"`{section}`" if key is None else f"`{section}.{key}`"
                plugin = f" ({values['use']})" if section in SECTIONS and key != "use" else ""
                assert label + plugin in told


def test_the_table_shows_meaning_bounds_and_default():
    assert (
        "| `finalists` | best candidates, scored anew at the end; 0: none | a whole number from 0 to 1000 | `10` |"
        in (recipe_table().splitlines())
    )
