"""The winners of runs over one space, scored anew by the proxy of each run, on the same fresh initializations.

Each winner was chosen for scores on initializations of its own run, so the score there is high partly by luck, and its
luck is not that of another run. The initializations here depend on no run and no order of runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from vkdnw_search.comparing.contenders import Contender
from vkdnw_search.contracts import AnyProxy, HasFastWay, HasRelativeFitness
from vkdnw_search.determinism import seed_from
from vkdnw_search.engine.audit import NOTE, read_outcome
from vkdnw_search.engine.finalists import FRESH, compare
from vkdnw_search.engine.tasks import Outcome, Task, lost_candidate, run_tasks, score_candidate
from vkdnw_search.errors import ScoreError
from vkdnw_search.records import Score
from vkdnw_search.runs.fitness import fitness_among
from vkdnw_search.runs.given import number_given
from vkdnw_search.runs.judgement import Finalist
from vkdnw_search.runs.reader import RunReader


@dataclass(frozen=True)
class Scoring:
    """One proxy, and the winners that it shall score.

    Attributes:
        label: what the proxy is called in the comparison.
        proxy: of the runs that searched by it.
        searched: the letters of these runs.
        contenders: all runs over their space.
        reference: the scores among which a relative fitness is taken, besides the winners'; else empty.
    """

    label: str
    proxy: AnyProxy
    searched: tuple[str, ...]
    contenders: tuple[Contender, ...]
    reference: tuple[Score, ...]

    def tasks(self) -> Iterator[tuple[tuple[str, int], Task]]:
        """(architecture, initialization) and its task, each network once; all of one initialization together."""
        winners = {c.winner.key: c.winner for c in self.contenders}
        for number in range(FRESH):
            for key, found in winners.items():
                genome, cost = found.evaluation.genome, found.cost
                seed = seed_from("compare", number)
                yield (key, number), Task(found.space, self.proxy, genome, key, cost, seed)


@dataclass(frozen=True)
class Rescored:
    """What one proxy makes of the winners of all runs over one space.

    Attributes:
        label: what the proxy is called in the comparison.
        searched: the letters of the runs that searched by it.
        is_relative: whether the values are fitness among the candidates of these runs, each architecture once.
        rows: a winner for each run, in order of the runs: its role is the letter; without values if it has no score.
    """

    label: str
    searched: tuple[str, ...]
    is_relative: bool
    rows: tuple[Finalist, ...]

    def row(self, letter: str) -> Finalist | None:
        """The winner of the run ``letter``; None if that is over another space."""
        return next((row for row in self.rows if row.role == letter), None)


def scorings(contenders: Sequence[Contender], readers: Mapping[str, RunReader]) -> list[Scoring]:
    """What is to be scored: for each space that two or more runs share, each of their proxies by all their winners."""
    labels, found = labels_of(contenders), []
    for group in alike(contenders, lambda c: c.recipe.resolved()["space"]):
        for same in alike(group, lambda c: c.recipe.resolved()["score"]) if len(group) > 1 else ():
            visited = [readers[c.letter] for c in same]
            proxy = _proxy(visited)
            reference = _reference(visited) if isinstance(proxy, HasRelativeFitness) else ()
            label, searched = labels[same[0].letter], tuple(c.letter for c in same)
            found.append(Scoring(label, proxy, searched, tuple(group), reference))
    return found


def alike(contenders: Sequence[Contender], part: Callable[[Contender], object]) -> list[list[Contender]]:
    """The runs in groups of those that are equal in a part of what they are, in the order in which they come."""
    groups: list[list[Contender]] = []
    for contender in contenders:
        group = next((g for g in groups if part(g[0]) == part(contender)), None)
        groups.append([contender]) if group is None else group.append(contender)
    return groups


def labels_of(contenders: Sequence[Contender]) -> dict[str, str]:
    """Letter → what the proxy of its run is called: by its name, and where others have that name, by its first run."""
    groups = alike(contenders, lambda c: c.recipe.resolved()["score"])
    names = [group[0].recipe.score.use if group[0].recipe.score else "?" for group in groups]
    labels: dict[str, str] = {}
    for group, name in zip(groups, names, strict=True):
        label = f"{name} of {group[0].letter}" if names.count(name) > 1 else name
        labels |= {contender.letter: label for contender in group}
    return labels


def _proxy(visited: Sequence[RunReader]) -> AnyProxy:
    """The proxy of these runs: the careful one, where one of them found its fast way wrong."""
    proxy = visited[0].proxy
    assert proxy is not None, "contenders have a score"
    notes = [(text, v.store.path) for v in visited if (text := v.store.note(NOTE)) is not None]
    wrong = any(read_outcome(text, path).verdict == "wrong" for text, path in notes)
    return proxy.careful() if wrong and isinstance(proxy, HasFastWay) else proxy


def _reference(visited: Sequence[RunReader]) -> tuple[Score, ...]:
    """The scores of all candidates of these runs, each architecture once, the same whatever the order of the runs."""
    scored = [
        (e.number < given, e.number, e.key, e.score)  # see fitness_of
        for v, given in ((v, number_given(v.store)) for v in visited)
        for e in v.evaluations
        if e.status.has_score and e.score
    ]
    scored.sort(key=lambda row: (*row[:3], row[3].value, sorted(row[3].terms.items())))
    first: dict[str, Score] = {}
    for *_, key, score in scored:
        first.setdefault(key, score)
    return tuple(first.values())


def score_anew(
    planned: Sequence[Scoring], executor: Executor, stopped: Callable[[], bool]
) -> tuple[Rescored, ...] | None:
    """Score as planned, on ``executor``; None if it was stopped.

    Raises:
        ExecutionError: a proxy raised something unexpected; the message names the architecture.
    """
    tasks = [((place, *name), task) for place, scoring in enumerate(planned) for name, task in scoring.tasks()]
    done = dict(run_tasks(tasks, executor, call=_scored, lost=lost_candidate, stopped=stopped))
    if len(done) < len(tasks):
        return None
    return tuple(
        _rescored(scoring, {(key, number): o for (p, key, number), o in done.items() if p == place})
        for place, scoring in enumerate(planned)
    )


def _scored(task: Task) -> Outcome:
    """As in a search, but that a proxy which does not suit the network of another run is an outcome."""
    try:
        return score_candidate(task)
    except ScoreError as error:
        return Outcome(None, str(error), 0.0)


def _rescored(scoring: Scoring, outcomes: Mapping[tuple[str, int], Outcome]) -> Rescored:
    keys = list(dict.fromkeys(c.winner.key for c in scoring.contenders))
    faults = {key: o.reason for (key, _), o in sorted(outcomes.items(), reverse=True) if o.score is None}
    sound = [key for key in keys if key not in faults]
    columns = [[outcomes[key, number].score for key in sound] for number in range(FRESH)]
    fitness = [_fitness([s for s in column if s is not None], scoring) for column in columns]
    values = {key: tuple(column[place] for column in fitness) for place, key in enumerate(sound)}
    rows = [
        Finalist(c.letter, number, c.winner.key, values.get(c.winner.key, ()))
        for number, c in enumerate(scoring.contenders)
    ]
    best = max((row for row in rows if row.values), key=lambda row: row.mean, default=None)
    judged = tuple(replace(row, verdict=_verdict(best, row, faults)) for row in rows)
    return Rescored(scoring.label, scoring.searched, isinstance(scoring.proxy, HasRelativeFitness), judged)


def _fitness(scores: list[Score], scoring: Scoring) -> list[float]:
    return fitness_among([*scoring.reference, *scores], scoring.proxy)[len(scoring.reference) :]


def _verdict(best: Finalist | None, row: Finalist, faults: Mapping[str, str]) -> str:
    """How ``row`` compares with the best, in the words of a run about its finalists."""
    if best is None or not row.values:
        return f"cannot be scored: {faults[row.key]}"
    return compare(best, row).replace("the winner", "the best")  # here each run has a winner
