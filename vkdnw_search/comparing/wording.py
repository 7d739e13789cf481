"""A comparison in words: the sentences that text and page share, and the text for a terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from vkdnw_search.comparing.contenders import Contender, listed
from vkdnw_search.comparing.races import RaceOutcome
from vkdnw_search.comparing.rescored import Rescored, alike, labels_of
from vkdnw_search.engine.finalists import FRESH
from vkdnw_search.recipe.sections import SECTIONS
from vkdnw_search.runs.judgement import Finalist

if TYPE_CHECKING:
    from vkdnw_search.comparing.outcome import Comparison

INDENT = "  "


def in_words(comparison: Comparison) -> str:
    """The comparison as text for a terminal; what a terminal would obey is replaced."""
    runs = comparison.runs
    lines = [*_table(runs_table(comparison)), ""]
    for c in runs:
        lines += [f"winner of {c.letter}: {c.winner.key}"]
    lines += [f"{c.letter} by other measures: {percentiles(c)}" for c in runs if percentiles(c)]
    for c in runs[1:]:
        changes = [f"{INDENT}{line}" for change in c.changes for line in str(change).splitlines()]
        lines += ["", f"recipe of {runs[0].letter} → recipe of {c.letter}:", *(changes or [f"{INDENT}no difference"])]
    lines += ["", *comparability(comparison)]
    if comparison.rescored:
        lines += ["", f"winners scored anew, on the same {FRESH} fresh initializations"]
        lines += [*_table(scores_table(comparison)), "", *verdicts(comparison), "", *caveats(comparison)]
    if any(c.race for c in runs):
        lines += ["", "races", *_table(races_table(runs)), *leads(runs)]
    return "\n".join("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line) for line in lines)


def runs_table(comparison: Comparison) -> list[list[str]]:
    """Heads, and a row for each run: what it cost, and its winner in numbers."""
    labels = labels_of(comparison.runs)
    rows = [["run", "folder", "candidates", "seconds", "FLOPs", "parameters", "layers", "score", "by"]]
    for c in comparison.runs:
        cost, error = c.winner.cost, c.winner.score.standard_error
        sizes = [f"{cost.flops:,}", f"{cost.parameters:,}", str(cost.layers)]
        score = with_error(c.fitness, error)
        rows.append([c.letter, str(c.folder), str(c.candidates), f"{c.seconds:.0f}", *sizes, score, labels[c.letter]])
    return rows


def scores_table(comparison: Comparison) -> list[list[str]]:
    """Heads, and a row for each winner that was scored anew: by each proxy."""
    labels = list(dict.fromkeys(r.label for r in comparison.rescored))
    rows = [["run", *(f"by {label}" for label in labels)]]
    for c in comparison.runs:
        cells = [cell(comparison.rescored, c.letter, label) for label in labels]
        if any(cells):
            rows.append([c.letter, *("" if row is None else score_of(row) for row in cells)])
    return rows


def verdicts(comparison: Comparison) -> list[str]:
    """How each winner compares with the best by each proxy, a line each."""
    return [f"by {r.label}, {row.role}: {row.verdict}" for r in comparison.rescored for row in r.rows]


def cell(rescored: Iterable[Rescored], letter: str, label: str) -> Finalist | None:
    """The winner of the run ``letter`` as scored by the proxy ``label``; None where it was not."""
    return next((row for r in rescored if r.label == label and (row := r.row(letter)) is not None), None)


def races_table(runs: Sequence[Contender]) -> list[list[str]]:
    """Heads, and a row for each run: who won its race, how well and by what training."""
    rows = [["run", "accuracy", "epochs", "network", "training"]]
    for c in runs:
        if c.race is None:
            rows.append([c.letter, "no race that has ended", "", "", ""])
            continue
        winner = c.race.winner
        accuracy = f"{winner.accuracy:.2%} ± {winner.standard_error:.2%}"
        network = f"{winner.network.name} ({', '.join(winner.network.roles)})"
        rows.append([c.letter, accuracy, str(winner.epochs), network, " ".join(c.race.files.training)])
    return rows


def percentiles(contender: Contender) -> str:
    """Where the winner stands by the second opinion; empty where its run has none."""
    standings = () if contender.opinion is None else contender.opinion.standings
    places = ", ".join(f"{s.measure} {s.whole}" for s in standings)
    return f"percentile {places} among the networks of its run" if places else ""


def score_of(row: Finalist) -> str:
    """The mean over initializations with its error."""
    return with_error(row.mean, row.standard_error) if row.values else "none"


def with_error(value: float, error: float) -> str:
    """``15.2788 ± 0.0025``; large numbers with six digits."""
    number = f"{value:.4f}" if abs(value) < 1e6 else f"{value:.6g}"
    return number if math.isnan(error) else f"{number} ± {error:.2g}"


def comparability(comparison: Comparison) -> list[str]:
    """Sentences on what can be compared, and what cannot."""
    return [*_same_networks(comparison.runs), *_spaces(comparison.runs), *_python(comparison.runs)]


def _same_networks(runs: Sequence[Contender]) -> Iterator[str]:
    for group in alike(runs, lambda c: [c.recipe.resolved()["space"], c.winner.key]):
        if len(group) > 1:
            yield f"{_letters(group)} found the same network."


def _spaces(runs: Sequence[Contender]) -> Iterator[str]:
    spaces = alike(runs, lambda c: c.recipe.resolved()["space"])
    if len(spaces) > 1:
        parts = "; ".join(f"{_letters(group)}: {_space(group[0], runs)}" for group in spaces)
        yield (
            f"The runs search different spaces ({parts}): scores of networks of different spaces cannot be compared, "
            "only sizes and races."
        )
    for group in spaces:
        proxies = alike(group, lambda c: c.recipe.resolved()["score"])
        if len(proxies) > 1:
            labels = labels_of(runs)
            parts = "; ".join(f"{_letters(same)}: {labels[same[0].letter]}" for same in proxies)
            yield (
                f"{_letters(group)} search by different scores ({parts}), which cannot be compared with one another: "
                "each winner is scored by each of them below."
            )
        elif len(group) > 1:
            yield f"{_letters(group)} search the same space by the same score, so their winners are compared by it."


def _space(contender: Contender, runs: Sequence[Contender]) -> str:
    """The name of its space, and the options in which that differs from others of this name."""
    own, *others = [c.recipe.resolved()["space"] for c in (contender, *runs)]
    name = contender.winner.space.name
    if not isinstance(own, dict):
        return name
    namesakes = [space for space in others if isinstance(space, dict) and space.get("use") == own.get("use")]
    different = [key for key in own if any(space.get(key) != own[key] for space in namesakes)]
    varied = [f"{key}: {json.dumps(own[key])}" for key in different]
    return f"{name} with {', '.join(varied)}" if varied else name


def _python(runs: Sequence[Contender]) -> Iterator[str]:
    for c in runs:
        unknown = [name for name in SECTIONS if getattr(c.recipe, name) is None]
        if unknown:
            yield f"{c.letter} was given its {' and '.join(unknown)} from Python, which its recipe does not tell."


def caveats(comparison: Comparison) -> list[str]:
    """Sentences on how the new scores are to be read."""
    told = ["p is about the score, not about accuracy: train the winners before you settle on one."]
    if len({r.label for r in comparison.rescored}) > 1:
        told.append(
            "A network is likely to be ahead by the score that it was chosen by; what tells more is how it does by "
            "the others."
        )
    return told + [
        f"A score by {r.label} is a place among others: here among all candidates of {listed(r.searched)}, each "
        "architecture once, and the winners on the same initialization."
        for r in comparison.rescored
        if r.is_relative
    ]


def leads(runs: Sequence[Contender]) -> list[str]:
    """What the races come to, sentence by sentence: who is ahead, and whether it counts."""
    groups = alike([c for c in runs if c.race], lambda c: c.race and c.race.terms)
    told = [sentence for group in groups for sentence in _leads(group)]
    if len(groups) > 1:
        apart = "; ".join(_letters(group) for group in groups)
        told.append(
            "Races that differ in data, epochs or options of training are not compared, since their accuracies do not "
            f"tell which network is better: {apart}."
        )
    return told


def _leads(group: Sequence[Contender]) -> list[str]:
    (letter, best), *others = sorted(
        ((c.letter, c.race) for c in group if c.race), key=lambda pair: -pair[1].winner.accuracy
    )
    return [f"{letter} against {other}, by races on the same data: {_lead(best, race)}." for other, race in others]


def _lead(best: RaceOutcome, other: RaceOutcome) -> str:
    lead, error = best.ahead_of(other)
    if lead == 0:
        return "equal accuracies"
    counts = "more" if lead > 2 * error else "no more"
    return f"{100 * lead:.2f} ± {100 * error:.2f} points ahead, {counts} than twice the standard error"


def _letters(group: Sequence[Contender]) -> str:
    return listed([c.letter for c in group])


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
