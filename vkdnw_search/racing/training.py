"""One network of a race trained to a rung, in whatever process: by the train.py that is exported, and no other loop.

A folder for each network and seed holds what train.py writes there, so that a training that was cut off goes on from
its last epoch, and ``right-EPOCH.pt``: which test images it labels right once a rung is over.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from vkdnw_search.atomic_files import write_whole
from vkdnw_search.determinism import one_thread, seed_from
from vkdnw_search.errors import RaceError, named
from vkdnw_search.execution.worker_loop import INDEX
from vkdnw_search.output.templates import train, train_data

EPOCH, ACCURACY = "epoch", "ema_accuracy"

COLOURS = 3
"""Channels of images where the options of train.py do not say them, as those of earlier races do not."""


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """A network to train until an epoch is over.

    Attributes:
        module: path of a module that defines ``Network``.
        folder: where its training is kept.
        words: options of train.py: the data, the epochs of a whole training, the size of images, …
        seed: of its weights, and of the order and variation of images, which is the same for all networks.
        until: epoch after which it stops.
    """

    module: Path
    folder: Path
    words: tuple[str, ...]
    seed: int
    until: int


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """What came of a task: the accuracy of the averaged weights after its epoch, or the reason why there is none."""

    accuracy: float | None
    reason: str = ""


def train_network(task: TrainingTask) -> TrainingOutcome:
    """Train ``task`` from where it is, on one thread. What a network cannot do is its outcome, not an error.

    Raises:
        RaceError: the data cannot be read.
    """
    right = task.folder / f"right-{task.until}.pt"
    if not right.exists():
        try:
            with one_thread(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                trainer = _trained(task)
                labelled = torch.cat([first_five[:, 0] for first_five in trainer.right(trainer.ema)]).cpu()
        except train_data.DataError as error:
            raise RaceError(str(error)) from None
        except RaceError:
            raise
        except SystemExit as error:  # how train.py says what it cannot do
            return TrainingOutcome(None, str(error))
        except (RuntimeError, ValueError, TypeError, ArithmeticError) as error:
            return TrainingOutcome(None, named(error).splitlines()[0])
        content = io.BytesIO()
        torch.save(labelled, content)
        write_whole(right, content.getvalue())
    rows = [row for row in curve(task.folder) if row[EPOCH] == task.until]
    if not rows:
        raise _broken(task.folder / "curve.csv", f"it has no epoch {task.until}")
    return TrainingOutcome(rows[0][ACCURACY])


def lost_training(task: TrainingTask, reason: str) -> TrainingOutcome:
    """The outcome of a task that its executor gave up: after several workers died of it, each from its last epoch."""
    return TrainingOutcome(None, reason.replace("scoring it", "training it"))


def curve(folder: Path) -> list[dict[str, float]]:
    """The rows of curve.csv of one training; none before its first epoch is over."""
    file = folder / "curve.csv"
    if not file.exists():
        return []
    try:
        with file.open(encoding="utf-8", newline="") as text:
            return [{name: float(row[name]) for name in train.CURVE} for row in csv.DictReader(text)]
    except (ValueError, LookupError, TypeError, csv.Error) as error:
        raise _broken(file, error) from None


def labelled_right(folder: Path, epoch: int) -> torch.Tensor:
    """Which test images a network labels right after an epoch that ended a rung: (N,), bool."""
    file = folder / f"right-{epoch}.pt"
    try:
        found: torch.Tensor = torch.load(file, weights_only=True)
        return found.bool()
    except Exception as error:  # a file can be broken in any way
        raise _broken(file, error) from None


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """The weights that train.py wrote into a file."""
    try:
        state: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
        return {name: tensor.clone().contiguous() for name, tensor in state.items()}
    except Exception as error:
        raise _broken(file, error) from None


def _broken(file: Path, why: object) -> RaceError:
    """What to say of a file of a training that is not as it was written."""
    said = next(iter(str(why).strip().splitlines()), "") or type(why).__name__
    return RaceError(
        f"{file}: must be as it was written, but cannot be read: {said}. Take the folder {file.parent.name} away, and "
        "the same command trains this network anew"
    )


@lru_cache(maxsize=2)
def read_data(
    name: str, size: tuple[int, int], channels: int, augment: str | None, classes: int | None
) -> tuple[Any, Any, int]:
    """Training images, test images and the number of classes; a worker reads them once."""
    return train_data.read(name, size=size, channels=channels, augment=augment, classes=classes)


def network_class(module: Path) -> Callable[..., nn.Module]:
    """The class ``Network`` of a file.

    Raises:
        RaceError: the file cannot be run, or defines none.
    """
    name = f"_raced_{seed_from(str(module))}"
    spec = importlib.util.spec_from_file_location(name, module)
    try:
        if spec is None or spec.loader is None:
            raise ImportError("it is no Python file")
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[name] = loaded
        spec.loader.exec_module(loaded)
        found: Callable[..., nn.Module] = loaded.Network
    except Exception as error:  # a file of the user's can raise anything
        raise RaceError(f"{module}: must define a class Network, but: {named(error)}") from None
    return found


def options_of(words: Sequence[str], folder: Path, *, until: int | None = None, seed: int = 0) -> Any:
    """The options of train.py for one training in ``folder``, which it continues where there is one."""
    more = ["--out", str(folder), "--seed", str(seed)]
    more += [] if until is None else ["--until", str(until)]
    if (folder / "last.pt").exists():
        more.append("--resume")
    return train.parse([*words, *more])


def worker_count() -> int | Literal["auto"]:
    """How many processes train on this machine by default: one a GPU, or one a core where there is none."""
    return torch.cuda.device_count() if torch.cuda.is_available() else "auto"


def device_of_worker() -> str | None:
    """The device on which this process trains if none is asked for: each worker of this machine has a GPU of its own.

    None leaves the choice to train.py, as in a process that is no such worker.
    """
    index = os.environ.get(INDEX)
    if index is None or not torch.cuda.is_available():
        return None
    return f"cuda:{int(index) % torch.cuda.device_count()}"


def _trained(task: TrainingTask) -> train.Trainer:
    options = options_of(task.words, task.folder, until=task.until, seed=task.seed)
    options.device = options.device or device_of_worker()
    data = read_data(options.data, options.size, options.channels or COLOURS, options.augment, options.classes)
    trainer = train.Trainer(options, network_class(task.module), *data)
    if trainer.goal.curve != train.CURVE:
        raise RaceError(
            f"--data {options.data}: must have a class for each image, by which a race compares networks, but has "
            f"{trainer.goal.words.partition(':')[0]}. Train networks one by one with best/train.py"
        )
    if options.resume:
        try:
            trainer.load()
        except Exception as error:  # a file can be broken in any way
            raise _broken(task.folder / "last.pt", error) from None
    if len(trainer.curve) < task.until:
        trainer.run()
    return trainer
