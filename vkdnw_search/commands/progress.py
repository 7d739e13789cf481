"""What a person sees of a race while it runs, and of a search when it has ended."""

from __future__ import annotations

import sys
from typing import Any, Self

from tqdm import tqdm

from vkdnw_search.output.yardstick_words import rows_of
from vkdnw_search.quantities import counted, score_text
from vkdnw_search.runs.judgement import Judgement, SecondOpinion
from vkdnw_search.runs.result import FoundNetwork, Result


class RaceProgress:
    """The rungs of a race, a line each on stderr, and on a terminal a bar of its epochs with the time left."""

    def __init__(self, *, shown: bool) -> None:
        self._shown, self._stderr = shown, sys.stderr  # which what trains in this process may redirect
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def tell(self, line: str) -> None:
        """Show a line, above the bar."""
        if self._shown:
            tqdm.write(line, file=self._stderr)

    def count(self, over: int, left: int) -> None:
        """Show how many epochs are over and how many are to come, at the pace since this command began."""
        if self._bar is None:
            self._bar = tqdm(
                initial=over,
                unit="epoch",
                smoothing=0,
                disable=None if self._shown else True,
                file=self._stderr,
                dynamic_ncols=True,
            )
        self._bar.total, self._bar.n = over + left, over
        self._bar.refresh()


_STATUS = {
    "scored": "scored",
    "infeasible": "outside the limits",
    "bounded": "skipped by their bound",
    "failed": "without a score",
}


def closing_table(result: Result) -> str:
    """Best architecture, score with its terms, cost, and where the files are."""
    counts = ", ".join(f"{number} {_STATUS[status]}" for status, number in result.counts.items())
    with_finalists = ", finalists included" if result.judgement is not None and result.judgement.finalists else ""
    rows = [
        ("ended", result.ended),
        ("candidates", f"{result.visited} in {result.seconds:.0f} s{with_finalists}: {counts}"),
    ]
    if result.best is None:
        rows += _nothing(result)
    else:
        rows += _winner(result.best, _device(result))
        rows += [("timed whole", str(result.whole_latency))] if result.whole_latency is not None else []
    if told := result.store.note("latencies in words"):
        rows.append(("latencies", told))
    if result.folder is not None:
        rows.append(("table", str(result.folder / "results.csv")))
        if result.best is not None:
            rows += [("module", str(path)) for _, path in result.networks(result.folder)]
        rows.append(("report", str(result.folder / "report.html")))
    rows += [("reused", str(result.reused))] if result.reused is not None else []
    rows += [("unfinished", f"{result.unfinished}; the same command goes on from there")] if result.unfinished else []
    rows += [("warning", warning) for warning in result.changes_of_code()]
    rows += _judgement(result)
    of = result.recipe.bands_of
    rows += [(f"at {counted(of, at_most)}", _band(found)) for at_most, found in result.bands.items()]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {text}" for name, text in rows)


def _band(found: FoundNetwork | None) -> str:
    if found is None:
        return "no network has a score"
    return f"{score_text(found.score.value)} with {found.cost.flops:,} FLOPs: {found.key}"


def _judgement(result: Result) -> list[tuple[str, str]]:
    """How sure the choice is, what could be had without a search, the user's networks, other measures, warnings."""
    if result.judgement is None:
        return []
    warnings = [("warning", warning) for warning in result.judgement.warnings]
    yours = [row for yardstick in result.judgement.yardsticks for row in rows_of(yardstick, result.recipe)]
    return _finalists(result.judgement) + yours + _second_opinion(result.judgement.second_opinion) + warnings


def _finalists(judgement: Judgement) -> list[tuple[str, str]]:
    """The winner, the next and the baselines by score."""
    if not judgement.finalists:
        return []
    first, *others = judgement.finalists
    rows = [
        ("compared", "by score: p below is about the score, not about accuracy"),
        ("rescored", f"{score_text(first.mean, first.standard_error)} over {len(first.values)} fresh initializations"),
    ]
    rows += [("next", f"{score_text(others[0].mean, others[0].standard_error)}, {others[0].verdict}")] if others else []
    told = {others[0].number: "next"} if others else {}
    for b in judgement.baselines:
        text = f"{score_text(b.mean, b.standard_error)}, {b.verdict}"
        rows.append((b.role, f"the same network as {told[b.number]}" if b.number in told else text))
        told.setdefault(b.number, b.role)
    if rhos := ", ".join(f"{size} {rho:+.2f}" for size, rho in judgement.correlations.items()):
        rows.append(("rank corr.", f"of the score with {rhos}"))
    return rows


def _second_opinion(opinion: SecondOpinion | None) -> list[tuple[str, str]]:
    """Percentiles of the winner: a row of sizes, among all visited networks, and one of measures, among a sample."""
    rows: list[tuple[str, str]] = []
    for standings in () if opinion is None else (opinion.sizes, opinion.measures):
        if standings:
            most = max(s.others for s in standings)
            of = {s.others: "" if s.others == most else f" of {s.others}" for s in standings}
            places = ", ".join(f"{s.measure} {s.whole}{of[s.others]}" for s in standings)
            rows.append(("" if rows else "percentile", f"{places} (of the winner among {most} others)"))
    return rows


def _device(result: Result) -> str:
    """Where latencies come from, in words."""
    section = result.recipe.latency
    if section is not None and section.use == "torch":
        return f"on {_threads(section.options.get('threads', 1))} of this machine"
    return f"by {'a source given from Python' if section is None else section.use}"


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _winner(best: FoundNetwork, device: str) -> list[tuple[str, str]]:
    score, cost = best.score, best.cost
    terms = ", ".join(f"{name} {value:.4g}" for name, value in score.terms.items() if not name.startswith("decile"))
    return [
        ("best", best.key),
        ("score", f"{score_text(score.value, score.standard_error)}{f' ({terms})' if terms else ''}"),
        ("FLOPs", f"{cost.flops:,}"),
        ("parameters", f"{cost.parameters:,}"),
        ("layers", str(cost.layers)),
        *([("memory", f"{cost.memory:,} bytes of activations at most")] if cost.memory is not None else []),
        *([("int8 size", f"{cost.int8_size:,} bytes of weights")] if cost.int8_size is not None else []),
        *(
            [("int8 memory", f"{cost.int8_memory:,} bytes of activations at most")]
            if cost.int8_memory is not None
            else []
        ),
        *([("latency", f"{cost.latency / 1000:.3g} ms {device}")] if cost.latency else []),
    ]


def _nothing(result: Result) -> list[tuple[str, str]]:
    nearest = result.least_infeasible()
    if nearest is None:
        return [("best", "no candidate could be scored")]
    return [
        ("best", "no candidate is within the limits"),
        ("nearest", nearest.key),
        ("misses", nearest.evaluation.reason),
    ]
