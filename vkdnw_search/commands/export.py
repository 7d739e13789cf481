"""``vkdnw-search export``: any network that a run has visited, in any form."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from vkdnw_search.atomic_files import all_or_nothing
from vkdnw_search.commands.settings import build_plugin, check_plugin, file_to_write, must_be_new, positive, seed
from vkdnw_search.contracts import Architecture, HasEncoding, HasText, SearchSpace
from vkdnw_search.errors import ExportError, RecipeError, RunFolderError, SpaceError, VkdnwSearchError
from vkdnw_search.quantities import whole
from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.recipe.registry import add_plugin_option, load_plugins
from vkdnw_search.records import Cost, Evaluation
from vkdnw_search.runs.contents import PROGRAMS
from vkdnw_search.runs.reader import RunReader, must_be_a_run
from vkdnw_search.runs.result import FoundNetwork, unvisited

SUFFIXES = {"python": "model.py", "torch-export": "model.pt2", "onnx": "model.onnx", "structure": "structure.txt"}


def run_export(words: Sequence[str]) -> str:
    """Export as ``words`` say. Returns what to show: the files written, and what is to be said of them.

    Raises:
        RunFolderError: the folder is no run, or has no such network.
        ExportError: what was to be written cannot be, or does not compute what the network does. Nothing is kept.
    """
    options = _parse(words)
    load_plugins(options.plugin)
    most = None if options.flops is None else _number(options.flops)
    if options.text is not None:
        check_plugin("spaces", options.folder.name, {})
    else:
        must_be_a_run(options.folder)
    if options.text is not None:
        return "\n".join(_exported(_written(options.folder.name, options.text), Path(), options, None))
    with RunReader(options.folder) as visited:
        chosen, recipe = [visited.found(e) for e in _chosen(visited, options, most)], visited.recipe
    places = [options.folder / "exports" / f"{found.evaluation.number}" for found in chosen]
    return "\n".join(
        line for found, place in zip(chosen, places, strict=True) for line in _exported(found, place, options, recipe)
    )


def _exported(found: FoundNetwork, place: Path, options: argparse.Namespace, recipe: Recipe | None) -> list[str]:
    """Write one network, by default to ``place``. Returns all lines that are shown to the user."""
    found = _with(found, num_classes=options.num_classes, channels_in=options.channels_in)
    path: Path = options.to or place / _name(options)
    written = _files(path, options)
    if options.to is not None or options.text is not None:
        must_be_new(written)
    try:
        within = options.folder if path.is_relative_to(place) and options.to is None else None
        with all_or_nothing(path.parent, within=within) as drafts, _torch_silent():
            remarks = _write(found, drafts / path.name, options, recipe)
            for program in PROGRAMS:
                if os.path.lexists(path.parent / program):  # users change it
                    (drafts / program).unlink(missing_ok=True)
    except VkdnwSearchError:
        raise
    except OSError as error:
        raise ExportError(
            f"{path.parent}: files cannot be written there: {error.strerror or error}. Nothing was kept; name another "
            "place with --to"
        ) from error
    return [*map(str, written), *remarks]


def _name(options: argparse.Namespace) -> str:
    """What the file is called by default."""
    if options.int8:
        return "model.int8.onnx"
    return "backbone.py" if options.backbone else SUFFIXES[options.format]


@contextmanager
def _torch_silent() -> Iterator[None]:
    """Without what torch's exporters log and print where they fail, pages of it; the error says it in a sentence."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _files(path: Path, options: argparse.Namespace) -> list[Path]:
    """All files that are shown to the user, which must not be one."""
    from vkdnw_search.output.module import description_of  # torch, which takes seconds to import

    files = [path]
    if options.format == "python":
        files.append(description_of(path))
    if options.weights:
        files.append(path.with_suffix(".safetensors"))
    if len(set(files)) < len(files):
        raise RunFolderError(f"--to: {path.name} is the name of another file written beside; end it with .py, say")
    return files


