"""The search: ask → evaluate → tell, until there is a reason to stop; then finalists are compared and files written."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from vkdnw_search.choices.narrowing import NarrowedSpace
from vkdnw_search.contracts import (
    AnyProxy,
    HasStart,
    HasThreshold,
    LatencyContext,
    LatencySource,
    Optimizer,
    Problem,
    SearchSpace,
)
from vkdnw_search.engine.best_scores import BestScores
from vkdnw_search.engine.clock import Clock, Interrupted
from vkdnw_search.engine.evaluator import Evaluator, limits_of, source_of
from vkdnw_search.engine.finalists import FRESH, judge, scores_needed, winner
from vkdnw_search.engine.gate import Gate
from vkdnw_search.engine.known_scores import KnownScores
from vkdnw_search.engine.neighbours import score_neighbours
from vkdnw_search.engine.requirements import must_suit, optimizer_of
from vkdnw_search.engine.rescoring import Rescorer
from vkdnw_search.engine.second_opinion import by_measures, by_sizes
from vkdnw_search.engine.session import Listener, Session
from vkdnw_search.engine.start import begin_with, start_of
from vkdnw_search.engine.whole_latency import WholeLatencies
from vkdnw_search.engine.yardstick_scores import beside, left_out, more_scores_needed
from vkdnw_search.engine.yardsticks import GivenNetwork, read_yardsticks, timed
from vkdnw_search.errors import RunFolderError
from vkdnw_search.execution.same_code import SameCode
from vkdnw_search.execution.script_guard import must_not_be_a_worker
from vkdnw_search.output.module import export_all, must_have_source
from vkdnw_search.output.progress import Progress
from vkdnw_search.provenance.record import CodeRecord, code_record, origins_of
from vkdnw_search.proxies.plain import must_be_proxy
from vkdnw_search.recipe.recipe import Recipe, SectionName, folder_of_recipe, load_recipe
from vkdnw_search.recipe.registry import find
from vkdnw_search.recipe.sections import SECTIONS
from vkdnw_search.runs.code_history import accepted_changes, tell_changes
from vkdnw_search.runs.folder import RunFolder
from vkdnw_search.runs.judgement import Judgement
from vkdnw_search.runs.result import RESULTS, FoundNetwork, Result, must_be_of_its_genome

LOGGER = logging.getLogger(__name__)


def search(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    space: SearchSpace[Any] | None = None,
    proxy: AnyProxy | None = None,
    optimizer: Callable[[Problem], Optimizer] | None = None,
    latency: LatencySource | None = None,
    context: LatencyContext | None = None,
    listener: Listener = lambda evaluation: None,
    stopped: Callable[[], bool] = lambda: False,
    accept_changed_code: bool = False,
    reuse: str | Path | None = None,
    baselines: Sequence[str | Path] | Path = (),
    progress: bool = False,
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
        latency: a source of latencies in place of the one the recipe names.
        context: the folder of the files that the recipe's source of latencies names, by default that of the recipe,
            and the command that it runs.
        listener: called with every evaluation as it is done.
        stopped: asked between candidates and between files; once it is True, what is under way is finished and the
            search ends. The same call goes on from there.
        accept_changed_code: whether a run goes on although versions, plug-in files or other code that its scores come
            from have changed since, which is then kept with it and told in its report.
        reuse: the folder of another run with the same space, score, seed and code, perhaps under other limits: what it
            has scored is taken from there. What is found is the same, to the byte.
        baselines: networks to see beside the winner, such as the one you run today: architectures of the space as
            text, names of its references, or Python files, ``"mine.py"`` or ``"mine.py:Class"``, whose code runs. They
            are counted, scored as the finalists are, compared with the winner (``judgement.yardsticks``), and change
            nothing of what is found. A call that continues a run gives them again.
        progress: whether to show on stderr how far the search is: a bar on a terminal, a line a minute elsewhere.

    Raises:
        RecipeError: the recipe is not valid, or its score does not suit the networks of the space.
        RunFolderError: ``out`` holds something else, or a run of other code, or is in use; or the scores of ``reuse``
            may be others than this search would compute.
        OptimizerError: what ``optimizer`` makes is none.
        LatencyError: ``latency`` cannot tell what the candidates need.
        ScoreError: ``proxy`` is none, or does not suit the networks of the space.
        YardstickError: one of ``baselines`` is no network that can be built and counted; nothing is written then.
        SpaceError: the space cannot write its networks down, which a run folder needs.
        ExportError: the source that the space writes does not make a network.
        ExecutionError: scoring raised an unexpected exception, or a worker runs other code than this process.
    """
    given: dict[SectionName, object | None] = {
        "space": space,
        "score": proxy,
        "optimizer": optimizer,
        "latency": latency,
    }
    must_not_be_a_worker()
    if proxy is not None:
        must_be_proxy(proxy)
    supplied = [name for name, value in given.items() if value is not None]
    chosen = load_recipe(recipe, overrides, supplied=supplied).named_after(recipe)
    space, proxy = space or chosen.build_space(), proxy or chosen.build_proxy()
    if out is not None:
        must_have_source(space, seed=chosen.seed)
    must_suit(proxy, space, chosen)
    timing = latency or source_of(chosen, context or LatencyContext(folder_of_recipe(recipe)))
    evaluator = Evaluator(space, limits=limits_of(chosen), proxy=proxy, seed=chosen.seed, latency=timing)
    problem = evaluator.problem(chosen.bands, chosen.bands_of)
    proposing = optimizer_of(optimizer or chosen.build_optimizer, problem)
    start = start_of(chosen, space, proposing, out)
    yardsticks = read_yardsticks(baselines, space, evaluator.limits)
    code = _code_of(chosen, space, proxy, type(proposing))
    path = None if out is None else Path(out)
    with (
        _known_scores(reuse, path, chosen, space, proxy) as known,
        RunFolder(path, chosen, code=code, accept_changed_code=accept_changed_code) as folder,
        Progress(chosen.stop.evaluations, limits_of(chosen), shown=progress, steps=progress, listener=listener) as bar,
    ):
        _have_latencies(evaluator, folder, stopped)
        yardsticks = timed(yardsticks, evaluator)
        clock = Clock(chosen.stop.seconds, before=folder.store.elapsed(), stopped=stopped)
        with chosen.build_executor() as workers:
            executor = SameCode(workers, code)
            LOGGER.info(folder.opening())
            if count := getattr(workers, "count", 0):
                LOGGER.info("starting %d worker%s, which takes some seconds", count, "s" * (count > 1))
            if genomes := begin_with(start, chosen, problem, folder.store):
                assert isinstance(proposing, HasStart)
                proposing.begin_with(genomes)
            tell_changes(accepted_changes(folder.store, path or Path()), RESULTS)
            if missing := left_out(yardsticks, folder.store):
                LOGGER.warning(missing)
            for what in code.not_hashed() if path is not None else ():
                LOGGER.warning("%s. That it has changed cannot be noticed when the run is continued", what)
            session = Session(
                evaluator,
                folder.store,
                executor,
                stop=chosen.stop,
                clock=clock,
                reserve=scores_needed(chosen) + more_scores_needed(yardsticks, chosen),
                best=BestScores(chosen.finalists, chosen.bands, chosen.bands_of),
                listener=bar.update,
                known=known,
            )
            ended = explore(proposing, session)
            LOGGER.info("ended after %d candidates: %s", session.number, ended)
            rescorer = Rescorer(evaluator, folder.store, executor, clock, known=session.known, source=reuse)
            judgement, unfinished = _compare(rescorer, evaluator, folder, executor, clock, chosen, yardsticks)
        best = winner(folder.store, evaluator.proxy, judgement)
        found = None if best is None else FoundNetwork(space, best)
        result = Result(
            chosen, space, proxy, found, judgement, ended, unfinished, clock.seconds(), folder.path, folder.store
        )
        return _write(result, folder, clock)


