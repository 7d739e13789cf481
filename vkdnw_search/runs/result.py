"""What a search found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from vkdnw_search.contracts import AnyProxy, Architecture, HasText, SearchSpace, input_shape_of
from vkdnw_search.errors import RunFolderError, shortened
from vkdnw_search.quantities import compact, score_text
from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.records import Cost, Evaluation, Genome, Score, Status
from vkdnw_search.runs.code_history import accepted_changes
from vkdnw_search.runs.fitness import fitness_of, pareto_front
from vkdnw_search.runs.given import number_given
from vkdnw_search.runs.judgement import Judgement, WholeLatency
from vkdnw_search.runs.reused import Reused, read_reused
from vkdnw_search.runs.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn


RESULTS = "evaluations"
"""What is counted where it is told after how many the code changed."""


@dataclass(frozen=True, slots=True)
class FoundNetwork:
    """A candidate with the space it belongs to: all it takes to build or export it."""

    space: SearchSpace[Architecture]
    evaluation: Evaluation

    @property
    def architecture(self) -> Architecture:
        """The architecture that the genome decodes to, or the text says where the genes cannot express it."""
        if not self.evaluation.genome and isinstance(self.space, HasText):
            return self.space.parse(self.evaluation.key)
        return self.space.decode(self.evaluation.genome)

    @property
    def key(self) -> str:
        """The architecture as text."""
        return self.evaluation.key

    @property
    def cost(self) -> Cost:
        """FLOPs, parameters and so on."""
        return self.evaluation.cost

    @property
    def score(self) -> Score:
        """The score; NaN for a candidate without one."""
        return self.evaluation.score or Score(math.nan)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input without the batch, at which the costs were counted."""
        return input_shape_of(self.space, self.architecture)

    @property
    def facts(self) -> dict[str, str]:
        """Structure, score and size in words, each with its name."""
        return {
            "network": self.key,
            "score": score_text(self.score.value, self.score.standard_error),
            "FLOPs": f"{self.cost.flops:,}",
            "parameters": f"{self.cost.parameters:,}",
            "layers": f"{self.cost.layers}",
        }

    def _repr_html_(self) -> str:
        return table_of(self.facts)

    def __repr__(self) -> str:
        return (
            f"<{self.space.name} network: score {self.score.value:.4f}, {self.cost.flops / 1e6:.1f}M FLOPs, "
            f"{self.cost.parameters / 1e6:.2f}M parameters: {self.key}>"
        )


def unvisited(space: SearchSpace[Any], architecture: Architecture, genome: Genome = ()) -> FoundNetwork:
    """A network that no run has visited, counted and without a score; it need not have a genome."""
    from vkdnw_search.cost.counter import CostCounter  # torch, which takes seconds to import

    cost = CostCounter(space).cost(architecture)
    evaluation = Evaluation(0, 0, genome, architecture.key, cost, 0.0, Status.FAILED, "not scored")
    return FoundNetwork(space, evaluation)


def build(found: FoundNetwork) -> nn.Module:
    """The network, freshly constructed: (N, *found.input_shape) → logits (N, space.num_classes)."""
    return found.space.build(found.architecture)


def must_be_of_its_genome(found: FoundNetwork, folder: Path) -> None:
    """Refuse a candidate of the run in ``folder`` whose genome stands for another network than the one scored.

    Raises:
        RunFolderError: it does.
    """
    of_genome, scored = found.architecture.key, found.evaluation
    if of_genome != scored.key:
        raise RunFolderError(
            f"{folder / 'run.sqlite'}: candidate {scored.number} must be {shortened(scored.key)}, but its genome is "
            f"that of {of_genome}. The folder is damaged, or of another version of the search space"
        )


