"""The errors of this project: each says where, what must hold, what came, and how to mend it.

Every error a user can cause is a :class:`VkdnwSearchError`, so one ``except`` catches them all, and also the
built-in it resembles, so code that knows nothing of this project still catches it sensibly.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import PurePath


class VkdnwSearchError(Exception):
    """The base of all errors raised on purpose by this project."""


class RecipeError(VkdnwSearchError, ValueError):
    """A recipe, or an override of one, is not valid. The message lists every fault, one per line."""


class OptionError(VkdnwSearchError, ValueError):
    """An option of a plug-in is not what its type says. The message lists every fault, one per line."""


class PluginError(VkdnwSearchError, LookupError):
    """A space, proxy, optimizer, executor or source of latencies of that name is not installed, or cannot be loaded."""


class SpaceError(VkdnwSearchError, ValueError):
    """A genome or an architecture text does not belong to the search space, or an option of the space is wrong."""


class BudgetError(VkdnwSearchError, ValueError):
    """A network cannot be counted, for instance because an operator is unknown to the counter."""


class UnknownOperators(BudgetError):
    """A network has operators that are neither known to the counter nor declared free; ``operators`` names them."""

    def __init__(self, message: str, operators: Iterable[str]) -> None:
        self.operators = tuple(operators)
        super().__init__(message)


class LatencyError(BudgetError):
    """Latencies cannot be had: a table is damaged or of another space, or whatever would time them is missing."""


class LatencyUnknown(LatencyError):
    """One network or part cannot be timed.

    Inside a search a candidate with such a part is recorded as outside the limits; it is not an error of the run.
    """


class ScoreError(VkdnwSearchError, ValueError):
    """The settings of a score cannot give a meaningful value for this network."""


class DegenerateNetwork(VkdnwSearchError, ArithmeticError):
    """The network has no usable score (nothing trainable reaches the output, or values are not finite).

    Inside a search this is a recorded failure of one candidate, not an error of the run.
    """


class CandidateLost(VkdnwSearchError, RuntimeError):
    """Scoring a candidate ended its worker again and again, or took more time or memory than it may.

    Inside a search this is a recorded failure of one candidate, not an error of the run.
    """


class RankingError(VkdnwSearchError, ValueError):
    """Scores and accuracies cannot be compared, or an accuracy table cannot be read."""


class OptimizerError(VkdnwSearchError, RuntimeError):
    """Ask and tell were not called in turn, what is told is not what was asked, or what was given is no optimizer."""


class RunFolderError(VkdnwSearchError, FileExistsError):
    """The run folder cannot be used: it holds something else, another recipe, or another process."""


class ExportError(VkdnwSearchError, RuntimeError):
    """What is to be left of a run cannot be written, or does not reproduce the network that was searched."""


class RaceError(VkdnwSearchError, RuntimeError):
    """A race cannot be run: its data, its networks or its folder are not what they must be."""


class YardstickError(VkdnwSearchError, ValueError):
    """A network that a search is to be held against cannot be read, built or counted; nothing was searched."""


class ExecutionError(VkdnwSearchError, RuntimeError):
    """Evaluating a candidate raised an unexpected exception; the message names the architecture."""


class ConformanceError(VkdnwSearchError, AssertionError):
    """A plug-in breaks its contract. The message has a sentence for every finding, and ``findings`` has them apart."""

    def __init__(self, what: str, findings: Iterable[str]) -> None:
        self.findings = tuple(findings)
        super().__init__(f"{what} breaks its contract:\n" + "\n".join(f"  * {finding}" for finding in self.findings))


def told(error: BaseException) -> str:
    """What ``error`` says; of one without a text, as a failed ``assert`` is, its type and the line that raised it."""
    if text := str(error).strip():
        return text
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {PurePath(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line}" if frames else ""
    return f"{type(error).__name__}{where}"


def named(error: BaseException) -> str:
    """The type of ``error`` and what it says."""
    return f"{type(error).__name__}: {error}" if str(error).strip() else told(error)


LONGEST = 300
"""Characters that an error repeats of a damaged text."""


def shortened(text: object) -> str:
    """``text`` on one line, and no longer than an error may repeat it, for it may be a stranger's."""
    line = " ".join(str(text).split())
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line[: LONGEST + 1])
    return printable if len(printable) <= LONGEST else f"{printable[:LONGEST]}…"


def nearest(word: str, choices: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` for the choice closest to ``word``, or an empty string if none is close."""
    return "".join(f" Did you mean {match!r}?" for match in close_matches(word, choices))


def close_matches(word: str, choices: Iterable[str], *, cutoff: float = 0.5) -> list[str]:
    """The choice closest to ``word``, capitals aside, in a list; an empty list if none is close."""
    folded = {choice.lower(): choice for choice in choices}
    return [folded[match] for match in difflib.get_close_matches(word.lower(), folded, n=1, cutoff=cutoff)]