def _known_scores(
    reuse: str | Path | None, out: Path | None, recipe: Recipe, space: SearchSpace[Any], proxy: AnyProxy
) -> AbstractContextManager[KnownScores | None]:
    """The scores of the run in ``reuse``, if they are those that this search would compute."""
    if reuse is None:
        return nullcontext()
    if out is not None and out.resolve() == Path(reuse).resolve():
        raise RunFolderError(
            f"{reuse}: must be another folder than that of this search; name one with --out. Without --from the search "
            "in it is continued"
        )
    return KnownScores(Path(reuse), recipe, _code_of(recipe, space, proxy, sections=("space", "score")))


def _have_latencies(evaluator: Evaluator, folder: RunFolder, stopped: Callable[[], bool]) -> None:
    """Have the latencies of random candidates, where a limit asks for any, and keep how that was done."""
    store = folder.store
    told = evaluator.survey(store.note("latencies"), partial(store.set_note, "latencies"), stopped=stopped)
    if told:
        if store.note("latencies in words") is None:  # a later session has little left to time
            store.set_note("latencies in words", told)
        LOGGER.info("latencies: %s", told)


def _code_of(recipe: Recipe, *objects: object, sections: Sequence[str] = tuple(SECTIONS)) -> CodeRecord:
    """The record of the code that the run is made of: of ``objects``, and of the plug-ins that made them."""
    chosen = [(SECTIONS[name], section.use) for name in sections if (section := getattr(recipe, name)) is not None]
    objects = tuple(thing.inner if isinstance(thing, NarrowedSpace) else thing for thing in objects)
    factories = [find(kind, name) for kind, name in chosen if kind != "executors"]  # which does not change scores
    return code_record(origins_of(*objects, *factories))


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
    rescorer: Rescorer,
    evaluator: Evaluator,
    folder: RunFolder,
    executor: Executor,
    clock: Clock,
    recipe: Recipe,
    yardsticks: Sequence[GivenNetwork],
) -> tuple[Judgement | None, str]:
    """Compare the finalists and the user's networks, hear a second opinion on the winner and score its neighbours.

    Returns also what could not be done, and why.
    """
    judgement, left = None, "the finalists were compared"
    try:
        clock.check()
        if recipe.finalists:
            LOGGER.info("scoring the best and the baselines anew on %d initializations", FRESH)
        gate = Gate(evaluator, executor, clock, WholeLatencies(evaluator, folder.store, clock))
        judgement = judge(evaluator, folder.store, rescorer, gate, recipe)
        if yardsticks:
            LOGGER.info("scoring the networks given by --with on the same initializations")
        left = "the networks given by --with were scored"
        judgement = beside(judgement, yardsticks, evaluator, folder.store, executor, clock, recipe)
        best = winner(folder.store, evaluator.proxy, judgement)
        if best is None:
            return judgement, ""
        judgement, left = by_sizes(judgement, best, folder.store, recipe), "the winner was measured in other ways"
        if recipe.finalists:
            LOGGER.info("measuring the winner and other networks in other ways")
            judgement = by_measures(judgement, best, evaluator, folder.store, rescorer)
            left = "the neighbours of the winner were scored"
            LOGGER.info("scoring the networks one step from the winner")
            folder.write_neighbours(score_neighbours(best, evaluator, rescorer))
    except Interrupted as interruption:
        return judgement, f"{interruption} before {left}"
    return judgement, ""


def _write(result: Result, folder: RunFolder, clock: Clock) -> Result:
    """Write what the run leaves. A stop that was asked for before lets the winner and the report be written."""
    networks = [] if folder.path is None else result.networks(folder.path)
    for found, place in networks:
        must_be_of_its_genome(found, folder.path or place)  # before anything good is written over
    folder.write_results(result.evaluations())
    folder.write_judgement(result.judgement)
    if (reused := result.reused) is not None:
        LOGGER.info("%s", reused)
        folder.tell("reused_scores", asdict(reused))
    if folder.path is None:
        return result
    from vkdnw_search.output.report import write_report  # draws: a second, which workers need not spend

    if clock.is_interrupted():
        networks, check = networks[:1], lambda: None
    else:
        check = clock.check_interruption
    try:
        export_all(networks, recipe=result.recipe, check=check, within=folder.path)
        LOGGER.info("writing the report")
        write_report(folder.path, space=result.space, proxy=result.proxy, check=check)
    except Interrupted as interruption:
        return replace(result, unfinished=f"{interruption} before all files were written")
    return result
