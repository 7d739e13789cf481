"""What commands without a recipe read from the command line, and the plug-ins made with such options."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vkdnw_search.errors import RecipeError, RunFolderError, VkdnwSearchError
from vkdnw_search.options.checked import Checked
from vkdnw_search.quantities import LARGEST
from vkdnw_search.recipe.overrides import parse_override
from vkdnw_search.recipe.registry import Kind, find, options_in_source, options_of


def read_settings(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """space.num_classes=100 → {"space": {"num_classes": 100}}."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        override = parse_override(text)
        if len(override.path) != 2:
            raise RecipeError(f"{override.label}: must have the form NAME.OPTION=VALUE, such as vkdnw_single.images=32")
        name, option = map(str, override.path)
        found.setdefault(name, {})[option] = override.value
    return found


def read_executor(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of an executor, as a recipe has them: ``dask``, ``{use: dask, address: tcp://…}``.

    Raises:
        RecipeError: it is neither a name nor a mapping with ``use``.
        PluginError: there is no such executor.
    """
    value = parse_override(f"executor={text}").value
    options: dict[str, Any] = dict(value) if isinstance(value, dict) else {"use": value}
    name = options.pop("use", None)
    if not isinstance(name, str):
        example = "dask or {use: processes, workers: 2}"
        raise RecipeError(f"--executor: must be a name or a mapping with use, such as {example}, but is {text!r}")
    check_plugin("executors", name, options)
    return name, options


def positive(text: str) -> int:
    """A number of seeds, workers and the like, for argparse."""
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to 1024, but is {text!r}")
    return int(text)


def shape(text: str) -> tuple[int, ...]:
    """The shape of an input, such as 3,224,224, for argparse."""
    sizes = [size.strip() for size in text.replace("x", ",").split(",")]
    if not all(size.isdecimal() and 1 <= int(size) <= 10**6 for size in sizes):
        raise argparse.ArgumentTypeError(
            f"must be whole numbers of at least 1, at most a million, such as 3,224,224, but is {text!r}"
        )
    return tuple(map(int, sizes))


def seed(text: str) -> int:
    """A seed, for argparse: a whole number as a recipe's seed is."""
    if not text.isdecimal() or int(text) > LARGEST:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to {LARGEST}, but is {text!r}")
    return int(text)


def file_to_write(text: str) -> Path:
    """A file that is to be written, for argparse."""
    path = Path(text)
    if path.is_dir() or not path.name or text.endswith("/"):
        raise argparse.ArgumentTypeError(f"must be a file to write, such as {path / 'NAME'}, but {text!r} is a folder")
    return path


def add_accept_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--accept-changed-code``, which continues what other code has begun."""
    parser.add_argument(
        "--accept-changed-code", action="store_true",
        help="continue although versions or plug-in files that scores come from have changed since, and say so",
    )  # fmt: skip


def add_with_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--with``, any number of times: networks of the user's beside what a search finds."""
    parser.add_argument(
        "--with", metavar="STRUCTURE|NAME|FILE.py[:CLASS]", action="append", default=[], dest="others",
        help="a network to see beside the winner, such as yours of today: an architecture of the space as text, a name "
        "that the space gives one, or a Python file, whose code runs; repeatable",
    )  # fmt: skip


def must_be_new(files: Sequence[Path], *, option: str = "--to") -> None:
    """Refuse files that are there: nothing outside a run folder is written over.

    Args:
        files: that are to be written.
        option: what names them on the command line.

    Raises:
        RunFolderError: naming the first of them.
    """
    for file in files:
        if os.path.lexists(file):
            raise RunFolderError(
                f"{file}: is there already, and was left as it is. Remove it, or name another with {option}"
            )


def check_plugin(kind: Kind, name: str, options: Mapping[str, Any]) -> None:
    """Find what is wrong with the name or the options of a plug-in, without importing torch for it.

    Raises:
        PluginError: there is no such plug-in.
        RecipeError: it does not take these options; the message has all that is wrong with them.
    """
    _checked(options_in_source(kind, name), name, options)


def build_plugin(kind: Kind, name: str, options: Mapping[str, Any]) -> Any:
    """The plug-in ``name`` with these options.

    Raises:
        PluginError: there is no such plug-in.
        RecipeError: it does not take these options, or they do not go together.
    """
    checked = _checked(options_of(kind, name), name, options)
    try:
        return find(kind, name)(**checked)
    except ValueError as error:
        if isinstance(error, VkdnwSearchError):
            raise
        raise RecipeError(f"{name}: {error}") from error


def _checked(model: type[Checked], name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return model.model_validate(dict(options)).model_dump()
    except ValidationError as error:
        faults = (f"{name}.{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise RecipeError("\n".join(faults)) from None
