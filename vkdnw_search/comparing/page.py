"""A comparison → one HTML page in the look of a run's report; it needs no network and has no scripts."""

from __future__ import annotations

from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Any

from vkdnw_search.comparing import wording
from vkdnw_search.engine.finalists import FRESH
from vkdnw_search.engine.second_opinion import LOW
from vkdnw_search.output.pages import templates

if TYPE_CHECKING:
    from vkdnw_search.comparing.outcome import Comparison


def page(comparison: Comparison) -> str:
    """The page of ``comparison``, with all text escaped; half a character, as names of folders may have, is ``?``."""
    text = templates().get_template("comparison.html").render(_content(comparison))
    return text.encode(errors="replace").decode()


def _content(comparison: Comparison) -> dict[str, Any]:
    """All that the template shows."""
    runs, rescored = comparison.runs, comparison.rescored
    opinions = [{s.measure: s for s in c.opinion.standings} if c.opinion else {} for c in runs]
    labels = list(dict.fromkeys(r.label for r in rescored))
    return {
        "version": version("vkdnw-search"),
        "runs": runs,
        "facts": _columns(wording.runs_table(comparison)),
        "standings": {measure: [o.get(measure) for o in opinions] for measure in chain(*opinions)},
        "low": LOW,
        "changes": {c.letter: [(change.key, *change.texts) for change in c.changes] for c in runs[1:]},
        "sentences": wording.comparability(comparison),
        "fresh": FRESH,
        "labels": labels,
        "scores": {c.letter: [wording.cell(rescored, c.letter, label) for label in labels] for c in runs},
        "score_of": wording.score_of,
        "caveats": wording.caveats(comparison),
        "races": wording.races_table(runs) if any(c.race for c in runs) else [],
        "leads": wording.leads(runs),
    }


def _columns(rows: list[list[str]]) -> list[list[str]]:
    """The table with a column for each run, without the row of their letters."""
    return [list(column) for column in zip(*rows, strict=True)][1:]
