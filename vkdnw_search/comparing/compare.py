"""The comparison itself: open the runs, score their winners anew, read their races."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from vkdnw_search.comparing.contenders import LETTERS, contenders_of, listed, must_be_comparable
from vkdnw_search.comparing.outcome import Comparison
from vkdnw_search.comparing.rescored import score_anew, scorings
from vkdnw_search.engine.finalists import FRESH
from vkdnw_search.errors import RunFolderError
from vkdnw_search.execution.executors import inline, processes
from vkdnw_search.execution.script_guard import must_not_be_a_worker
from vkdnw_search.runs.reader import RunReader
from vkdnw_search.runs.result import Result


def compare(*runs: Result | Path | str, workers: int | Literal["auto"] = "auto") -> Comparison:
    """Put runs that have ended side by side: which found the better network?

    The winners of runs over the same space are scored anew on the same fresh initializations, by the proxy of each
    run, and compared by a paired t-test; winners of races in the run folders are compared by their accuracy. Nothing
    in the folders is executed or changed. Called from a script, it must stand below ``if __name__ == "__main__":``,
    unless ``workers`` is 1.

    Args:
        runs: what searches returned, or their folders; two or more.
        workers: processes, each of which scores on one thread; 1: this process alone. The outcome is the same.

    Raises:
        RunFolderError: a folder is not a run that has ended with a winner, was made with objects from Python, is
            damaged, or is given twice.
        RecipeError: the recipe of a run names a plug-in that is not there.
        ExecutionError: a proxy raised something unexpected.
    """
    must_not_be_a_worker()
    folders = [_folder(run) for run in runs]
    must_be_comparable(folders)
    with inline() if workers == 1 else processes(workers=workers) as executor:
        found = run_comparison(folders, executor=executor)
    assert found is not None, "nobody stops it"
    return found


def run_comparison(
    folders: Sequence[Path],
    *,
    executor: Executor,
    told: Callable[[str], None] = lambda line: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Comparison | None:
    """Compare the runs in ``folders``, which are different ones.

    Args:
        folders: two or more.
        executor: where the winners are scored. The outcome does not depend on it.
        told: is called with a line on what is under way.
        stopped: whether to stop, asked before each score.

    Returns:
        The comparison, or None if it was stopped.

    Raises:
        RunFolderError: as :func:`compare`.
        RecipeError: as :func:`compare`.
        ExecutionError: as :func:`compare`.
    """
    with ExitStack() as stack:
        readers = {
            letter: stack.enter_context(RunReader(folder)) for letter, folder in zip(LETTERS, folders, strict=False)
        }
        runs = contenders_of(readers)
        planned = scorings(runs, readers)
        for scoring in planned:
            winners = listed([c.letter for c in scoring.contenders])
            told(f"scoring the winners of {winners} anew by {scoring.label} on {FRESH} initializations")
        rescored = score_anew(planned, executor, stopped)
    return None if rescored is None else Comparison(runs, rescored)


def _folder(run: Result | Path | str) -> Path:
    folder = run.folder if isinstance(run, Result) else Path(run)
    if folder is None:
        raise RunFolderError(
            "compare: each search must have a folder, but one was kept in memory alone. Give search(…, out=…) one"
        )
    return folder
