"""Who races: the finalists of a search, its trivial choices, the winners of bands, and networks of the user's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vkdnw_search.atomic_files import write_whole
from vkdnw_search.engine.named_networks import architecture_of
from vkdnw_search.errors import RaceError, SpaceError
from vkdnw_search.output.module import description_of, export_all
from vkdnw_search.quantities import counted
from vkdnw_search.records import Evaluation
from vkdnw_search.runs.contents import PROGRAMS
from vkdnw_search.runs.reader import RunReader
from vkdnw_search.runs.result import FoundNetwork, unvisited

FINALIST, RANKED = "finalist", "next by score"
TRIVIAL = ("most FLOPs", "first random")
"""The choices without a search that race, too."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """A network that races.

    Attributes:
        name: as it is told of: ``network 17``, or what the user gave.
        roles: why it races; ``winner`` is the search's.
        source: the candidate, or the path of a module of the user's.
        score: by the search, the mean over fresh initializations where there is one; None for a network of the user's.
    """

    name: str
    roles: tuple[str, ...]
    source: FoundNetwork | Path
    score: float | None

    @property
    def key(self) -> str:
        """The architecture as text, or the path of the module."""
        return self.source.key if isinstance(self.source, FoundNetwork) else str(self.source)

    @property
    def flops(self) -> int | None:
        """FLOPs as counted by the search; None for a module of the user's."""
        return self.source.cost.flops if isinstance(self.source, FoundNetwork) else None

    @property
    def parameters(self) -> int | None:
        """Number of parameters, likewise."""
        return self.source.cost.parameters if isinstance(self.source, FoundNetwork) else None


def shortlist(visited: RunReader, *, networks: int, others: Sequence[str] = ()) -> list[Entrant]:
    """The networks of a run that shall race, the winner of the search first.

    Two places are for what one could have had without a search: the network of the most FLOPs and the first random one.
    The others are for the winners of bands, then finalists, then whatever follows by score.

    Args:
        visited: the run, which must have ended.
        networks: how many of its networks, at most.
        others: architectures as text, names of references of the space, or paths of modules, which come on top.

    Raises:
        RaceError: the run has not ended, or fewer than two networks are there to race.
    """
    judged = visited.judgement
    if judged is None or judged.winner is None:
        raise RaceError(f"{visited.path}: must be a run that has ended with a winner, but is not. Continue it first")
    by_number = {e.number: e for e in visited.evaluations}
    roles: dict[int, list[str]] = {judged.winner: ["winner"]}
    trivial = {b.number: b.role for b in judged.baselines if b.role in TRIVIAL and b.number in by_number}
    places = max(networks - len(set(trivial) - set(roles)), 1)
    for number, role in _candidates(visited):
        if number not in roles and number not in judged.refused and len(roles) < places:
            roles[number] = [role]
    for baseline in judged.baselines:
        if baseline.role in TRIVIAL and (baseline.number in roles or len(roles) < networks):
            roles.setdefault(baseline.number, []).append(baseline.role)
    entrants = [_entrant(visited, by_number[number], tuple(why)) for number, why in roles.items()]
    for text in others:
        _add(entrants, _of_user(visited, text))
    if len(entrants) < 2:
        raise RaceError(f"{visited.path}: a race needs two networks, but there is one. Add yours by --with")
    return entrants


def _add(entrants: list[Entrant], new: Entrant) -> None:
    """Add a network of the user's, or its role to the one that races already."""
    for place, there in enumerate(entrants):
        if there.key == new.key:
            roles = (*there.roles, *(role for role in new.roles if role not in there.roles))
            entrants[place] = replace(there, roles=roles)
            return
    entrants.append(new)


def write_modules(entrants: Sequence[Entrant], folder: Path) -> list[Path]:
    """Write the module of each network, and what trains it, into a folder of ``folder`` of its own: their paths.

    What is there already stays. All that are not are checked together, since each check starts an interpreter.
    """
    modules = [folder / f"{place:02}" / "model.py" for place in range(len(entrants))]
    missing = []
    for entrant, module in zip(entrants, modules, strict=True):
        if isinstance(entrant.source, Path):
            if not module.exists():
                write_whole(module, entrant.source.read_bytes())
        elif not all(file.exists() for file in (module, description_of(module), *map(module.with_name, PROGRAMS))):
            missing.append((entrant.source, module))
    if missing:
        export_all(missing)
    return modules


def _candidates(visited: RunReader) -> Iterator[tuple[int, str]]:
    assert visited.judgement is not None
    of = visited.recipe.bands_of
    yield from ((w.number, f"best up to {counted(of, edge)}") for edge, w in visited.bands if w is not None)
    yield from ((f.number, FINALIST) for f in visited.judgement.finalists)
    yield from ((e.number, RANKED) for e in visited.ranked)


def _entrant(visited: RunReader, evaluation: Evaluation, roles: tuple[str, ...]) -> Entrant:
    assert visited.judgement is not None
    score = visited.judgement.means.get(evaluation.number, visited.fitness.get(evaluation.number))
    return Entrant(f"network {evaluation.number}", roles, visited.found(evaluation), score)


def _of_user(visited: RunReader, text: str) -> Entrant:
    """A network given as text of the run's search space, as the name of one of its references, or as a module."""
    if text.endswith(".py"):
        path = Path(text).resolve()
        if not path.is_file():
            raise RaceError(f"--with {text}: must be a Python file, but there is none")
        return Entrant(text, ("yours",), path, None)
    try:
        name, architecture = architecture_of(visited.space, text, what="a Python file")
    except SpaceError as error:
        raise RaceError(f"--with: {error}") from None
    return Entrant(name, ("yours",), unvisited(visited.space, architecture), None)
