"""What a race loses: twelve networks trained to the end, and every race that could have been held among eight of them.

python tests/benchmarks/race_quality.py --out DIR --json FILE [--train-images 5000] [--test-images 4000]

The networks are the first twelve of one class that `trained_networks.py` draws, before anything is trained; the images
are the first 5,000 training and 4,000 test images of Fashion-MNIST. Every network is trained once to the end by the
trainer of `vkdnw-search race`. Since a race trains by the very same schedule and only stops some networks early, what
a race of eight would have chosen can be read from these curves. Over 1,000 random shortlists of eight, the points of
accuracy are told that three choices lose against the best of the shortlist: the race's, that of the highest
VKDNW_single, as the recipes take it, and a random one's.

DIR keeps the trainings, and the same command goes on from there. They take an hour of a core; with all 70,000 images
they would take seven.
"""

from __future__ import annotations

import gzip
import itertools
import random
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from statistics import fmean, stdev

sys.path.insert(0, str(Path(__file__).parents[2]))

from search_spaces.mobilenet_structure import parse
from tests.benchmarks.measuring import arguments, conclude, table
from tests.benchmarks.sampling import scores
from tests.benchmarks.trained.images import FOLDER, UNSIGNED_BYTES, read_idx
from tests.benchmarks.trained.networks import SPACE, Candidate, draw_networks
from vkdnw_search import load_recipe
from vkdnw_search.engine.tasks import run_tasks
from vkdnw_search.execution.executors import processes
from vkdnw_search.output.module import description_of, export
from vkdnw_search.racing.schedule import Rung, schedule, trained_epochs
from vkdnw_search.racing.training import ACCURACY, TrainingTask, curve, lost_training, train_network
from vkdnw_search.runs.result import unvisited

NETWORKS, SHORTLIST, DRAWS = 12, 8, 1000
RECIPE = ("mbv2_600M", ("score.images=64", "score.resolution=40"))

Curve = Sequence[float]
"""Accuracy after each epoch."""


def drawn() -> list[Candidate]:
    """The networks, in the order of the queue."""
    return [network for network in draw_networks() if network.part == "class"][:NETWORKS]


def part_of(images: Path, folder: Path, *, train: int, test: int) -> Path:
    """A folder with the first images and labels of ``images``, in IDX files, too."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(images.glob("*-ubyte.gz")):
        array = read_idx(file)[: train if file.name.startswith("train-") else test]
        head = bytes((0, 0, UNSIGNED_BYTES, array.ndim)) + b"".join(length.to_bytes(4, "big") for length in array.shape)
        (folder / file.name).write_bytes(gzip.compress(head + array.tobytes(), mtime=0))
    return folder


def trained(
    networks: Sequence[Candidate], out: Path, words: Sequence[str], epochs: int, executor: Executor
) -> list[Curve]:
    """The curve of each network, of so many epochs."""
    words, tasks = (*words, "--epochs", str(epochs)), []
    for network in networks:
        folder = out / f"{network.number:03}"
        module = folder / "model.py"
        if not description_of(module).exists():
            export(unvisited(SPACE, parse(network.key)), module)
        tasks.append((network.number, TrainingTask(module, folder / "seed-0", words, 0, epochs)))
    outcomes = dict(run_tasks(tasks, executor, call=train_network, lost=lost_training, stopped=lambda: False))
    for number, outcome in outcomes.items():
        if outcome.accuracy is None:
            raise RuntimeError(f"network {number}: {outcome.reason}")
    return [[row[ACCURACY] for row in curve(task.folder)] for _, task in tasks]


def race_choice(curves: Sequence[Curve], rungs: Sequence[Rung]) -> int:
    """The place of the network that a race among ``curves`` ends with."""
    left = list(range(len(curves)))
    for number, rung in enumerate(rungs):
        left.sort(key=lambda place: -curves[place][rung.epochs - 1])
        left = left[: rungs[number + 1].networks if number + 1 < len(rungs) else 1]
    return left[0]


def losses(curves: Sequence[Curve], values: Sequence[float], rungs: Sequence[Rung]) -> Mapping[str, list[float]]:
    """Points of final accuracy that each choice loses against the best, one for each random shortlist."""
    chance = random.Random(0)
    lost: dict[str, list[float]] = {"race": [], "first by score": [], "random": []}
    for _ in range(DRAWS):
        places = chance.sample(range(len(curves)), SHORTLIST)
        final = [100 * curves[place][-1] for place in places]
        choices = {
            "race": race_choice([curves[place] for place in places], rungs),
            "first by score": max(range(SHORTLIST), key=lambda i: values[places[i]]),
            "random": chance.randrange(SHORTLIST),
        }
        for name, choice in choices.items():
            lost[name].append(max(final) - final[choice])
    return lost


def main() -> None:
    """Train, choose, print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="trainings")
    parser.add_argument("--images", type=Path, default=FOLDER, help="Fashion-MNIST (default: %(default)s)")
    parser.add_argument("--train-images", type=int, default=5000, help="how many of them (default: %(default)s)")
    parser.add_argument("--test-images", type=int, default=4000, help="likewise (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=12, help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one a core)")
    options = parser.parse_args()
    networks, rungs = drawn(), schedule(SHORTLIST, epochs=options.epochs)
    data = part_of(options.images, options.out / "images", train=options.train_images, test=options.test_images)
    words = ["--data", str(data), "--size", str(SPACE.resolution), "--batch", "64"]
    words += ["--augment", "standard", "--warm-up", "0.5", "--bn-momentum", "0.1"]
    with processes(workers=options.workers or "auto") as executor:
        curves = trained(networks, options.out, words, options.epochs, executor)
        proxy = load_recipe(RECIPE[0], RECIPE[1]).build_proxy()
        found = scores(SPACE, [SPACE.encode(parse(n.key)) for n in networks], proxy, [0], executor)
    values = [row[0].value if row[0] is not None else float("-inf") for row in found]
    rows = [
        [n.number, n.group, n.layers, f"{value:.3f}", *(f"{100 * own[rung.epochs - 1]:.2f}" for rung in rungs)]
        for n, value, own in zip(networks, values, curves, strict=True)
    ]
    print(table(["network", "group", "layers", "score", *(f"after {rung.epochs}" for rung in rungs)], rows), "\n")
    lost = losses(curves, values, rungs)
    share = trained_epochs(rungs) / (SHORTLIST * options.epochs)
    print(table(["choice", "points lost", "sd"], [[n, f"{fmean(v):.2f}", f"{stdev(v):.2f}"] for n, v in lost.items()]))
    print(f"\na race takes {share:.0%} of the epochs of training all {SHORTLIST} to the end")
    pairs = list(itertools.combinations(range(len(curves)), 2))
    kept = fmean((curves[a][0] > curves[b][0]) == (curves[a][-1] > curves[b][-1]) for a, b in pairs)
    print(f"of two networks the one ahead after the first epoch is ahead at the end in {kept:.0%} of pairs")
    conclude({"networks": rows, "lost": {name: fmean(values) for name, values in lost.items()}}, options.json)


if __name__ == "__main__":
    main()
