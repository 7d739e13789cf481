"""A recipe: everything that determines a run, checked as a whole before anything happens.

``load_recipe("mbv2_600M", ["seed=1"])`` reads YAML into a frozen :class:`Recipe`; every fault of it is found at once,
each on one line with its key, what must hold, what came and what was probably meant.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Interval
from pydantic import Field, ValidationError, ValidationInfo, field_validator

from vkdnw_search.contracts import SPACE_MEMBERS, LatencyContext, NeedsContext
from vkdnw_search.errors import RecipeError, VkdnwSearchError, nearest, told
from vkdnw_search.options.checked import Checked, Context, Text, Whole
from vkdnw_search.options.type_descriptions import shown
from vkdnw_search.quantities import LARGEST
from vkdnw_search.recipe.differences import Change, changes_between
from vkdnw_search.recipe.faults import absences, faults_of, first_of, full_names, line_about
from vkdnw_search.recipe.overrides import Override, parse_override
from vkdnw_search.recipe.registry import options_in_source
from vkdnw_search.recipe.sections import (
    SECTIONS,
    Bands,
    ExecutorSection,
    FolderName,
    LatencySection,
    Limits,
    Networks,
    OptimizerSection,
    ScoreSection,
    Section,
    SpaceSection,
    Stop,
    fits_a_folder,
    within_limits,
)
from vkdnw_search.recipe.switched_plugins import without_lost_options
from vkdnw_search.recipe.yaml_reader import MAX_BYTES, Plain, plain, read_yaml, write_yaml
from vkdnw_search.recipe.yaml_reader import Path as Keys

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from vkdnw_search.contracts import Architecture, LatencySource, Optimizer, Problem, Proxy, SearchSpace

__all__ = ["Change", "Recipe", "SectionName", "folder_of_recipe", "load_recipe", "parse_recipe", "shipped_recipes"]

SectionName = Literal["space", "score", "optimizer", "executor", "latency"]
DEFAULT_PLUGINS: dict[str, Plain] = {
    "score": "vkdnw_single",
    "optimizer": "evolution",
    "executor": "inline",
    "latency": "torch",
}
"""The plug-ins used when a recipe leaves a section out. There is no default space."""


class Recipe(Checked):
    """A run as data. Made by :func:`load_recipe`; a section is None when Python gives its object instead."""

    name: Annotated[FolderName | None, "what the run folder is called; else after the file"] = None
    description: Annotated[Text | None, "one line on what it is for"] = None
    seed: Annotated[Whole, Interval(ge=0, le=LARGEST), "all randomness of the run comes from it"] = 0
    space: Annotated[SpaceSection | None, "the networks to search among"]
    limits: Annotated[Limits, "what a candidate may cost"] = Limits()
    bands_of: Annotated[Literal["flops", "parameters", "layers"], "what `bands` are ranges of"] = "flops"
    bands: Annotated[Bands, "the most of each band, ascending, at most 16: each leaves its best network"] = Field(
        default_factory=list
    )
    score: Annotated[ScoreSection | None, "how a candidate is judged"]
    optimizer: Annotated[OptimizerSection | None, "what proposes candidates"]
    start: Annotated[Networks, "first candidates: architectures as text, names that the space knows, run folders"] = (
        Field(default_factory=list)
    )
    stop: Annotated[Stop, "when to end, whichever comes first"] = Stop()
    executor: Annotated[ExecutorSection | None, "where candidates are evaluated"]
    latency: Annotated[LatencySection | None, "where the latencies come from that `limits.latency` bounds"]
    finalists: Annotated[Whole, Interval(ge=0, le=1000), "best candidates, scored anew at the end; 0: none"] = 10
    ties: Annotated[Literal["flops", "score"], "which finalist wins of those that the score cannot tell apart"] = (
        "flops"
    )

    @field_validator("bands")
    @classmethod
    def _must_be_within_the_limits(cls, bands: list[int], info: ValidationInfo) -> list[int]:
        of, limits = info.data.get("bands_of", "flops"), info.data.get("limits")
        return within_limits(bands, of, getattr(limits, of, None))

    def build_space(self) -> SearchSpace[Architecture]:
        """Build the search space. Raises RecipeError if its options do not go together, or if it lacks a member."""
        space: SearchSpace[Architecture] = self._build("space")
        if self.space and (missing := [member for member in SPACE_MEMBERS if not hasattr(space, member)]):
            raise RecipeError(
                f"space ({self.space.use}): must have {', '.join(missing)}: see vkdnw_search.contracts.SearchSpace. "
                "vkdnw_search.testing.check_search_space finds what else may be wrong"
            )
        return space if self.space is None else self.space.narrowed(space)

    def build_proxy(self) -> Proxy:
        """Build the proxy. Raises RecipeError if its options do not go together."""
        proxy: Proxy = self._build("score")
        return proxy

    def build_optimizer(self, problem: Problem) -> Optimizer:
        """Build the optimizer of ``problem``. Raises RecipeError if its options do not go together."""
        optimizer: Optimizer = self._build("optimizer", problem)
        return optimizer

    def build_executor(self) -> Executor:
        """Build the executor, which the caller shuts down. Raises RecipeError if its options do not go together."""
        executor: Executor = self._build("executor")
        return executor

    def build_latency(self, context: LatencyContext) -> LatencySource:
        """Build the source of latencies. Raises RecipeError if its options do not go together, or ``context`` lacks
        what it takes.
        """
        source: Any = self._build("latency")
        try:
            built: LatencySource = source.within(context) if isinstance(source, NeedsContext) else source
        except VkdnwSearchError as error:
            raise RecipeError(f"latency ({self.latency.use if self.latency else ''}): {error}") from error
        return built

    def _build(self, section: SectionName, *arguments: object) -> Any:
        chosen: Section | None = getattr(self, section)
        if chosen is None:
            raise RecipeError(f"{section}: is not in the recipe, since its object was to be given from Python")
        try:
            return chosen.build(*arguments)
        except (VkdnwSearchError, ValueError) as error:
            raise RecipeError(f"{section} ({chosen.use}): {told(error)}") from error

    @property
    def wants_front(self) -> bool:
        """Whether the run is for the whole front of score against FLOPs."""
        return self.optimizer is not None and self.optimizer.use == "nsga2"

    def named_after(self, source: object) -> Recipe:
        """This recipe, called after the file or shipped recipe it came from, unless it has a name."""
        name = Path(source).stem if isinstance(source, str | Path) else ""
        return self if self.name is not None or not fits_a_folder(name) else self.model_copy(update={"name": name})

    def resolved(self) -> dict[str, Plain]:
        """Every value, defaults and options of plug-ins included, as plain data.

        A source of latencies that is the default is left out: it says nothing of most runs, and recipes from before
        there was a choice are the same text.
        """
        values = self._values()
        if values["latency"] == {"use": "torch", **options_in_source("latencies", "torch")().model_dump()}:
            del values["latency"]
        return values

    def _values(self) -> dict[str, Plain]:
        values: dict[str, Any] = self.model_dump()
        for section in SECTIONS:
            chosen: Section | None = getattr(self, section)
            values[section] = None if chosen is None else chosen.resolved()
        return {key: plain(value, source="recipe", path=(key,)) for key, value in values.items()}

    def to_yaml(self) -> str:
        """:meth:`resolved` as text, the same for equal recipes, which :func:`load_recipe` reads back as this recipe."""
        return write_yaml(self.resolved())

    def difference(self, other: Recipe) -> list[Change]:
        """The values in which ``other`` is not this recipe, in the order of the keys."""
        return list(changes_between(self._values(), other._values(), ()))


def load_recipe(
    source: str | Path | Mapping[str, Any] | Recipe,
    overrides: Sequence[str] = (),
    *,
    supplied: Collection[SectionName] = (),
) -> Recipe:
    """Read and check the recipe of a file, of a shipped name such as ``mbv2_600M``, or of a mapping.

    Args:
        source: a path wins over a shipped name.
        overrides: ``"stop.evaluations=200"``. A section given as a whole (``"optimizer=random"``) replaces the old
            one; ``"optimizer.use=random"`` keeps the options that the other plug-in has too, and a warning is logged
            that names the rest. A limit given as one number (``"limits.flops=450M"``) is a new maximum beside the
            recipe's minimum; ``"limits.flops={max: 450M}"`` replaces both.
        supplied: sections whose objects Python gives: they may be absent, and what the recipe says of them is dropped.

    Raises:
        RecipeError: it cannot be found, read or used; all faults at once, one per line.
    """
    if isinstance(source, str | Path):
        return parse_recipe(_read(source), overrides, source=_label(source), supplied=supplied)
    tree = source.resolved() if isinstance(source, Recipe) else plain(source, source="recipe")
    return _checked(tree, {}, overrides, source="recipe", supplied=supplied)


def parse_recipe(
    text: str | bytes, overrides: Sequence[str] = (), *, source: str, supplied: Collection[SectionName] = ()
) -> Recipe:
    """Read and check the recipe in ``text``, which errors call ``source``. Otherwise as :func:`load_recipe`."""
    document = read_yaml(text, source=source)
    return _checked(document.tree, document.lines, overrides, source=source, supplied=supplied)


def shipped_recipes() -> dict[str, Path]:
    """Name → file of the recipes that come with this project."""
    return {path.stem: path for path in sorted(_shipped_folder().glob("*.yaml"))}


def folder_of_recipe(source: object) -> Path:
    """The folder in which files are that a recipe names: its own; of one that ships or is no file, the current one."""
    is_file = isinstance(source, str | Path) and Path(source).is_file()
    return Path(str(source)).parent if is_file else Path()


def _shipped_folder() -> Path:
    installed = Path(str(resources.files("vkdnw_search"))) / "recipes"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "recipes"  # the latter in a checkout


def _label(source: str | Path) -> str:
    return str(source) if str(source).isprintable() else shown(str(source))


def _read(source: str | Path) -> bytes:
    shipped_files = shipped_recipes()
    if str(source).endswith(".py"):
        raise RecipeError(
            f"{_label(source)}: must be a recipe, which is YAML, but is Python. Code joins by --plugin, and a "
            "recipe uses what it declares by name, as in examples/my.yaml"
        )
    try:
        path = Path(source)
        if not path.is_file() and str(source) in shipped_files:
            path = shipped_files[str(source)]
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        names = list(shipped_files)
        raise RecipeError(
            f"{_label(source)}: there is no such file, and no shipped recipe of that name: {', '.join(names)}."
            f"{nearest(Path(source).stem, names)}"
        ) from None
    except IsADirectoryError:
        raise RecipeError(
            f"{_label(source)}: must be a recipe file, but is a folder. A run folder's recipe is in its recipe.yaml; "
            f"shipped are {', '.join(shipped_files)}"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecipeError(f"{_label(source)}: cannot be read: {reason}") from error


def _checked(
    tree: Plain,
    lines: Mapping[Keys, int],
    texts: Sequence[str],
    *,
    source: str,
    supplied: Collection[SectionName],
) -> Recipe:
    """The recipe that ``tree`` becomes by the overrides ``texts``, or one RecipeError with all faults."""
    if not isinstance(tree, dict):
        raise RecipeError(f"{source}: must be a mapping of keys such as `space: mobilenet`, but is {shown(tree)}")
    read = {**dict.fromkeys(SECTIONS), **DEFAULT_PLUGINS, **tree}
    tree, overrides, told = _overridden(read, texts)
    tree = without_lost_options(tree, read, overrides) | dict.fromkeys(supplied)
    faults = list(absences(tree, supplied))
    try:
        context = Context(full_names(Recipe, tree), options_in_source)  # without torch, which takes seconds to import
        recipe = Recipe.model_validate(tree, context=context)
        if not (told or faults):
            recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        faults += faults_of(tree, error)
    told += [line_about(fault, source=source, lines=lines, overrides=overrides) for fault in faults]
    if told:
        raise RecipeError(first_of(told))
    return recipe


def _overridden(tree: dict[str, Plain], texts: Sequence[str]) -> tuple[dict[str, Plain], list[Override], list[str]]:
    """``tree`` after the overrides, those that could be applied, and the faults of the others."""
    applied, faults = [], []
    for text in texts:
        try:
            override = parse_override(text)
            tree = override.applied(tree)
            applied.append(override)
        except RecipeError as error:
            faults.append(str(error))
    return tree, applied, faults