def _write(found: FoundNetwork, path: Path, options: argparse.Namespace, recipe: Recipe | None) -> list[str]:
    """Write the network, and what belongs to it beside. Returns what is to be said of it."""
    from vkdnw_search.output.module import export

    if options.format == "python":
        export(found, path, recipe=recipe, backbone=options.backbone)
    elif options.format == "structure":
        path.write_text(found.key + "\n", encoding="utf-8")
    if options.format in ("torch-export", "onnx") or options.weights:
        return _write_network(found, path, options)
    return []


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vkdnw-search export", description="A visited network in any form.")
    parser.add_argument(
        "folder", metavar="DIR|SPACE", type=Path, help="run folder, finished or not; with --text a search space"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--text", metavar="TEXT", help="an architecture of SPACE as text, such as a published one")
    which.add_argument("--rank", type=int, metavar="K", help="the K-th best, finalists first (default: the best)")
    which.add_argument("--top", type=positive, metavar="K", help="the K best, each to DIR/exports/NUMBER")
    which.add_argument("--flops", metavar="450M", help="the best with at most so many FLOPs")
    which.add_argument("--number", type=int, metavar="N", help="the candidate of that number in results.csv")
    parser.add_argument("--format", choices=SUFFIXES, default="python")
    parser.add_argument(
        "--int8", action="store_true", help="quantize the ONNX file, for one image at a time, by random images"
    )
    parser.add_argument("--backbone", action="store_true", help="define Backbone, too: feature maps of the stages")
    parser.add_argument(
        "--to", type=file_to_write, metavar="PATH", help="file to write (default: under DIR/exports, or here)"
    )
    parser.add_argument(
        "--num-classes", type=int, metavar="N", help="other than those searched for, in every space that ships"
    )
    parser.add_argument(
        "--channels-in",
        type=int,
        metavar="N",
        help="of the images, such as 1 for grey ones: other than those searched for, in every space that ships",
    )
    parser.add_argument(
        "--network",
        type=_mapping,
        default={},
        metavar="JSON",
        help='more arguments of Network, e.g. {"dropout": 0.2}',
    )
    parser.add_argument("--weights", choices=["safetensors"], help="also write initial weights")
    parser.add_argument("--seed", type=seed, default=0, help="of the initial weights")
    add_plugin_option(parser)
    options = parser.parse_args(words)
    if options.format in ("python", "structure") and options.network and not options.weights:
        parser.error("--network: Network of model.py takes them as arguments; give them there")
    if options.backbone and options.format != "python":
        parser.error("--backbone: is for --format python")
    if options.int8 and options.format != "onnx":
        parser.error("--int8: is for --format onnx")
    if options.top and options.to is not None:
        parser.error("--to: names one file, but --top exports several; leave it out, or take --rank")
    return options


def _mapping(text: str) -> dict[str, Any]:
    """A JSON object, for argparse."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"must be JSON such as '{{\"dropout\": 0.2}}', but: {error}") from error
    if not isinstance(content, dict):
        raise argparse.ArgumentTypeError(f"must be a JSON object such as '{{\"dropout\": 0.2}}', but is {text!r:.80}")
    return content


def _written(name: str, text: str) -> FoundNetwork:
    """The architecture ``text`` of the search space ``name``, which no run need have visited."""
    space: SearchSpace[Any] = build_plugin("spaces", name, {})
    if not isinstance(space, HasText):
        raise RecipeError(f"export {name} --text: that search space does not read architectures from text")
    architecture = space.parse(text)
    try:
        genome = space.encode(architecture) if isinstance(space, HasEncoding) else ()
    except SpaceError:
        genome = ()  # not one the genes can express, but a network all the same
    return unvisited(space, architecture, genome)


def _number(text: str) -> int:
    """How many FLOPs ``--flops`` asks for at most."""
    number = int(text) if text.isdecimal() else whole(text)
    if not isinstance(number, int):
        raise RunFolderError(f"--flops: must be a number such as 450M, but is {text!r}")
    return number


def _chosen(visited: RunReader, options: argparse.Namespace, most: int | None) -> list[Evaluation]:
    """The evaluations that the options point at, ``most`` being the FLOPs they may have."""
    if options.number is not None:
        for evaluation in visited.evaluations:
            if evaluation.number == options.number:
                return [evaluation]
        raise RunFolderError(f"--number: must be in 0 … {len(visited.evaluations) - 1}, but is {options.number}")
    ranked = visited.ranked
    if most is not None:
        ranked = [e for e in ranked if e.cost.flops <= most]
        if not ranked:
            raise RunFolderError(f"--flops: no scored network of {visited.path} has at most {options.flops} FLOPs")
    option = "--rank" if options.top is None else "--top"
    rank: int = next((given for given in (options.rank, options.top) if given is not None), 1)
    if not 1 <= rank <= len(ranked):
        raise RunFolderError(
            f"{option}: must be in 1 … {len(ranked)}, the scored networks, but is {rank}; results.csv lists them"
        )
    return ranked[:rank] if options.top is not None else ranked[rank - 1 : rank]


def _with(found: FoundNetwork, **options: int | None) -> FoundNetwork:
    """The same architecture in a space with these options, where they are given, counted anew."""
    from vkdnw_search.choices.narrowing import NarrowedSpace  # torch, which takes seconds to import

    space: Any = found.space.inner if isinstance(found.space, NarrowedSpace) else found.space
    given = {name: value for name, value in options.items() if value not in (None, getattr(space, name, None))}
    known = {field.name for field in dataclasses.fields(space)} if dataclasses.is_dataclass(space) else set()
    for name in given:
        if name not in known:
            raise ExportError(f"--{name.replace('_', '-')}: the space {space.name} has no option {name}")
    if not given:
        return found
    changed: SearchSpace[Architecture] = dataclasses.replace(space, **given)
    if isinstance(found.space, NarrowedSpace):
        changed = found.space.around(changed)
    return FoundNetwork(changed, dataclasses.replace(found.evaluation, cost=_cost(changed, found.architecture)))


def _cost(space: SearchSpace[Any], architecture: Any) -> Cost:
    from vkdnw_search.cost.counter import CostCounter

    return CostCounter(space).cost(architecture)


UNTRAINED = (
    "these weights are random, and so are the images: that says nothing of the accuracy in int8, which "
    "train.py --test-only --int8 tells once the network is trained"
)


def _write_network(found: FoundNetwork, path: Path, options: argparse.Namespace) -> list[str]:
    """The forms that hold weights. Returns what is to be said of them."""
    from vkdnw_search.output.formats import network, write_onnx, write_safetensors, write_torch_export
    from vkdnw_search.output.int8 import write_int8

    remarks = []
    model = network(found, seed=options.seed, arguments=options.network)
    if options.format == "torch-export":
        write_torch_export(model, found.input_shape, path)
    elif options.int8:
        remarks = [str(write_int8(model, found.input_shape, path)), f"warning: {UNTRAINED}"]
    elif options.format == "onnx":
        write_onnx(model, found.input_shape, path)
    if options.weights:
        fresh = network(found, seed=options.seed + 1, arguments=options.network)
        write_safetensors(model, fresh, path.with_suffix(".safetensors"))
    return remarks
