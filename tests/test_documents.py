"""README and docs/ say what the program does: tables are generated, code runs, names and files are there."""

from __future__ import annotations

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.support.documents import DOCUMENTS, MARKED, ROOT, blocks, commands, run_marked
from tests.test_import_directions import LAYERS
from vkdnw_search.commands.main import VERBS
from vkdnw_search.recipe import registry
from vkdnw_search.recipe.recipe import load_recipe, parse_recipe, shipped_recipes
from vkdnw_search.recipe.reference_table import recipe_table

README, EXAMPLES = DOCUMENTS["README.md"], ROOT / "examples"
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
pages = pytest.mark.parametrize("page", DOCUMENTS)


@pytest.fixture
def my_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plug-in of the tutorial has joined."""
    monkeypatch.setattr(registry, "_joined", {kind: {} for kind in registry.KINDS})
    monkeypatch.setattr(registry, "_sources", [])
    registry.load_plugin(EXAMPLES / "my_space.py")


def test_the_readme_is_short_and_has_one_command_for_the_tests() -> None:
    assert len(README.splitlines()) <= 200
    command = README.partition("<!-- tests -->\n```bash\n")[2].partition("```")[0]
    assert len(command.splitlines()) == 1 and "pytest" in command


def test_the_table_of_keys_is_the_one_the_models_give() -> None:
    page = DOCUMENTS["docs/recipes.md"]
    written = page.partition("<!-- recipe table")[2].partition("-->\n")[2].partition("<!-- end of recipe table")[0]
    how = "run: python -m vkdnw_search.recipe.reference_table docs/recipes.md"
    assert written.strip() == recipe_table().strip(), how


@pytest.mark.usefixtures("my_space")
def test_every_recipe_in_a_document_is_valid() -> None:
    recipes = [(page, block) for page, text in DOCUMENTS.items() for block in blocks(text, "yaml")]
    assert len(recipes) >= 5
    for page, block in recipes:
        parse_recipe(block, source=page)


@pytest.mark.parametrize("page", ["README.md", "docs/recipes.md"])
def test_every_shipped_recipe_is_named_and_loads(page: str) -> None:
    for name in shipped_recipes():
        load_recipe(name)
        assert f"`{name}`" in DOCUMENTS[page]


@pytest.mark.parametrize("page", ["README.md", "docs/command-line.md"])
def test_every_command_is_named(page: str) -> None:
    for verb in VERBS:
        assert f"vkdnw-search {verb}" in DOCUMENTS[page]


def test_searches_in_shell_blocks_change_keys_that_there_are() -> None:
    searches = [
        shlex.split(c, comments=True)[1:] for text in DOCUMENTS.values() for c in commands(text, "vkdnw-search")
    ]
    shipped = [words for words in searches if words[0] in shipped_recipes() and "--plugin" not in words]
    assert len(shipped) >= 4
    for recipe, *words in shipped:
        load_recipe(recipe, [word for word in words if "=" in word])


@pages
def test_python_in_a_document_is_python(page: str) -> None:
    for block in blocks(DOCUMENTS[page], "python"):
        compile(block, page, "exec")


@pages
def test_what_a_document_names_is_there(page: str) -> None:
    text = DOCUMENTS[page]
    for name in set(re.findall(r"\b(?:vkdnw_search|tests)(?:\.[A-Za-z_]\w*)+", text)):
        assert name.startswith(GROUPS) or found(name), f"{page} names {name}, which is not there"
    for file in set(re.findall(r"[` ]((?:vkdnw_search|search_spaces|tests|examples|docs)/[\w./-]*\w)", text)):
        assert (ROOT / file).exists(), f"{page} names {file}, which is not there"


GROUPS = tuple(f"vkdnw_search.{kind}" for kind in registry.KINDS if kind not in ("proxies", "optimizers"))
"""Groups of entry points that are not modules as well."""


def found(name: str) -> bool:
    """Whether a dotted name leads to a module or to something in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            if not hasattr(thing, part):
                return False
            thing = getattr(thing, part)
        return True
    return False


@pages
def test_links_lead_somewhere(page: str) -> None:
    for target, anchor in LINK.findall(DOCUMENTS[page]):
        path = ((ROOT / page).parent / target).resolve() if target else ROOT / page
        assert path.exists(), f"{page} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings], (
                f"{page}: {anchor}"
            )


def test_the_map_of_the_design_has_every_package_in_the_order_of_imports() -> None:
    page = DOCUMENTS["docs/design.md"]
    shown = page.partition("<!-- layers -->\n```text\n")[2].partition("```")[0]
    assert shown.splitlines() == list(LAYERS)
    packages = [p.parent.name for p in (ROOT / "vkdnw_search").glob("*/__init__.py")]
    assert packages and all(f"| `vkdnw_search/{package}` |" in page for package in packages)


def test_what_is_shown_twice_is_the_same() -> None:
    page = DOCUMENTS["docs/own-space.md"]
    files = {block["file"]: block["code"] for block in MARKED.finditer(page) if block["file"]}
    assert files["my_space.py"] == (EXAMPLES / "my_space.py").read_text(encoding="utf-8")
    assert yaml.safe_load(files["my.yaml"]) == yaml.safe_load((EXAMPLES / "my.yaml").read_text(encoding="utf-8"))
    recipe = next(block for block in blocks(DOCUMENTS["docs/recipes.md"], "yaml") if "mobilenet" in block)
    shipped = yaml.safe_load((ROOT / "recipes/mbv2_600M.yaml").read_text(encoding="utf-8"))
    assert yaml.safe_load(recipe) == {key: value for key, value in shipped.items() if key != "description"}
    chosen = [block for block in blocks(README, "python") if "Choice(" in block]
    assert len(chosen) == 1 and chosen[0] in blocks(page, "python")


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page, text in DOCUMENTS.items() if "<!-- runs -->\n```" in text])
def test_the_code_of_a_document_runs(page: str, tmp_path: Path) -> None:
    run_marked(DOCUMENTS[page], tmp_path)
