"""``--latency-command``: the command that times networks, which no recipe can name."""

from __future__ import annotations

import argparse
import shlex

from vkdnw_search.contracts import LatencyContext
from vkdnw_search.recipe.recipe import folder_of_recipe


def add_latency_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--latency-command``."""
    parser.add_argument(
        "--latency-command", metavar="'WORDS {}'", type=_words, default=(),
        help="time parts by this command, which is given an ONNX file at {} and prints milliseconds",
    )  # fmt: skip


def with_command(options: argparse.Namespace) -> list[str]:
    """The overrides of the command line, and that latencies come from a command where one is given."""
    return [*options.overrides, *(["latency.use=command"] if options.latency_command else [])]


def context_of(options: argparse.Namespace) -> LatencyContext:
    """What the recipe's source of latencies may need besides its options."""
    return LatencyContext(folder_of_recipe(options.recipe), options.latency_command)


def _words(text: str) -> tuple[str, ...]:
    """The words of a command as a shell has them, for argparse."""
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a command, but: {error}") from error
    if not words:
        raise argparse.ArgumentTypeError("must be a command such as 'python time_one.py {}', but is empty")
    return words
