"""The search: ask → evaluate → tell, until there is a reason to stop; then the winner is exported."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vkdnw_search.contracts import Optimizer, Proxy, SearchSpace
from vkdnw_search.engine.best_scores import BestScores
from vkdnw_search.engine.evaluator import Evaluator, limits_of
from vkdnw_search.engine.finalists import FRESH, judge, winner
from vkdnw_search.engine.neighbours import score_neighbours
from vkdnw_search.engine.requirements import must_suit
from vkdnw_search.engine.session import Listener, Session
from vkdnw_search.output.module import export_all, must_have_source
from vkdnw_search.recipe.recipe import Recipe, SectionName, load_recipe
from vkdnw_search.runs.folder import RunFolder
from vkdnw_search.runs.result import FoundNetwork, Result

LOGGER = logging.getLogger(__name__)


def search(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    space: SearchSpace[Any] | None = None,
    proxy: Proxy | None = None,
    listener: Listener = lambda evaluation: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Result:
    """Search as ``recipe`` says, and export the winner.

    Args:
        recipe: a file, the name of a shipped recipe such as ``"nb201"``, or the same as a mapping.
        overrides: changes of it, such as ``"limits.flops=450M"``.
        out: the run folder. A run of this recipe that is there is continued. None keeps everything in memory.
        space: a search space in place of the one the recipe names.
        proxy: a proxy in place of the one the recipe names.
        listener: called with every evaluation as it is done.
        stopped: asked between candidates; once it is True, those under way are finished and the search ends.

    Raises:
        RecipeError: the recipe is not valid, or its score does not suit the networks of the space.
        RunFolderError: ``out`` holds something else, or is in use.
        ScoreError: ``proxy`` does not suit the networks of the space.
        SpaceError, ExportError: the space cannot write its networks down, which a run folder needs.
        ExecutionError: scoring raised an unexpected exception.
    """
    given: dict[SectionName, object | None] = {"space": space, "score": proxy}
    supplied = [name for name, value in given.items() if value is not None]
    chosen = load_recipe(recipe, overrides, supplied=supplied).named_after(recipe)
    space, proxy = space or chosen.build_space(), proxy or chosen.build_proxy()
    if out is not None:
        must_have_source(space, seed=chosen.seed)
    must_suit(proxy, space, chosen)
    evaluator = Evaluator(space, limits=limits_of(chosen), proxy=proxy, seed=chosen.seed)
    optimizer = chosen.build_optimizer(evaluator.problem(chosen.bands))
    with RunFolder(None if out is None else Path(out), chosen) as folder:
        evaluator.survey(folder.store.note("latencies"), partial(folder.store.set_note, "latencies"))
        with chosen.build_executor() as executor:
            session = Session(
                evaluator,
                folder.store,
                executor,
                stop=chosen.stop,
                standing=BestScores(chosen.finalists, chosen.bands),
                listener=listener,
                stopped=stopped,
            )
            LOGGER.info(folder.opening())
            ended = explore(optimizer, session)
            LOGGER.info("ended after %d candidates: %s", session.number, ended)
            if chosen.finalists and not stopped():
                LOGGER.info("scoring the best and the baselines anew on %d initializations", FRESH)
            judgement = None if stopped() else judge(evaluator, folder.store, executor, chosen)
            best = winner(folder.store, proxy, judgement)
            if best is not None and chosen.finalists and not stopped():
                LOGGER.info("scoring the networks one step from the winner")
                folder.write_neighbours(score_neighbours(best, evaluator, executor))
        found = None if best is None else FoundNetwork(space, best)
        result = Result(chosen, space, proxy, found, judgement, ended, session.seconds(), folder.path, folder.store)
        folder.write_results(result.evaluations())
        folder.write_judgement(judgement)
        if folder.path is not None:
            export_all(result.networks(folder.path), recipe=chosen)
            LOGGER.info("writing the report")
            from vkdnw_search.output.report import report  # draws: a second, which workers need not spend

            report(folder.path, space=space, proxy=proxy)
    return result


def explore(optimizer: Optimizer, session: Session) -> str:
    """Take turns until the session is over or the optimizer has nothing left. Returns why it ended."""
    session.resume(optimizer)
    gc.freeze()  # what is there stays: looking through it for garbage takes .15 s each time, for which workers wait
    try:
        while not (ended := session.over()):
            evaluations = session.evaluate(optimizer)
            if session.exhausted:
                return f"the space is exhausted: all of its {session.number} architectures were visited"
            session.refit(optimizer, evaluations)
            optimizer.tell(evaluations)
            session.keep(optimizer)
    finally:
        gc.unfreeze()
    return ended
