"""The search: ask → evaluate → tell, until there is a reason to stop; then finalists are compared and files written."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vkdnw_search.contracts import AnyProxy, HasThreshold, Optimizer, Problem, SearchSpace
from vkdnw_search.engine.best_scores import BestScores
from vkdnw_search.engine.clock import Clock, Interrupted
from vkdnw_search.engine.evaluator import Evaluator, limits_of
from vkdnw_search.engine.finalists import FRESH, Gate, judge, scores_needed, winner
from vkdnw_search.engine.neighbours import score_neighbours
from vkdnw_search.engine.requirements import must_suit
from vkdnw_search.engine.rescoring import Rescorer
from vkdnw_search.engine.session import Listener, Session
from vkdnw_search.errors import OptimizerError
from vkdnw_search.execution.script_guard import must_not_be_a_worker
from vkdnw_search.output.module import export_all, must_have_source
from vkdnw_search.proxies.plain import must_be_proxy
from vkdnw_search.recipe.recipe import Recipe, SectionName, load_recipe
from vkdnw_search.runs.folder import RunFolder
from vkdnw_search.runs.judgement import Judgement
from vkdnw_search.runs.result import FoundNetwork, Result

LOGGER = logging.getLogger(__name__)


def search(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    space: SearchSpace[Any] | None = None,
    proxy: AnyProxy | None = None,
    optimizer: Callable[[Problem], Optimizer] | None = None,
    listener: Listener = lambda evaluation: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Result:
    """Search as ``recipe`` says, and export the winner.

    Args:
        recipe: a file, the name of a shipped recipe such as ``"nb201"``, or the same as a mapping.
        overrides: changes of it, such as ``"limits.flops=450M"``.
        out: the run folder. A run of this recipe that is there is continued. None keeps everything in memory.
        space: a search space in place of the one the recipe names.
        proxy: a proxy in place of the one the recipe names, or a plain function of the network that gives a number.
        optimizer: makes an optimizer of the problem, in place of the one the recipe names: a class, or ``lambda
            problem: Mine(problem, children=4)``.
        listener: called with every evaluation as it is done.
        stopped: asked between candidates and between files; once it is True, what is under way is finished and the
            search ends. The same call goes on from there.

    Raises:
        RecipeError: the recipe is not valid, or its score does not suit the networks of the space.
        RunFolderError: ``out`` holds something else, or is in use.
        OptimizerError: what ``optimizer`` makes is none.
        ScoreError: ``proxy`` is none, or does not suit the networks of the space.
        SpaceError: the space cannot write its networks down, which a run folder needs.
        ExportError: the source that the space writes does not make a network.
        ExecutionError: scoring raised an unexpected exception.
    """
    given: dict[SectionName, object | None] = {"space": space, "score": proxy, "optimizer": optimizer}
    must_not_be_a_worker()
    if proxy is not None:
        must_be_proxy(proxy)
    supplied = [name for name, value in given.items() if value is not None]
    chosen = load_recipe(recipe, overrides, supplied=supplied).named_after(recipe)
    space, proxy = space or chosen.build_space(), proxy or chosen.build_proxy()
    if out is not None:
        must_have_source(space, seed=chosen.seed)
    must_suit(proxy, space, chosen)
    evaluator = Evaluator(space, limits=limits_of(chosen), proxy=proxy, seed=chosen.seed)
    proposing = _optimizer(optimizer or chosen.build_optimizer, evaluator.problem(chosen.bands))
    with RunFolder(None if out is None else Path(out), chosen) as folder:
        evaluator.survey(folder.store.note("latencies"), partial(folder.store.set_note, "latencies"))
        clock = Clock(chosen.stop.seconds, before=folder.store.elapsed(), stopped=stopped)
        with chosen.build_executor() as executor:
            LOGGER.info(folder.opening())
            session = Session(
                evaluator,
                folder.store,
                executor,
                stop=chosen.stop,
                clock=clock,
                reserve=scores_needed(chosen),
                best=BestScores(chosen.finalists, chosen.bands),
                listener=listener,
            )
            ended = explore(proposing, session)
            LOGGER.info("ended after %d candidates: %s", session.number, ended)
            judgement, unfinished = _compare(evaluator, folder, executor, clock, chosen)
        best = winner(folder.store, evaluator.proxy, judgement)
        found = None if best is None else FoundNetwork(space, best)
        result = Result(
            chosen, space, proxy, found, judgement, ended, unfinished, clock.seconds(), folder.path, folder.store
        )
        return _write(result, folder, clock)


def _optimizer(make: Callable[[Problem], Optimizer], problem: Problem) -> Optimizer:
    """The optimizer of ``problem``, if it is one."""
    made = make(problem) if callable(make) else make
    if not callable(make) or isinstance(made, type) or not all(hasattr(made, member) for member in ("ask", "tell")):
        raise OptimizerError(
            f"optimizer: must make an object with ask and tell of a problem, as a class does or lambda problem: "
            f"Mine(problem), but {'gives' if callable(make) else 'is'} {made!r:.80}. "
            "vkdnw_search.testing.check_optimizer takes the same, and finds what else may be wrong"
        )
    return made


def explore(optimizer: Optimizer, session: Session) -> str:
    """Ask, evaluate and tell until there is a reason to stop, or nothing left to ask for. Returns the reason."""
    session.resume(optimizer)
    threshold = optimizer.threshold if isinstance(optimizer, HasThreshold) else lambda cost: -math.inf
    gc.freeze()  # what is there stays: looking through it for garbage takes .15 s each time, for which workers wait
    try:
        while (reason := session.stop_reason()) is None:
            genomes = session.ask(optimizer)
            generation = session.evaluate(genomes, threshold=threshold)
            if generation.nothing_left:
                return f"the space is exhausted: all of its {session.number} architectures were visited"
            session.tell(optimizer, generation)
    finally:
        gc.unfreeze()
    return reason


def _compare(
    evaluator: Evaluator, folder: RunFolder, executor: Executor, clock: Clock, recipe: Recipe
) -> tuple[Judgement | None, str]:
    """Compare the finalists and score the neighbours of the winner. Returns also what could not be done, and why."""
    judgement = None
    rescorer = Rescorer(evaluator, folder.store, executor, clock)
    try:
        clock.check()
        if recipe.finalists:
            LOGGER.info("scoring the best and the baselines anew on %d initializations", FRESH)
        judgement = judge(evaluator, folder.store, rescorer, Gate(evaluator, executor, clock), recipe)
        best = winner(folder.store, evaluator.proxy, judgement)
        if best is not None and recipe.finalists:
            LOGGER.info("scoring the networks one step from the winner")
            folder.write_neighbours(score_neighbours(best, evaluator, rescorer))
    except Interrupted as interruption:
        left = "the finalists were compared" if judgement is None else "the neighbours of the winner were scored"
        return judgement, f"{interruption} before {left}"
    return judgement, ""


def _write(result: Result, folder: RunFolder, clock: Clock) -> Result:
    """Write what the run leaves. A stop that was asked for before lets the winner and the report be written."""
    folder.write_results(result.evaluations())
    folder.write_judgement(result.judgement)
    if folder.path is None:
        return result
    from vkdnw_search.output.report import write_report  # draws: a second, which workers need not spend

    networks = result.networks(folder.path)
    if clock.is_interrupted():
        networks, check = networks[:1], lambda: None
    else:
        check = clock.check_interruption
    try:
        export_all(networks, recipe=result.recipe, check=check)
        LOGGER.info("writing the report")
        write_report(folder.path, space=result.space, proxy=result.proxy, check=check)
    except Interrupted as interruption:
        return replace(result, unfinished=f"{interruption} before all files were written")
    return result
