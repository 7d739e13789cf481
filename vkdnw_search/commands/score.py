"""``vkdnw-search score``: the score of one network, written by hand, exported by a run, or a text of a search space."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_args

from vkdnw_search.commands.settings import build_plugin, check_plugin, positive, read_settings, seed, shape
from vkdnw_search.contracts import AnyProxy, HasRelativeFitness, Likelihood
from vkdnw_search.determinism import forked_generators, seed_from
from vkdnw_search.errors import PluginError, RecipeError, nearest
from vkdnw_search.quantities import score_text
from vkdnw_search.recipe.registry import add_plugin_option, file_module, load_plugins, named_module, names
from vkdnw_search.runs.judgement import standard_error

if TYPE_CHECKING:
    from vkdnw_search.commands.scored_network import Reading, Target
    from vkdnw_search.proxies.subject import Likelihoods
    from vkdnw_search.records import Score

DESCRIPTION = """Scores one network. NETWORK is

  FILE.py[:NAME]     a class or function of a file, by default Network: best/model.py of a run, or yours
  MODULE:NAME        the same of an importable module, such as torchvision.models:resnet18
  SPACE              a search space, with --text: vkdnw-search score nasbench201 --text '|nor_conv_3x3~0|+|…|'

A file or module is imported, so its code runs."""

HEADS = "label=categorical,depth=gaussian"
"""How the outputs of several heads are told apart, for help and errors."""


def run_score(words: Sequence[str]) -> str:
    """Score as ``words`` say. Returns what there is to show.

    Raises:
        VkdnwSearchError: whatever is wrong.
    """
    options = _parse(words)
    load_plugins(options.plugin)
    settings = read_settings(options.settings)
    of_space, of_proxy = settings.pop("space", {}), settings.pop(options.proxy, {})
    if settings:
        raise RecipeError(f"{next(iter(settings))}: settings must begin with 'space' or {options.proxy!r}")
    check_plugin("proxies", options.proxy, of_proxy)
    target = _target(options, of_space)

    from vkdnw_search.commands.scored_network import scores_of, size

    proxy = build_plugin("proxies", options.proxy, of_proxy)
    scores, told = scores_of(target, proxy, range(options.seed, options.seed + options.seeds))
    rows = [("network", target.name), *told, *_verdict(options.proxy, proxy, scores), *size(target)]
    return "\n".join(f"{name:12} {text}" for name, text in rows)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="vkdnw-search score", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", metavar="NETWORK", help="see above")
    parser.add_argument("settings", metavar="key=value", nargs="*", help="e.g. vkdnw_single.images=128 space.cells=3")
    parser.add_argument("--text", metavar="TEXT", help="architecture, in the text form of the space")
    parser.add_argument(
        "--input-shape", metavar="C,H,W", type=shape, action="append",
        help="of one input (default: that of the search, or 3,224,224); once for each where there are several. One "
        "number is the length of a sequence of tokens, for networks of tokens",
    )  # fmt: skip
    parser.add_argument(
        "--likelihood", metavar="KIND|OUTPUT=KIND,…", type=_likelihood,
        help="what the outputs stand for: classes (categorical), numbers (gaussian), yes or no (bernoulli), or auto "
        "(default: what the space says, or auto: classes); for several outputs that count, each by name or position: "
        + HEADS,
    )  # fmt: skip
    parser.add_argument(
        "--output", metavar="NAME|NUMBER", type=_output, help="name or position of the output that counts, of several"
    )
    parser.add_argument(
        "--class-axis", metavar="AXIS", type=int, help="where the classes are, if not along axis 1: -1 for (N, L, C)"
    )
    parser.add_argument("--proxy", metavar="NAME", default="vkdnw_single", help="default: %(default)s")
    parser.add_argument("--seed", metavar="N", type=seed, default=0, help="of the first initialization")
    parser.add_argument("--seeds", metavar="K", type=positive, default=1, help="initializations (default: 1)")
    add_plugin_option(parser)
    return parser.parse_intermixed_args(list(words))


def _likelihood(text: str) -> Likelihoods:
    """What the outputs stand for, all of them or each by name or position: label=categorical,depth=gaussian."""
    if "=" not in text:
        return _kind(text)
    parts = [part.rpartition("=") for part in text.split(",")]
    heads = {_output(name.strip()): _kind(kind.strip()) for name, _, kind in parts}
    if "" in heads or len(heads) < len(parts):
        raise argparse.ArgumentTypeError(f"must name each output once, such as {HEADS}, but is {text!r}")
    return heads


def _kind(text: str) -> Likelihood:
    kinds = get_args(Likelihood)
    if text not in kinds:
        raise argparse.ArgumentTypeError(
            f"must be one of {', '.join(kinds)}, or one for each output such as {HEADS}, but is {text!r}."
            f"{nearest(text, kinds)}"
        )
    return next(kind for kind in kinds if kind == text)


def _output(text: str) -> str | int:
    return int(text) if text.lstrip("-").isdecimal() else text


def _target(options: argparse.Namespace, of_space: Mapping[str, Any]) -> Target:
    """The network to score. Torch, which takes seconds to import, is imported once it is clear that there is one."""
    if options.network in names("spaces"):
        if options.text is None:
            raise RecipeError(f"score {options.network}: must have --text, an architecture of that space as text")
        check_plugin("spaces", options.network, of_space)
        from vkdnw_search.commands.scored_network import in_space

        return in_space(options.network, of_space, options.text, _reading(options), options.seed)
    if options.text is not None or of_space:
        raise RecipeError(
            f"score {options.network}: --text and space.… are for search spaces ({', '.join(names('spaces'))})"
        )
    file, _, name = options.network.rpartition(":") if ":" in options.network else (options.network, "", "Network")
    module = _module(file, options.seed)
    from vkdnw_search.commands.scored_network import in_module

    return in_module(module, name, options.network, _reading(options), options.seed)


def _reading(options: argparse.Namespace) -> Reading:
    from vkdnw_search.commands.scored_network import Reading

    shapes = options.input_shape or []
    return Reading(
        input_shape=tuple(shapes) if len(shapes) > 1 else next(iter(shapes), None),
        likelihood=options.likelihood,
        output=options.output,
        class_axis=options.class_axis,
    )


def _module(source: str, seed: int) -> ModuleType:
    """What is imported; a network that it makes on the way has the weights of ``seed``."""
    file = Path(source).resolve()
    try:
        if source.endswith(".py") and file.is_file():
            with forked_generators(seed_from(seed, "construction")):
                return file_module(file)
        return file_module(file) if source.endswith(".py") else named_module(source)
    except PluginError as error:
        raise PluginError(
            f"{source}: must be a Python file, an importable module or a search space ({', '.join(names('spaces'))}), "
            f"but: {error}"
        ) from error


def _verdict(name: str, proxy: AnyProxy, scores: Sequence[Score]) -> list[tuple[str, str]]:
    """The score and its terms, means over the initializations."""
    first, values = scores[0], [s.value for s in scores]
    error = standard_error(values) if len(values) > 1 else first.standard_error
    told = f" over {len(values)} initializations" if len(values) > 1 else ""
    terms = [(term, f"{fmean(s.terms[term] for s in scores):.6g}") for term in first.terms]
    if isinstance(proxy, HasRelativeFitness):
        return [(name, f"compares networks with one another; a single one has terms{told}, no value"), *terms]
    return [(name, f"{score_text(fmean(values), error)}{told}"), *terms]
