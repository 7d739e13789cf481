"""The errors of this project: each says where, what must hold, what came, and how to mend it.

Every error a user can cause is a :class:`VkdnwSearchError`, so one ``except`` catches them all, and also the
built-in it resembles, so code that knows nothing of this project still catches it sensibly.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VkdnwSearchError(Exception):
    """Base of all errors raised on purpose by this project."""


class RecipeError(VkdnwSearchError, ValueError):
    """A recipe, or an override of one, is not valid. The message lists every fault, one per line."""


class PluginError(VkdnwSearchError, LookupError):
    """A space, proxy, optimizer or executor of that name is not installed, or cannot be loaded."""


class SpaceError(VkdnwSearchError, ValueError):
    """A genome or an architecture text does not belong to the search space."""


class BudgetError(VkdnwSearchError, ValueError):
    """A network cannot be counted, for instance because an operator is unknown to the counter."""


class UnknownOperators(BudgetError):
    """Operators that are neither known to the counter nor declared free; ``operators`` has their names."""

    def __init__(self, message: str, operators: Iterable[str]) -> None:
        self.operators = tuple(operators)
        super().__init__(message)


class ScoreError(VkdnwSearchError, ValueError):
    """Settings of a score that cannot give a meaningful value for this network."""


class DegenerateNetwork(VkdnwSearchError, ArithmeticError):
    """The network has no usable score (nothing trainable reaches the output, or values are not finite).

    Inside a search this is a recorded failure of one candidate, not an error of the run.
    """


class CandidateLost(VkdnwSearchError, RuntimeError):
    """Scoring a candidate ended its worker again and again, or took more time or memory than it may.

    Inside a search this is a recorded failure of one candidate, not an error of the run.
    """


class RankingError(VkdnwSearchError, ValueError):
    """Scores and accuracies that cannot be compared, or an accuracy table that cannot be read."""


class OptimizerError(VkdnwSearchError, RuntimeError):
    """Ask and tell were not called in turn, or what is told is not what was asked."""


class RunFolderError(VkdnwSearchError, FileExistsError):
    """The run folder cannot be used: it holds something else, another recipe, or another process."""


class ExportError(VkdnwSearchError, RuntimeError):
    """What is to be left of a run cannot be written, or does not reproduce the network that was searched."""


class ExecutionError(VkdnwSearchError, RuntimeError):
    """Evaluating a candidate raised an unexpected exception; the message names the architecture."""


class ConformanceError(VkdnwSearchError, AssertionError):
    """A plug-in breaks its contract. The message has a sentence for every finding, and ``findings`` has them apart."""

    def __init__(self, what: str, findings: Iterable[str]) -> None:
        self.findings = tuple(findings)
        super().__init__(f"{what} breaks its contract:\n" + "\n".join(f"  * {finding}" for finding in self.findings))


def nearest(word: str, choices: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` for the choice closest to ``word``, or an empty string if none is close."""
    match = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" Did you mean {match[0]!r}?" if match else ""
