"""The work folder: the plan, one file for each training that is done, and a lock for each that is being done.

plan.json          every network and the settings, written once, before anything is trained
done/0007-1.json   network 7 from seed 1
doing/0007-1.lock  held by the process that trains it, let go by the system however that process ends
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from search_spaces.mobilenet import MobileNet
from tests.benchmarks.trained.networks import Candidate
from tests.benchmarks.trained.training import Outcome, Settings
from vkdnw_search.atomic_files import write_whole

SECOND_SEED_LATER = 0.05
"""A second training comes so much of the queue after the first, so that noise is known early."""


@dataclass(frozen=True)
class Plan:
    """What is trained, and how."""

    networks: tuple[Candidate, ...]
    space: MobileNet
    settings: Settings

    def jobs(self) -> list[tuple[Candidate, int]]:
        """Every training, a network and a seed, in the order of the queue."""
        later = SECOND_SEED_LATER * len(self.networks)
        jobs = [(network, seed) for network in self.networks for seed in network.seeds]
        return sorted(jobs, key=lambda job: (job[0].number + later * job[0].seeds.index(job[1]), job[1]))


@dataclass(frozen=True)
class Training:
    """One training that is done, and what it was made by."""

    network: int
    key: str
    seed: int
    outcome: Outcome
    commit: str
    torch: str


class WorkFolder:
    """The files of one plan. Several processes may use it, and any of them may be killed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open_plan(self, plan: Plan) -> Plan:
        """The plan of the folder, which becomes ``plan`` where there is none yet.

        Raises:
            ValueError: the folder has another plan.
        """
        text = json.dumps(asdict(plan), indent=1) + "\n"
        file = self.path / "plan.json"
        with self._locked(self.path / "plan.lock", wait=True):
            if not file.exists():
                write_whole(file, text)
        if file.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"{file}: must be the plan that this version draws, but differs. Continue with the version that began, "
                "or choose another --out"
            )
        return plan

    def plan(self) -> Plan:
        """The plan of the folder.

        Raises:
            FileNotFoundError: there is none.
        """
        file = self.path / "plan.json"
        if not file.is_file():
            raise FileNotFoundError(f"{file}: must be the plan of trainings, but there is none. Train first")
        read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        networks = (Candidate(**{**n, "seeds": tuple(n["seeds"])}) for n in read["networks"])
        return Plan(tuple(networks), MobileNet(**read["space"]), Settings(**read["settings"]))

    def claim(self, jobs: Sequence[tuple[Candidate, int]]) -> Iterator[tuple[Candidate, int]]:
        """The jobs that are not done, one after the other, each held while it is worked on.

        A job that another process holds is passed over; after the last one, those are looked at once more.
        """
        for _ in range(2):
            for network, seed in jobs:
                if self._done(network, seed).exists():
                    continue
                with self._locked(self.path / "doing" / f"{_name(network, seed)}.lock") as mine:
                    if mine and not self._done(network, seed).exists():
                        yield network, seed

    def record(self, training: Training) -> None:
        """Keep ``training``, as a whole or not at all."""
        write_whole(
            self.path / "done" / f"{training.network:04d}-{training.seed}.json",
            json.dumps(asdict(training), indent=1) + "\n",
        )

    def trainings(self) -> list[Training]:
        """All that are done, by network and seed."""
        read = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((self.path / "done").glob("*.json"))]
        return [Training(**{**training, "outcome": Outcome(**training["outcome"])}) for training in read]

    def _done(self, network: Candidate, seed: int) -> Path:
        return self.path / "done" / f"{_name(network, seed)}.json"

    @contextmanager
    def _locked(self, file: Path, *, wait: bool = False) -> Iterator[bool]:
        """Whether this process has the lock now."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True


def _name(network: Candidate, seed: int) -> str:
    return f"{network.number:04d}-{seed}"
