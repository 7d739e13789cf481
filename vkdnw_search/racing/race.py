"""The race itself: rung after rung, all that are left train on, and the best of them go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vkdnw_search.atomic_files import write_whole
from vkdnw_search.contained_files import must_be_plain
from vkdnw_search.contracts import HasInputShapes
from vkdnw_search.engine.tasks import run_tasks
from vkdnw_search.errors import RaceError
from vkdnw_search.execution.executors import processes
from vkdnw_search.execution.same_code import SameCode
from vkdnw_search.output.templates.train_data import DataError
from vkdnw_search.provenance.record import code_record
from vkdnw_search.racing.entrants import Entrant, shortlist, write_modules
from vkdnw_search.racing.epochs import Counted, watched
from vkdnw_search.racing.outcome import Race, Racer, standing
from vkdnw_search.racing.race_folder import (
    FILES,
    FOLDERS,
    describe,
    keep_description,
    must_be_ours,
    write_best,
    write_curves,
)
from vkdnw_search.racing.schedule import Plan, Rung, schedule
from vkdnw_search.racing.training import (
    COLOURS,
    TrainingOutcome,
    TrainingTask,
    labelled_right,
    lost_training,
    options_of,
    read_data,
    train_network,
    worker_count,
)
from vkdnw_search.runs.folder import locked
from vkdnw_search.runs.reader import RunReader
from vkdnw_search.runs.result import Result

__all__ = ["Plan", "race", "run_race"]


def race(
    run: Result | Path | str,
    data: str,
    *,
    epochs: int = 12,
    rungs: int = 3,
    keep: float = 1 / 3,
    networks: int = 8,
    seeds: int = 1,
    others: Sequence[str] = (),
    workers: int | Literal["auto"] = "auto",
    executor: Executor | None = None,
    out: Path | str | None = None,
    words: Sequence[str] = (),
) -> Race:
    """Train the shortlist of a search a little on real data, the better ones for longer; say which learns best.

    The shortlist is the finalists, the network of the most FLOPs, the first random one, and ``others``. The same call
    continues a race that was cut off. Called from a script, it must stand below ``if __name__ == "__main__":``, as it
    starts processes.

    Args:
        run: what a search returned, or its folder.
        data: as ``--data`` of the exported train.py: ``digits``, a folder, a file or ``module:function``.
        epochs: of whoever gets to the end.
        rungs: parts of the race, at most.
        keep: share of the networks that goes on from one to the next, in (0, 1].
        networks: how many of the run's, at most.
        seeds: trainings of each network.
        others: networks of yours: architectures of the run's space as text, names of its references, or paths of
            modules with ``Network``.
        workers: processes; each trains on one thread. By default one a core, or one a GPU where there are some.
        executor: where networks are trained instead, such as Dask's; its workers must see the folder of the race. It is
            not shut down.
        out: folder of the race; by default ``race`` in that of the run.
        words: further options of train.py, such as ``["--batch", "32"]``.

    Raises:
        RaceError: the data, a network, an option or the folder is not what it must be.
        RunFolderError: there is no such run, or the folder is in use.
    """
    folder = run.folder if isinstance(run, Result) else Path(run)
    if folder is None:
        raise RaceError("race: the search must have a folder, but was kept in memory alone. Give search(…, out=…) one")
    plan = Plan(data=data, epochs=epochs, rungs=rungs, keep=keep, seeds=seeds, words=tuple(words))
    place = folder / "race" if out is None else Path(out)
    with ExitStack() as stack:
        visited = stack.enter_context(RunReader(folder))
        if executor is None:
            executor = stack.enter_context(processes(workers=worker_count() if workers == "auto" else workers))
        found = run_race(visited, plan, out=place, executor=executor, networks=networks, others=others)
    assert found is not None, "nobody stops it"
    return found


def run_race(
    visited: RunReader,
    plan: Plan,
    *,
    out: Path,
    executor: Executor,
    networks: int = 8,
    others: Sequence[str] = (),
    told: Callable[[str], None] = lambda line: None,
    counted: Counted | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Race | None:
    """Train the shortlist of a run, the better ones for longer, and say which learns best.

    Everything is kept in ``out``, and the same call continues from there. All networks see the same images in the same
    order. Results do not depend on the executor.

    Args:
        visited: the run.
        plan: data, length and rungs.
        out: folder of the race.
        executor: where networks are trained, each on one thread.
        networks: how many of the run's, at most.
        others: networks of the user's: architectures as text, or paths of modules.
        told: is called with a line on each rung.
        counted: is called, again and again and in another thread, with the epochs that are over and those to come.
        stopped: whether to stop; what is under way ends its rung first.

    Returns:
        The race, or None if it was stopped.

    Raises:
        RaceError: the data, a network of the user's or the folder is not what it must be.
        RunFolderError: the folder is in use.
    """
    entrants = shortlist(visited, networks=networks, others=others)
    words = _words(plan, visited, out)
    options = options_of(words, out / "networks" / "none")
    _, test, classes = _data(options)
    must_be_plain(out, files=FILES, folders=FOLDERS)
    must_be_ours(out)
    with locked(out / "race.lock"):
        rungs = schedule(len(entrants), epochs=plan.epochs, rungs=plan.rungs, keep=plan.keep)
        keep_description(out, describe(entrants, plan, words, len(test), classes, rungs))
        modules = write_modules(entrants, out / "networks")
        racers = [_racer(e, module.parent) for e, module in zip(entrants, modules, strict=True)]
        words_of = {r.folder: (*words, *_own_size(e, plan, out)) for r, e in zip(racers, entrants, strict=True)}
        train = partial(
            _rung, plan=plan, words_of=words_of, executor=SameCode(executor, code_record()), stopped=stopped
        )
        for number, rung in enumerate(rungs, start=1):
            if number > 1 and stopped():
                return None
            left = [r for r in racers if not r.reason and len(r.accuracies) == number - 1]  # the others are out
            running = standing(left)[: rung.networks]
            told(f"rung {number} of {len(rungs)}: {len(running)} networks until epoch {rung.epochs} of {plan.epochs}")
            trainings = [racer.training(seed) for racer in running for seed in range(plan.seeds)]
            with watched(trainings, rungs[number - 1 :], out, counted, seeds=plan.seeds):
                outcomes = train(running, rung)
            if outcomes is None:
                return None
            after = {racer.folder: _after(racer, outcomes[racer.folder], rung) for racer in running}
            racers = [after.get(racer.folder, racer) for racer in racers]
            write_curves(out, racers, plan)
        found = Race(tuple(standing(racers)), rungs, len(test), plan.seeds, out)
        if not found.winner.accuracies:
            raise RaceError(f"{out}: no network could be trained; the first: {found.winner.reason}")
        write_best(found)
        write_whole(out / "race.csv", found.to_csv())
    return found


def _rung(
    running: Sequence[Racer],
    rung: Rung,
    *,
    plan: Plan,
    words_of: Mapping[Path, tuple[str, ...]],
    executor: Executor,
    stopped: Callable[[], bool],
) -> dict[Path, list[TrainingOutcome]] | None:
    """Folder of a network → its outcome for each seed; None if the race was stopped."""
    tasks = [
        (
            (racer.folder, seed),
            TrainingTask(
                folder / "model.py", racer.training(seed).absolute(), words_of[racer.folder], seed, rung.epochs
            ),
        )
        for racer in running
        for folder in [racer.folder.absolute()]  # a worker may be elsewhere
        for seed in range(plan.seeds)
    ]
    done = dict(run_tasks(tasks, executor, call=train_network, lost=lost_training, stopped=stopped))
    if len(done) < len(tasks):
        return None
    return {racer.folder: [done[racer.folder, seed] for seed in range(plan.seeds)] for racer in running}


def _after(racer: Racer, outcomes: Sequence[TrainingOutcome], rung: Rung) -> Racer:
    """The racer as it is once a rung is over."""
    reason = next((o.reason for o in outcomes if o.accuracy is None), "")
    if reason:
        return replace(racer, reason=reason)
    accuracies = tuple(o.accuracy for o in outcomes if o.accuracy is not None)
    if lost := [r for seed in range(len(outcomes)) if not (r := racer.training(seed)).is_dir()]:
        raise RaceError(
            f"{lost[0]}: must be seen by this process and by the workers, but is not here. Share the folder"
        )
    right = np.stack([labelled_right(racer.training(seed), rung.epochs).numpy() for seed in range(len(outcomes))])
    return replace(racer, accuracies=(*racer.accuracies, accuracies), right=right)


def _racer(entrant: Entrant, folder: Path) -> Racer:
    e = entrant
    return Racer(e.name, e.roles, e.key, e.score, e.flops, e.parameters, (), np.zeros((0, 0), bool), "", folder)


OURS = ("--data", "--epochs", "--seed", "--out", "--until", "--resume", "--test-only")
"""Options of train.py that a race sets itself."""


def _words(plan: Plan, visited: RunReader, out: Path) -> tuple[str, ...]:
    """The options of train.py; images are as the run's, unless the plan says otherwise, and digits of 32 pixels.

    Raises:
        RaceError: the plan names an option that the race sets.
    """
    for word in plan.words:
        if (name := word.partition("=")[0]) in OURS:
            raise RaceError(
                f"options of train.py: must not have {name}, which the race sets. Leave it out after --, or say it to "
                "the race (--data, --epochs, --seeds, --out)"
            )
    words = ("--data", plan.data, "--epochs", str(plan.epochs), *plan.words)
    options, shape = options_of(words, out / "networks" / "none"), visited.space.input_shape
    if options.size is None:
        words = (*words, "--size", "32" if plan.data == "digits" else _size_of(shape[1:]))
    if options.channels is None and shape[0] != COLOURS:
        words = (*words, "--channels", str(shape[0]))
    return words


def _own_size(entrant: Entrant, plan: Plan, out: Path) -> tuple[str, ...]:
    """The option of train.py for a network whose images have a size of their own, where the plan says none."""
    found = entrant.source
    if isinstance(found, Path) or not isinstance(found.space, HasInputShapes) or plan.data == "digits":
        return ()
    asked = options_of(("--data", plan.data, *plan.words), out / "networks" / "none").size
    return () if asked is not None else ("--size", _size_of(found.input_shape))


def _size_of(input_shape: Sequence[int]) -> str:
    """Height and width as train.py reads them, one number where they are equal."""
    return ",".join(dict.fromkeys(map(str, input_shape[-2:])))


def _data(options: Any) -> tuple[Any, Any, int]:
    try:
        return read_data(options.data, options.size, options.channels or COLOURS, options.augment, options.classes)
    except DataError as error:
        raise RaceError(str(error)) from None
