"""The folder of a race: whether it may be used, what the race is, its curves, and the winner with its weights."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vkdnw_search.atomic_files import atomic_file, write_whole
from vkdnw_search.errors import RaceError
from vkdnw_search.output.module import description_of
from vkdnw_search.output.race_files import CURVES
from vkdnw_search.racing.entrants import Entrant
from vkdnw_search.racing.outcome import Race, Racer
from vkdnw_search.racing.schedule import Plan, Rung
from vkdnw_search.racing.training import curve, read_weights
from vkdnw_search.runs.contents import PROGRAMS

FILES = ("race.json", "race.csv", "race.lock", "curves.csv", "race.png")
FOLDERS = ("best", "networks", "networks/*")
WEIGHTS = ("weights.safetensors", "weights.pt")


def describe(
    entrants: Sequence[Entrant],
    plan: Plan,
    words: tuple[str, ...],
    images: int,
    classes: int,
    rungs: Sequence[Rung],
) -> dict[str, Any]:
    """What a race is, as race.json has it."""
    return {
        "networks": [{"name": e.name, "roles": list(e.roles), "architecture": e.key} for e in entrants],
        "training": list(words),
        "rungs": plan.rungs,
        "keep": plan.keep,
        "seeds": plan.seeds,
        "test_images": images,
        "classes": classes,
        "schedule": [{"networks": rung.networks, "epochs": rung.epochs} for rung in rungs],
    }


def must_be_ours(out: Path) -> None:
    """Refuse a folder that holds something else than a race, before anything is written."""
    there = {place.name for place in out.iterdir()} if out.is_dir() else {out.name} if out.exists() else set()
    if there - {"race.lock", "race.json.part"} and not (out / "race.json").is_file():
        raise RaceError(f"{out}: must be empty, or hold a race to continue, but does not. Choose another --out")


def keep_description(out: Path, description: dict[str, Any]) -> None:
    """Write what the race is, or see that it is the one of the folder."""
    file, text = out / "race.json", json.dumps(description, indent=1) + "\n"
    if not file.exists():
        write_whole(file, text)
    elif (there := file.read_text(encoding="utf-8")) != text:
        raise RaceError(
            f"{out}: holds another race: {_difference(there, description)}. Choose another folder with --out"
        )


def _difference(there: str, description: dict[str, Any]) -> str:
    try:
        before = json.loads(there)
        name = next(key for key, value in description.items() if before[key] != value)
        there, here = before[name], description[name]
        if name == "training":
            return f"its training is `{' '.join(there)}`, not `{' '.join(here)}`"
        told = f", {there} there and {here} here" if isinstance(here, int | float) else ""
        return f"its {name.replace('_', ' ')} {'are' if name.endswith('s') else 'is'} not the same{told}"
    except (ValueError, LookupError, TypeError, StopIteration, RecursionError):
        return "race.json is not as it was written"


def write_curves(out: Path, racers: Sequence[Racer], plan: Plan) -> None:
    """Write every epoch of every network so far."""
    with atomic_file(out / "curves.csv") as text:
        csv.writer(text, lineterminator="\n").writerows([CURVES, *_curves(racers, plan.seeds)])


def _curves(racers: Sequence[Racer], seeds: int) -> Iterator[Sequence[object]]:
    for racer in racers:
        for seed in range(seeds):
            for row in curve(racer.training(seed)):
                yield (racer.name, seed, int(row["epoch"]), *(row[name] for name in CURVES[3:]))


def write_best(found: Race) -> Path:
    """Write the winner's module, what trains it, and its weights of the first seed into ``best``. Returns the weights.

    They are ``weights.safetensors`` where safetensors is installed, else the ``weights.pt`` that train.py wrote.
    """
    source, best = found.winner.folder, found.folder / "best"
    module = source / "model.py"
    for file in (module, description_of(module), *(source / name for name in PROGRAMS)):
        if file.exists():
            write_whole(best / file.name, file.read_bytes())
    name, content = _weights(found.winner.training(0) / "weights.pt")
    for other in WEIGHTS:
        if other != name:
            (best / other).unlink(missing_ok=True)
    write_whole(best / name, content)
    return best / name


def _weights(file: Path) -> tuple[str, bytes]:
    try:
        from safetensors.torch import save  # an extra
    except ImportError:
        return file.name, file.read_bytes()
    return "weights.safetensors", save(read_weights(file))
