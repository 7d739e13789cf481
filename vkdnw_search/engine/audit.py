"""Before a proxy's fast way is trusted: does it give, for the first network, what the literal way gives?"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from typing import Literal

from vkdnw_search.contracts import AnyProxy, HasCostScore, HasFastWay
from vkdnw_search.engine.tasks import Task, is_lack_of_memory, network_of, run_tasks
from vkdnw_search.errors import DegenerateNetwork, ExecutionError, RunFolderError, VkdnwSearchError, named
from vkdnw_search.proxies.plain import name_of
from vkdnw_search.runs.code_history import AUDIT
from vkdnw_search.runs.judgement import read_record

LOGGER = logging.getLogger(__name__)

NOTE = AUDIT
"""The name under which a run keeps the outcome, as long as its code stays the same."""


@dataclass(frozen=True, slots=True)
class AuditOutcome:
    """What came of comparing a fast way with the literal one.

    Attributes:
        verdict: ``degenerate``: the network had no usable score, and could not tell; ``lost``: the comparison exceeded
            a limit of time or memory.
        reason: why it is not ``right``, in words; empty if it is.
    """

    verdict: Literal["right", "wrong", "degenerate", "lost"]
    reason: str = ""


def audit_candidate(task: Task) -> AuditOutcome:
    """Build the network of ``task``, whose proxy has a fast way, and compare that with the literal one. In a worker.

    Raises:
        ExecutionError: anything but a degenerate network or a lack of memory; the message names the architecture.
    """
    assert isinstance(task.proxy, HasFastWay)
    try:
        with network_of(task) as (model, probe):
            differs = task.proxy.check_fast_way(model, probe)
        return AuditOutcome("wrong" if differs else "right", differs)
    except DegenerateNetwork as error:
        return AuditOutcome("degenerate", str(error))
    except VkdnwSearchError:
        raise
    except Exception as error:
        if not is_lack_of_memory(error):
            raise ExecutionError(f"checking {task.key} with {name_of(task.proxy)}: {named(error)}") from error
        return lost_audit(task, "takes more memory than there is")


def lost_audit(task: Task, reason: str) -> AuditOutcome:
    """The outcome of a comparison that its executor gave up, for ``reason``."""
    return AuditOutcome("lost", reason)


def run_audit(task: Task, executor: Executor) -> AuditOutcome:
    """Compare on ``executor``, within its limits of time and memory."""
    outcomes = run_tasks([(0, task)], executor, call=audit_candidate, lost=lost_audit, stopped=lambda: False)
    return next(outcome for _, outcome in outcomes)


class Audit:
    """Holds back a proxy's first network until the fast way was compared with the literal one, once for each folder.

    A degenerate network cannot tell; the next is asked then. A comparison that exceeds a limit is not made again: the
    fast way is used, with a warning.

    Args:
        proxy: to be checked, if it has a fast way.
        text: the outcome, as an earlier session kept it; None: there is none yet.
        keep: called with the outcome as text.
        run_one: compares for one network.
        where: the file that ``text`` came from, for errors.

    Attributes:
        proxy: what to score with: the careful one where the fast way is wrong.
        is_careful: whether it is that one.
        is_pending: whether a fast way is still to be checked.
        warning: what a user should read of the outcome; empty if nothing.

    Raises:
        RunFolderError: ``text`` is not what this program writes.
        ScoreError: the fast way is wrong, and the proxy has no other.
    """

    def __init__(
        self,
        proxy: AnyProxy,
        *,
        text: str | None,
        keep: Callable[[str], None],
        run_one: Callable[[Task], AuditOutcome],
        where: object = None,
    ) -> None:
        self.proxy, self._keep, self._run_one = proxy, keep, run_one
        self.warning, self.is_careful = "", False
        self.is_pending = isinstance(proxy, HasFastWay) and not isinstance(proxy, HasCostScore)
        if self.is_pending and text is not None:
            self._conclude(read_outcome(text, where))

    def hold(self, task: Task) -> None:
        """Compare for the network of ``task``, unless it was told already. Call it before a network is scored."""
        if not self.is_pending:
            return
        outcome = self._run_one(task)
        if outcome.verdict == "degenerate":
            return
        outcome = _worded(outcome, task)
        if outcome.reason:
            LOGGER.warning(outcome.reason)
        self._keep(json.dumps(asdict(outcome)))
        self._conclude(outcome)

    def _conclude(self, outcome: AuditOutcome) -> None:
        self.is_pending, self.warning = False, outcome.reason
        if outcome.verdict == "wrong" and isinstance(self.proxy, HasFastWay):
            self.proxy, self.is_careful = self.proxy.careful(), True


def _worded(outcome: AuditOutcome, task: Task) -> AuditOutcome:
    """The outcome with a reason that stands alone."""
    name = name_of(task.proxy)
    if outcome.verdict == "wrong":
        told = (
            f"the fast way of {name} is wrong for {task.key}: {outcome.reason}. So every network is checked, and "
            "computed the literal way where they differ, which takes longer"
        )
    elif outcome.verdict == "lost":
        told = (
            f"the fast way of {name} could not be checked on {task.key}, and is trusted: comparing it with the literal "
            f"way {outcome.reason}"
        )
    else:
        return outcome
    return replace(outcome, reason=told)


def read_outcome(text: str, where: object) -> AuditOutcome:
    """The outcome that ``text`` stands for.

    Raises:
        RunFolderError: it stands for none.
    """
    try:
        return read_record(AuditOutcome, text)
    except ValueError as error:
        raise RunFolderError(
            f"{where}: the outcome of the audit must be as it was written, but is not: {error}. Take the folder from a "
            "backup, or begin anew in another one"
        ) from error


def warnings_of(text: str | None, where: object) -> tuple[str, ...]:
    """What a user should read of an outcome that was kept."""
    reason = "" if text is None else read_outcome(text, where).reason
    return (reason,) if reason else ()