@dataclass(frozen=True)
class Result:
    """The end of a search.

    Attributes:
        recipe: what was asked.
        space: the search space of the run.
        proxy: the score of the run.
        best: of the finalists that the score cannot tell from the highest mean over fresh initializations the one of
            most FLOPs (with ``ties: score`` the highest mean), or without finalists the highest score; None if nothing
            was scored.
        judgement: finalists, trivial baselines and the networks given as ``baselines``, scored anew and compared; None
            if the search was interrupted.
        ended: why the search ended, in words.
        unfinished: what was left to do when the run had to end, and why; empty if nothing. The same recipe on the same
            folder goes on from there.
        seconds: of running, over all sessions.
        folder: the run folder, if there is one.
    """

    recipe: Recipe
    space: SearchSpace[Architecture]
    proxy: AnyProxy
    best: FoundNetwork | None
    judgement: Judgement | None
    ended: str
    unfinished: str
    seconds: float
    folder: Path | None
    store: Store = field(repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the run's database. ``best``, ``judgement`` and the other fields stay; reading candidates raises.

        ``with search(…) as result:`` does it at the end of the block, and the end of the object does it too.
        """
        self.store.close()

    @property
    def bands(self) -> dict[int, FoundNetwork | None]:
        """Upper end of each band of the recipe → its best network, None where there is none."""
        bands = () if self.judgement is None else self.judgement.bands
        return {band.at_most: None if band.winner is None else self._found(band.winner.number) for band in bands}

    @property
    def whole_latency(self) -> WholeLatency | None:
        """How long ``best`` takes, timed whole; None without a limit of latency, or where its source cannot time it."""
        return None if self.judgement is None else self.judgement.whole_latency

    def _found(self, number: int) -> FoundNetwork:
        return FoundNetwork(self.space, next(self.store.evaluations(first=number, count=1)))

    def front(self) -> list[FoundNetwork]:
        """Scored networks of which no other has at most their FLOPs and a higher score; by rising FLOPs."""
        evaluations = list(self.evaluations())
        values = fitness_of(evaluations, self.proxy, given=number_given(self.store))
        return [FoundNetwork(self.space, e) for e in pareto_front(evaluations, values)]

    def networks(self, folder: Path) -> list[tuple[FoundNetwork, Path]]:
        """The networks to be exported, each with its path: the winner, that of each band, and the front of NSGA-II."""
        places = {"best/model.py": self.best}
        places |= {band_module(at_most, self.recipe.bands_of): found for at_most, found in self.bands.items()}
        if self.recipe.wants_front:
            places |= {front_module(found.cost): found for found in self.front()}
        return [(found, folder / place) for place, found in places.items() if found is not None]

    @property
    def counts(self) -> dict[str, int]:
        """Status → number of candidates."""
        return self.store.counts()

    @property
    def visited(self) -> int:
        """Number of candidates."""
        return sum(self.counts.values())

    def evaluations(self) -> Iterator[Evaluation]:
        """All candidates, in the order of their numbers."""
        return self.store.evaluations()

    def changes_of_code(self) -> list[str]:
        """Warnings about scores that are of other code than others of the run."""
        where = self.folder or Path()
        return [change.in_words(RESULTS) for change in accepted_changes(self.store, where)]

    @property
    def reused(self) -> Reused | None:
        """How many scores were taken from an earlier run; None if none was named."""
        return read_reused(self.store)

    def least_infeasible(self) -> FoundNetwork | None:
        """The candidate that misses the limits by least, where none is feasible; else None."""
        nearest = self.store.least_infeasible()
        return None if nearest is None else FoundNetwork(self.space, nearest)

    def to_frame(self) -> Any:
        """Every candidate with its score, terms and costs: a pandas DataFrame, or a list of dicts without pandas."""
        return frame_of([record(e) for e in self.evaluations()], index="number")

    def plot(self) -> Figure:
        """Score against FLOPs, with the front, the winner and ``baselines``, as a matplotlib figure for a notebook."""
        from matplotlib.figure import Figure  # takes a second, and only those who plot need it

        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        evaluations = list(self.evaluations())
        values = fitness_of(evaluations, self.proxy, given=number_given(self.store))

        def places(group: Iterable[Evaluation]) -> tuple[list[float], list[float]]:
            chosen = list(group)
            return [e.cost.flops / 1e6 for e in chosen], [values[e.number] for e in chosen]

        axes.scatter(*places(e for e in evaluations if e.number in values), s=9, color="0.6", label="scored")
        axes.plot(*places(pareto_front(evaluations, values)), color="0.6", label="front")
        if self.best is not None:
            axes.scatter(*places([self.best.evaluation]), s=120, marker="*", color="C0", label="winner")
        for y in () if self.judgement is None else self.judgement.yardsticks:
            if y.values:
                axes.scatter([y.cost.flops / 1e6], [y.mean], s=40, marker="D", label=shortened(y.name))
        axes.set(xlabel="FLOPs (millions)", ylabel="score")
        axes.legend(frameon=False)
        return figure

    def _repr_html_(self) -> str:
        best = {"network": "nothing has a score"} if self.best is None else self.best.facts
        counts = ", ".join(f"{number} {status}" for status, number in self.counts.items()) if self.store.is_open else ""
        doubts = () if self.judgement is None else self.judgement.warnings
        facts = {"search": self.recipe.name or "", "ended": self.ended, "candidates": counts, **best}
        return table_of(facts | {"warnings": "; ".join(doubts)})

    def __repr__(self) -> str:
        name = self.recipe.name or "search"
        counts = ", ".join(f"{number} {status}" for status, number in self.counts.items()) if self.store.is_open else ""
        visited = f"{self.visited} candidates ({counts}), " if self.store.is_open else "closed, "
        return f"<{name}: {visited}{self.ended}; best: {self.best!r}>"


def table_of(facts: Mapping[str, str]) -> str:
    """An HTML table of two columns, names and texts, without those that are empty: what a notebook shows."""
    rows = (f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in facts.items() if text)
    return f"<table>{''.join(rows)}</table>"


def band_module(at_most: int, of: str) -> str:
    """The path of the module of a band's winner within a run folder: ``bands/300M/model.py``, or of other costs than
    FLOPs ``bands/7_layers/model.py``.
    """
    return f"bands/{compact(at_most)}{'' if of == 'flops' else f'_{of}'}/model.py"


def front_module(cost: Cost) -> str:
    """The path of the module of a network on the Pareto front within a run folder."""
    return f"front/{cost.flops}/model.py"


def frame_of(records: list[dict[str, Any]], *, index: str) -> Any:
    """The records as a pandas DataFrame with one of their fields as its index, or as they are without pandas."""
    try:
        import pandas  # type: ignore[import-untyped]  # its stubs are not among the extras
    except ImportError:
        return records
    return pandas.DataFrame.from_records(records).set_index(index)


def record(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as a flat record, its terms as ``score.TERM``."""
    e, score = evaluation, evaluation.score
    terms = {} if score is None else {f"score.{term}": value for term, value in score.terms.items()}
    return {
        "number": e.number,
        "generation": e.generation,
        "status": e.status,
        "score": math.nan if score is None else score.value,
        "standard_error": math.nan if score is None else score.standard_error,
        **terms,
        **asdict(e.cost),
        "violation": e.violation,
        "reason": e.reason,
        "architecture": e.key,
    }
