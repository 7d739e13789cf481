"""A run folder → report.html: one page that needs no network, and its figures as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from markupsafe import Markup

from vkdnw_search.atomic_files import write_whole
from vkdnw_search.contracts import AnyProxy, Architecture, SearchSpace
from vkdnw_search.engine.second_opinion import LOW
from vkdnw_search.errors import VkdnwSearchError
from vkdnw_search.output import diagram
from vkdnw_search.output import report_facts as facts
from vkdnw_search.output.pages import si, templates
from vkdnw_search.output.race_files import RaceFiles, read_race
from vkdnw_search.output.report_figures import Drawn, draw
from vkdnw_search.output.report_limits import asked, binding, bounds
from vkdnw_search.output.yardstick_words import further_costs, keeps_limits
from vkdnw_search.quantities import counted
from vkdnw_search.records import Evaluation
from vkdnw_search.runs.fitness import pareto_front
from vkdnw_search.runs.judgement import Judgement, Yardstick
from vkdnw_search.runs.reader import RunReader
from vkdnw_search.runs.result import band_module, front_module


def write_report(
    folder: str | Path,
    *,
    space: SearchSpace[Architecture] | None = None,
    proxy: AnyProxy | None = None,
    to: Path | None = None,
    reload: float = 0.0,
    check: Callable[[], None] = lambda: None,
) -> Path:
    """Write ``report.html`` and ``figures/`` into a run folder, whether its run has ended or not.

    Nothing in the folder is executed, and all text from it is escaped.

    Args:
        folder: of the run.
        space: the search space of a run that was given one from Python.
        proxy: the proxy of a run that was given one from Python.
        to: where to write the page instead, without ``figures/``.
        reload: seconds after which the open page of a run that has not ended loads itself again; 0: it does not.
        check: called again and again on the way; what it raises ends the writing, between two files.

    Returns:
        The page.

    Raises:
        RunFolderError: it is not the folder of a run that can be opened.
    """
    folder = Path(folder)
    with RunReader(folder, space=space, proxy=proxy) as visited:
        race, why = _race(folder / "race")
        figures = draw(visited, visited.ranked[0], race, check, png=to is None) if visited.ranked else {}
        told = _content(visited, figures, check) | {"race": race, "no_race": why}
        told["reload"] = reload if visited.judgement is None else 0.0
        page = templates().get_template("report.html").render(told)
    if to is not None:
        check()
        write_whole(to, page)
        return to
    for name, figure in figures.items():
        for suffix, content in (("png", figure.png), ("svg", figure.svg)):
            check()
            write_whole(folder / "figures" / f"{name}.{suffix}", content, within=folder)
    check()
    write_whole(folder / "report.html", page)
    return folder / "report.html"


def _race(folder: Path) -> tuple[RaceFiles | None, str]:
    """What the files of a race say; or, in a sentence, why nothing can be said. Neither where there is no race."""
    if not (folder / "race.json").exists():
        return None, ""
    if not (folder / "race.csv").exists():
        return None, "A race has begun, and has not ended: the same command continues it."
    try:
        return read_race(folder, within=folder.parent), ""
    except VkdnwSearchError as error:
        return None, str(error)


def _content(visited: RunReader, figures: Mapping[str, Drawn], check: Callable[[], None]) -> dict[str, Any]:
    """All that the template shows."""
    counts = visited.store.counts()
    content: dict[str, Any] = {
        "name": visited.recipe.name or visited.path.name,
        "version": version("vkdnw-search"),
        "visited": sum(counts.values()),
        "counts": counts,
        "seconds": visited.store.elapsed(),
        "recipe": visited.recipe.to_yaml(),
        "environment": visited.environment,
        "judgement": visited.judgement,
        "low": LOW,
        "changes_of_code": visited.changes_of_code,
        "asked": asked(visited.recipe),
        "winner": None,
        "yours": [] if visited.judgement is None else _yours(visited, visited.judgement),
    }
    if not visited.ranked:
        nearest = visited.store.least_infeasible()
        return content | {"nearest": nearest, "bounds": [] if nearest is None else bounds(visited, nearest)}
    winner = visited.ranked[0]
    architecture = visited.found(winner).architecture
    check()
    nodes, arcs = diagram.cell(architecture)
    genes = zip(visited.space.genes, winner.genome, strict=True)
    return content | {
        "winner": winner,
        "fitness": visited.fitness[winner.number],
        "figures": {name: Markup(figure.inline) for name, figure in figures.items()},
        "nodes": nodes,
        "arcs": arcs,
        "bars": diagram.chain(architecture),
        "genes": [(gene.name, gene.choices[index]) for gene, index in genes],
        "mutations": (mutations := facts.mutations(visited, winner)),
        "surroundings": facts.surroundings(mutations, winner),
        "shared": facts.shared(visited),
        "bounds": (limits := bounds(visited, winner)),
        "binding": binding(limits) if limits else "",
        "family": _family(visited),
        "values": visited.fitness,
        "below_front": winner not in pareto_front(visited.evaluations, visited.fitness),
        "networks": {e.number: e for e in visited.evaluations},
        "structures": _structures(visited),
        "top": [(e, visited.fitness[e.number]) for e in visited.ranked[:10]],
    }


def _yours(visited: RunReader, judgement: Judgement) -> list[tuple[Yardstick, str, str]]:
    """The user's networks, each with what else is known of its cost and with the limits that it keeps, in words."""
    rows = []
    for y in judgement.yardsticks:
        further = ", ".join(f"{name} {value}" for name, value in further_costs(y.cost))
        rows.append((y, further, keeps_limits(y, visited.recipe)))
    return rows


def _structures(visited: RunReader) -> dict[int, str]:
    """Number → structure in a few words, of the networks that the page lists."""
    judged = () if visited.judgement is None else (*visited.judgement.finalists, *visited.judgement.baselines)
    listed = {e.number for e in visited.ranked[:10]} | {f.number for f in judged}
    chosen = [e for e in visited.evaluations if e.number in listed]
    return {e.number: diagram.brief(visited.space.decode(e.genome)) for e in chosen}


def _family(visited: RunReader) -> dict[str, list[tuple[str, str, Evaluation | None]]]:
    """Title → rows of (label, module, network) of the networks that a run leaves beside its winner."""
    kept = pareto_front(visited.evaluations, visited.fitness) if visited.recipe.wants_front else []
    of = visited.recipe.bands_of
    return {
        "The best of each band": [
            (f"at most {counted(of, edge)}", band_module(edge, of), e) for edge, e in visited.bands
        ],
        "The front of score against FLOPs": [(f"{si(e.cost.flops)} FLOPs", front_module(e.cost), e) for e in kept],
    }
