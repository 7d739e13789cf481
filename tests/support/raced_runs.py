"""Two small runs to be compared, and races in their folders as ``vkdnw-search race`` writes them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.quick import leave_out_the_end
from vkdnw_search import search
from vkdnw_search.output.race_files import COLUMNS, CURVES

RECIPE: dict[str, Any] = {
    "space": {"use": "nasbench201", "cells": 1, "channels": 4, "resolution": 16},
    "score": "flops",
    "optimizer": {"use": "random", "children": 4},
    "stop": {"evaluations": 4},
    "executor": "inline",
    "finalists": 0,
}
WORDS = ["--data", "digits", "--epochs", "3", "--size", "8"]


def make_two_runs(folder: Path) -> Path:
    """Make runs in the folders ``a`` and ``b`` of ``folder``, and return it."""
    with pytest.MonkeyPatch.context() as patch:
        leave_out_the_end(patch)
        for seed, name in enumerate("ab"):
            search({**RECIPE, "seed": seed, "description": "<b>bold</b>"}, out=folder / name).close()
    return folder


def put_race(run: Path, *, words: list[str] = WORDS, images: int = 360, **changes: object) -> None:
    """Files of a race, as ``vkdnw-search race`` writes them."""
    folder = run / "race"
    folder.mkdir()
    row = dict.fromkeys(COLUMNS, "") | {
        "place": 1, "name": "network 3", "roles": "winner", "epochs": 3, "accuracy": 0.9, "standard_error": 0.01,
        "architecture": "|none~0|",
    }  # fmt: skip
    first = {**row, **changes}
    described = {"networks": [], "training": words, "rungs": 2, "keep": 0.5, "seeds": 1, "test_images": images}
    schedule = [{"networks": 2, "epochs": first["epochs"]}]
    (folder / "race.json").write_text(json.dumps({**described, "classes": 10, "schedule": schedule}))
    second = {**first, "place": 2, "name": "network 5", "roles": "finalist", "accuracy": 0.1}
    _write(folder / "race.csv", COLUMNS, [first, second])
    epoch = dict.fromkeys(CURVES, 0) | {"epoch": first["epochs"], "ema_accuracy": 0.5}
    _write(folder / "curves.csv", CURVES, [{**epoch, "network": network["name"]} for network in (first, second)])


def _write(file: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    with file.open("w", newline="") as text:
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
