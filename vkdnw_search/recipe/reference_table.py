"""Every key of a recipe in Markdown tables, one a section, made from the models that check them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vkdnw_search.options.checked import Checked, annotation_of
from vkdnw_search.options.type_descriptions import describe, meaning, present, split
from vkdnw_search.recipe.recipe import DEFAULT_PLUGINS, Recipe
from vkdnw_search.recipe.registry import options_of, shipped
from vkdnw_search.recipe.sections import SECTIONS, Bounds, Section
from vkdnw_search.recipe.yaml_reader import plain, write_yaml

_HEADER = "| key | meaning | value | default |\n|---|---|---|---|\n"

Row = tuple[str, str, str, str]


def recipe_table() -> str:
    """All keys with meaning, value and default, the options of shipped plug-ins included: a table for each section."""
    return "\n".join(f"### {title}\n\n{_HEADER}{''.join(map(_line, rows))}" for title, rows in _tables())


def _tables() -> Iterator[tuple[str, list[Row]]]:
    """Title and rows of each table: first the keys that are in no section."""
    models = {name: _model(Recipe, name) for name in Recipe.model_fields}
    yield "The run", [_row(Recipe, name, f"`{name}`") for name, model in models.items() if model is None]
    for name, model in models.items():
        if name in SECTIONS:
            yield name, list(_section(name))
        elif model is not None:
            yield name, [_row(model, key, f"`{name}.{key}`") for key in model.model_fields]


def _line(row: Row) -> str:
    return f"| {' | '.join(map(_escaped, row))} |\n"


def _section(section: str) -> Iterator[Row]:
    """The row of ``use``, then one for each option of each shipped plug-in."""
    kind = SECTIONS[section]
    plugins = shipped(kind)
    default = f"`{DEFAULT_PLUGINS[section]}`" if section in DEFAULT_PLUGINS else ""
    values = ", ".join(f"`{name}`" for name in plugins) + " or another that is installed"
    yield f"`{section}.use`", meaning(annotation_of(Recipe, section)), values, default
    own = _model(Recipe, section)
    if own is not None and issubclass(own, Section):
        yield from (_row(own, key, f"`{section}.{key}`") for key in own.own_keys())
    for name in plugins:
        model = options_of(kind, name)
        yield from (_row(model, key, f"`{section}.{key}` ({name})") for key in model.model_fields)


def _row(model: type[Checked], field: str, key: str) -> Row:
    annotation, info = annotation_of(model, field), model.model_fields[field]
    if info.is_required():
        default = "required"
    else:
        value = write_yaml(plain(info.get_default(call_default_factory=True), source=key)).removesuffix("...\n").strip()
        default = "" if value == "null" else f"`{value}`"
    return key, meaning(annotation), _values(model, field), default


def _values(model: type[Checked], field: str) -> str:
    inner = _model(model, field)
    if inner is not None and issubclass(inner, Bounds):
        share = ", where min may be a share of max such as 90%" if "share of max" in _values(inner, "min") else ""
        return f"{_values(inner, 'max')}, or `{{min: …, max: …}}`{share}"
    return describe(annotation_of(model, field))


def _model(model: type[Checked], field: str) -> type[Checked] | None:
    """The model that a field holds, if it holds one."""
    base: Any = split(present(annotation_of(model, field)))[0]
    return base if inspect.isclass(base) and issubclass(base, Checked) else None


def _escaped(cell: str) -> str:
    return cell.replace("|", r"\|").replace("\n", " ")


def put(table: str, path: Path, name: str) -> None:
    """Write ``table`` into a Markdown file, between its marks ``<!-- name … -->`` and ``<!-- end of name … -->``."""
    head, mark, rest = path.read_text(encoding="utf-8").partition(f"<!-- {name}")
    opening, end = rest.partition("-->\n")[0], f"<!-- end of {name}"
    tail = rest.partition(end)[2]
    path.write_text(f"{head}{mark}{opening}-->\n{table}{end}{tail}", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """``python -m vkdnw_search.recipe.reference_table docs/recipes.md`` writes the table between its two marks."""
    put(recipe_table(), Path(arguments[0]), "recipe table")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
