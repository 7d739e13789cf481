"""The evaluation of the paper: score networks of known accuracy, compare rankings, write tables and figures.

The folder of a study::

    scores.sqlite   every score; the same command continues from it, and another accuracy column only reads it
    scores.csv      a line for each network and seed: value of every method, terms, accuracies
    table.csv       a line for each method and accuracy column
    table.md        the same in the form of the paper's Table 1, beside the paper's numbers; regret under budgets
    figures/        COLUMN_METHOD.png: score against accuracy; COLUMN_bars.png: all methods; COLUMN_regret.png
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vkdnw_search.contracts import AnyProxy, HasEncoding, HasRequirements, HasTask, SearchSpace
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.determinism import seed_from
from vkdnw_search.engine.audit import Audit
from vkdnw_search.errors import RankingError, SpaceError
from vkdnw_search.execution.executors import inline
from vkdnw_search.execution.same_code import SameCode
from vkdnw_search.execution.script_guard import must_not_be_a_worker
from vkdnw_search.fisher.likelihood import likelihood_of
from vkdnw_search.provenance.record import code_record, origins_of
from vkdnw_search.proxies.plain import must_be_proxy
from vkdnw_search.proxies.size import Flops
from vkdnw_search.ranking.evaluation import Study, evaluate
from vkdnw_search.ranking.models import check_training
from vkdnw_search.ranking.outputs import write_outputs
from vkdnw_search.ranking.plan import VALUE, Plan, Terms, identity, make_plan
from vkdnw_search.ranking.regret.budgets import Budget
from vkdnw_search.ranking.regret.measurement import Subsamples
from vkdnw_search.ranking.score_store import ScoreStore
from vkdnw_search.ranking.scoring_jobs import Listener, audits_of, measure_costs, readable, score_all
from vkdnw_search.ranking.tables import SIZES, AccuracyTable
from vkdnw_search.runs.code_history import accepted_changes, keep_code, tell_changes

__all__ = ["rank", "sampled", "searchable"]

TIMED = 3
"""Networks on which the cost of each proxy is measured."""

PLACES = 1000
"""P of nDCG where all networks are ranked, as published."""

Vector = NDArray[np.float64]


def rank(
    space: SearchSpace[Any],
    accuracies: AccuracyTable,
    proxies: Mapping[str, AnyProxy],
    *,
    out: str | Path,
    columns: Sequence[str] = (),
    sample: int | None = None,
    seeds: int = 1,
    training: int | None = None,
    budgets: Sequence[Budget] = (),
    figures: bool = True,
    executor: Executor | None = None,
    listener: Listener = lambda done, total: None,
    stopped: Callable[[], bool] = lambda: False,
    accept_changed_code: bool = False,
) -> Study | None:
    """Score every network once per seed, and compare the rankings with the accuracies.

    What is in ``out`` already is not scored again, whichever columns, proxies, seeds, sample or budgets are asked for.

    Args:
        space: must have ``parse``.
        accuracies: its architectures must be canonical keys: read it with ``canonical=lambda t: space.parse(t).key``.
        proxies: name → proxy, or a plain function of the network that gives a number.
        out: folder of the study, made if it is not there.
        columns: accuracies to compare with; by default that of the space's task, or else all that are no sizes.
        sample: how many networks, drawn from the table by its keys alone; a smaller sample is part of a larger one.
            nDCG then counts the same share of them as 1,000 of the whole table.
        seeds: repetitions, each with other initializations and inputs.
        training: adds the model-driven rows, trained on so many networks (the paper: 1,024).
        budgets: limits of FLOPs under which the methods are asked for their best network: adds its regret.
        figures: whether to draw figures.
        executor: where networks are scored; one after the other in this process by default.
        listener: called with (networks done, in all), a network counting once per seed.
        stopped: asked between networks; once it is True those under way are finished, and None is returned.
        accept_changed_code: whether the study goes on although versions, plug-in files or other code that its scores
            come from have changed since, which is then kept with it and told below the table.

    Raises:
        RankingError: a column, sample or training number that does not fit the table.
        ScoreError: a proxy does not suit the networks, as far as that can be told beforehand.
        RunFolderError: ``out`` holds something else, or scores of other code, or is in use.
        ExecutionError: a proxy raised an unexpected exception; the message names it and the architecture. Or a worker
            runs other code than this process.
    """
    must_not_be_a_worker()
    if not proxies or seeds < 1:
        raise RankingError(
            f"ranking: there must be at least one proxy and one seed, but are {len(proxies)} and {seeds}"
        )
    for proxy in proxies.values():
        must_be_proxy(proxy)
    readable(space)
    columns = tuple(columns) or _columns(space, accuracies)
    if not columns:
        raise RankingError(f"ranking: the table must have an accuracy, but has only {', '.join(accuracies.columns)}")
    accuracies = accuracies.known(columns)
    chosen = sampled(accuracies, sample)
    if training is not None:
        check_training(training, len(chosen))
    folder, plan = Path(out), make_plan(proxies)
    _must_suit(plan, space, chosen.architectures[0])
    code = code_record(origins_of(space, *proxies.values(), *plan.parts.values()))
    with ScoreStore(folder, space=identity(space)) as store:
        keep_code(store, code, done=store.count(), accept=accept_changed_code, where=folder, grows=True)
        warnings = tell_changes(accepted_changes(store, folder), "scores")
        counter, keys = CostCounter(space), chosen.architectures
        same_code = SameCode(executor or inline(), code)
        audits = audits_of(plan.parts, store, same_code)
        complete = score_all(
            space,
            keys,
            audits,
            store,
            same_code,
            counter=counter,
            seeds=seeds,
            listener=listener,
            stopped=stopped,
        )
        if not complete:
            return None
        forwards = _costs(space, chosen, plan, store, counter, audits)
        scores = _load(store, plan, keys, seeds)
    places = max(1, round(PLACES * len(chosen) / len(accuracies))) if sample else PLACES
    subsamples = Subsamples.drawn(budgets, _flops(scores, keys, counter), keys) if budgets else None
    study = evaluate(
        space.name, chosen, columns, plan, scores, forwards, P=places, training=training, subsamples=subsamples
    )
    study = _warned(study, [*warnings, *(audit.warning for audit in audits.values() if audit.warning)])
    write_outputs(folder, study, scores, plan.names(), space=space.name, figures=figures)
    return study


def _columns(space: SearchSpace[Any], accuracies: AccuracyTable) -> tuple[str, ...]:
    """The accuracies that are meant where none is named."""
    if isinstance(space, HasTask) and space.task in accuracies.columns:
        return (space.task,)
    return tuple(name for name in accuracies.columns if name not in SIZES)


def _warned(study: Study, warnings: Sequence[str]) -> Study:
    """``study`` with ``warnings`` below its tables."""
    return replace(study, markdown=study.markdown + "".join(f"\n**Warning**: {warning}.\n" for warning in warnings))


def _must_suit(plan: Plan, space: SearchSpace[Any], text: str) -> None:
    """Raise what a proxy has against the first network, before the folder is taken."""
    for proxy in plan.parts.values():
        if isinstance(proxy, HasRequirements) and likelihood_of(space) == "auto":
            proxy.require(space.num_classes, lambda: CostCounter(space).cost(readable(space).parse(text)))


def searchable(accuracies: AccuracyTable, space: SearchSpace[Any]) -> AccuracyTable:
    """The networks that a search of ``space`` could visit, in the order of the table.

    Options of a space may leave out networks that it still reads, such as cells that are not residual.

    Raises:
        RankingError: fewer than two are left, or the space cannot tell, having no ``encode``.
    """
    if not isinstance(space, HasEncoding):
        raise RankingError(f"{space.name}: must have a method encode(architecture), to tell what it could visit")
    parse = readable(space).parse
    kept = []
    for place, key in enumerate(accuracies.architectures):
        with suppress(SpaceError):
            if space.decode(space.encode(parse(key))).key == key:
                kept.append(place)
    if len(kept) < 2:
        raise RankingError(f"{space.name}: must be able to visit two networks of the table, but can visit {len(kept)}")
    return accuracies.rows(kept)


def sampled(accuracies: AccuracyTable, sample: int | None) -> AccuracyTable:
    """``sample`` networks in the order of the table, chosen by their keys alone; all of them for None.

    Raises:
        RankingError: there are not so many, or fewer than two.
    """
    if sample is None:
        return accuracies
    if not 2 <= sample <= len(accuracies):
        raise RankingError(f"sample: must be from 2 to the {len(accuracies)} networks of the table, but is {sample}")
    names = accuracies.architectures
    lottery = sorted(range(len(names)), key=lambda i: (seed_from("sample", names[i]), names[i]))
    return accuracies.rows(sorted(lottery[:sample]))


def _costs(
    space: SearchSpace[Any],
    chosen: AccuracyTable,
    plan: Plan,
    store: ScoreStore,
    counter: CostCounter[Any],
    audits: Mapping[str, Audit],
) -> dict[str, float]:
    """Row → its cost in forward passes: the sum of its own proxies', measured once in the life of the folder."""
    every = {identity(proxy): proxy for row in plan.rows for proxy in row.members.values()}
    every |= {text: audit.proxy for text, audit in audits.items() if text in every}  # what scores were computed with
    unknown = {text: proxy for text, proxy in every.items() if store.forwards(text) is None}
    few = sampled(chosen, min(TIMED, len(chosen))).architectures
    for text, cost in measure_costs(space, few, unknown, counter=counter).items():
        store.set_forwards(text, cost)
    measured = {text: store.forwards(text) for text in every}
    costs = {text: math.nan if forwards is None else forwards for text, forwards in measured.items()}
    return {row.name: sum((costs[identity(m)] for m in row.members.values()), start=0.0) for row in plan.rows}


def _flops(scores: Sequence[Mapping[str, Terms]], keys: Sequence[str], counter: CostCounter[Any]) -> Vector:
    """FLOPs of each network, (n,): those stored where the study has the proxy of that name, else counted."""
    stored = scores[0].get(identity(Flops()), {VALUE: np.full(len(keys), np.nan)})[VALUE]
    parse = readable(counter.space).parse
    return np.array([counter.cost(parse(k)).flops if np.isnan(x) else x for k, x in zip(keys, stored, strict=True)])


def _load(store: ScoreStore, plan: Plan, keys: Sequence[str], seeds: int) -> list[dict[str, Terms]]:
    """For each seed: part → term → values, (n,)."""
    index = {key: place for place, key in enumerate(keys)}
    loaded: list[dict[str, Terms]] = [{} for _ in range(seeds)]
    for part in plan.parts:
        columns = [{VALUE: np.full(len(keys), np.nan)} for _ in range(seeds)]
        for key, seed, score in store.of(part):
            if seed < seeds and key in index:
                for term, value in score.terms.items():
                    columns[seed].setdefault(term, np.full(len(keys), np.nan))[index[key]] = value
        for seed in range(seeds):
            loaded[seed][part] = columns[seed]
    return loaded
