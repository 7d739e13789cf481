"""Trains networks of the `mobilenet` space on Fashion-MNIST: accuracies to judge scores by, with their noise.

    apt install dataset-fashion-mnist
    OMP_NUM_THREADS=1 python tests/benchmarks/trained_networks.py --out work
    python tests/benchmarks/trained_networks.py --out work --summary
    python tests/benchmarks/trained_networks.py --out work --collect tests/data/trained_mobilenet

All networks are drawn from one seed before anything is trained (trained/networks.py), and none is left out for its
result. A process trains one network after the other on one thread; several may share a folder, each takes what no other
is at, and after a stop of any kind the same command goes on: a training that was cut off begins anew. Networks of your
own are trained in a folder of their own, from two seeds each: --networks FILE, lines of `name architecture`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from search_spaces.mobilenet_structure import parse
from tests.benchmarks.trained.images import FOLDER, Images, read_images
from tests.benchmarks.trained.networks import SPACE, Candidate, Drawn, candidate, cost_of, draw_networks
from tests.benchmarks.trained.store import Plan, Training, WorkFolder
from tests.benchmarks.trained.tables import summary, write_tables
from tests.benchmarks.trained.training import Settings, train
from vkdnw_search.errors import SpaceError
from vkdnw_search.runs.folder import checkout

GIVEN_SEEDS = (0, 1)
ROOT = Path(__file__).parents[2]


def work(folder: WorkFolder, plan: Plan, images: Images, *, most: int | None = None) -> int:
    """Train what is left of ``plan``, at most ``most`` networks. Returns how many trainings it did."""
    state = checkout(ROOT)
    commit = "unknown" if state is None else f"{state['commit']}{' with changes' if state['changed'] else ''}"
    jobs = plan.jobs()
    trained = 0
    for network, seed in folder.claim(jobs):
        if trained == most:
            break
        outcome = train(network.key, seed, images, space=plan.space, settings=plan.settings)
        folder.record(Training(network.number, network.key, seed, outcome, commit, torch.__version__))
        trained += 1
        print(
            f"{len(folder.trainings())}/{len(jobs)} network {network.number} ({network.group} {network.name}, "
            f"{network.flops / 1e6:.2f}M FLOPs) seed {seed}: {outcome.accuracy:.2f} %, test loss "
            f"{outcome.test_loss:.4f}, {outcome.seconds:.0f} s, {outcome.cpu_seconds:.0f} s on the processor",
            flush=True,
        )
    return trained


def given_networks(file: Path) -> list[Candidate]:
    """The networks of a file with a line for each, its name and its structure, each trained from two seeds.

    Raises:
        ValueError: a line is not of this form, or not a network.
    """
    networks = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines()):
        name, _, text = line.strip().rpartition(" ")
        try:
            structure = parse(text)
        except SpaceError as error:
            raise ValueError(f"{file}, line {number + 1}: must be a name and a structure, but: {error}") from error
        drawn = Drawn(structure, cost_of(structure), name)
        networks.append(candidate(number, "given", drawn, held_out=False, seeds=GIVEN_SEEDS))
    return networks


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, collect or sum up, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="work folder, shared by all processes")
    parser.add_argument(
        "--images", type=Path, default=FOLDER, metavar="DIR", help="Fashion-MNIST (default: %(default)s)"
    )
    parser.add_argument("--networks", type=Path, metavar="FILE", help="train these: lines of a name and a structure")
    parser.add_argument("--steps", type=int, default=Settings.steps, help="of 64 images, a training (%(default)s)")
    parser.add_argument("--most", type=int, metavar="N", help="stop after N trainings")
    parser.add_argument("--collect", type=Path, metavar="DIR", help="write the tables there, and train nothing")
    parser.add_argument("--summary", action="store_true", help="print what the trainings say, and train nothing")
    options = parser.parse_args(arguments)
    folder = WorkFolder(options.out)
    try:
        if options.collect or options.summary:
            plan, trainings = folder.plan(), folder.trainings()
            if options.collect:
                write_tables(options.collect, plan, trainings)
            print(summary(plan, trainings))
            return
        images = read_images(options.images)
        networks = given_networks(options.networks) if options.networks else draw_networks()
        plan = folder.open_plan(Plan(tuple(networks), SPACE, Settings.of(options.steps)))
    except (OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # dying channels would be many times slower
    try:
        work(folder, plan, images, most=options.most)
    finally:
        torch.set_flush_denormal(False)


if __name__ == "__main__":
    main()
