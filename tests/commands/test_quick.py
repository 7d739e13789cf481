"""Help, lists and the news of a mistake come without torch, numpy and the like, which take seconds to import."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.heavy import HEAVY, Outcome, outcomes, python
from vkdnw_search.commands.main import VERBS

OWN = """
seed: -1
space: {use: nasbench201, chanels: 4}
limits: {flops: 600MB, macks: 1M}
score: {use: vkdnw_single, images: 0, memory: lots}
optimizer: {use: evolution, population: 1}
stop: {seconds: 0}
executor: {use: processes, workers: 0}
sede: 0
"""

FILES = {
    "own.yaml": OWN,
    "list.yaml": "- seed: 0\n",
    "broken.yaml": "space: [nasbench201\n",
    "tags.yaml": "seed: !!python/name:os.system ''\n",
    "code.py": "import torch\n",
    "table.csv": "arch,cifar10\n",
}

ASKED = [["--help"], ["--version"], ["list"], *([verb, "--help"] for verb in VERBS)]

TEXT = ["--text", "|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"]
RANK = ["rank", "nasbench201", "--accuracies", "table.csv", "--out", "out"]

MISTAKES: list[tuple[list[str], str]] = [
    # the command line as such
    ([], "usage: vkdnw-search"),
    (["serch"], "must be a recipe file, a shipped recipe"),
    (["nb202"], "Did you mean 'nb201'?"),
    (["nb201", "--outt", "x"], "unrecognized arguments: --outt"),
    (["nb201", "-q", "-v"], "not allowed with argument"),
    (["nb201", "seed"], "override 'seed': must have the form KEY=VALUE"),
    (["nb201", "seed=[1"], "override 'seed=[1'"),
    (["nb201", "seed.x=1"], "seed has no keys"),
    (["nb201", "--plugin", "gone.py"], "--plugin"),
    (["list", "nb202"], "Did you mean 'nb201'?"),
    (["list", "mobilenet", "seed"], "must have the form KEY=VALUE"),
    (["list", "--plugin", "gone.py"], "there is no such file"),
    *(([verb], "the following arguments are required") for verb in VERBS if verb != "list"),
    # the file as such
    (["gone.yaml"], "there is no such file"),
    (["folder"], "must be a recipe file, but is a folder"),
    (["code.py"], "is Python. Code joins by --plugin"),
    (["list.yaml"], "must be a mapping"),
    (["broken.yaml"], "broken.yaml: "),
    (["tags.yaml"], "are not allowed: a recipe is plain data"),
    (["doctor", "gone.yaml"], "there is no such file"),
    (["doctor", "nb201", "seed"], "must have the form KEY=VALUE"),
    # what is in it
    (["nb201", "sede=1"], "Did you mean 'seed'?"),
    (["nb201", "seed=x"], "seed: must be a whole number"),
    (["nb201", "limits.flop=1"], "Did you mean 'flops'?"),
    (["nb201", "limits.flops=600MB"], "Did you mean '600M'?"),
    (["nb201", "stop.evalutions=3"], "Did you mean 'evaluations'?"),
    (["nb201", "stop.seconds=0"], "must be a number above 0"),
    (["nb201", "bands=[3, 2]"], "bands: must be"),
    (["mbv2_600M", "bands=[6, 9]"], "For numbers of layers say bands_of: layers"),
    (["nb201", "bands_of=layers", "bands=[3M]"], "bands: must not exceed limits.layers, but 3M > 10k"),
    (["nb201", "bands_of=depth"], "bands_of: must be one of"),
    (["nb201", "space=nasbnch201"], "Did you mean 'nasbench201'?"),
    (["nb201", "score.use=vkdnw_singel"], "Did you mean 'vkdnw_single'?"),
    (["nb201", "optimizer=evolutoin"], "Did you mean 'evolution'?"),
    (["nb201", "executor=treads"], "must be an installed executor"),
    (["nb201", "space.cels=1"], "Did you mean 'cells'?"),
    (["nb201", "score.images=0"], "score.images: must be a whole number from 1 to 4096"),
    (["nb201", "optimizer.population=1"], "optimizer.population: must be"),
    (["nb201", "executor={use: dask, adress: x}"], "Did you mean 'address'?"),
    (["doctor", "nb201", "score.images=0"], "score.images: must be"),
    # other commands
    (["report", "folder"], "must be the folder of a run"),
    (["export", "folder"], "must be the folder of a run"),
    (["compare", "folder"], "but there is only folder"),
    (["compare", "folder", "gone"], "must be the folder of a run"),
    (["compare", "folder", "gone", "--workers", "0"], "must be a number from 1 to 1024"),
    (["export", "folder", "--rank", "2", "--number", "3"], "not allowed with argument"),
    (["export", "folder", "--flops", "many"], "--flops: must be a number such as 450M"),
    (["export", "folder", "--network", "{"], "must be JSON such as"),
    (["export", "folder", "--network", "3"], "must be a JSON object"),
    (["export", "folder", "--network", '{"dropout": 0.2}'], "give them there"),
    (["export", "mobilnet", *TEXT], "Did you mean 'mobilenet'?"),
    (["score", "gone.py"], "must be a Python file, an importable module or a search space"),
    (["score", "no_such_module:Network"], "No module named 'no_such_module'"),
    (["score", "nasbench201"], "must have --text"),
    (["score", "gone.py", *TEXT], "--text and space.… are for search spaces"),
    (["score", "nasbench201", *TEXT, "--proxy", "zenn"], "Did you mean 'zen'?"),
    (["score", "nasbench201", *TEXT, "zen.alpha=1"], "settings must begin with 'space' or 'vkdnw_single'"),
    (["score", "nasbench201", *TEXT, "space.cels=1"], "Did you mean 'cells'?"),
    (["score", "nasbench201", *TEXT, "vkdnw_single.images=0"], "vkdnw_single.images: must be"),
    (["score", "nasbench201", *TEXT, "--input-shape", "3,x"], "must be whole numbers of at least 1"),
    (["score", "nasbench201", *TEXT, "--input-shape", "3, 0, 64"], "such as 3,224,224, but is '3, 0, 64'"),
    (["score", "nasbench201", *TEXT, "images=3"], "must have the form NAME.OPTION=VALUE"),
    ([*RANK, "--proxies", "flosp"], "Did you mean 'flops'?"),
    ([*RANK, "--proxies", "flops", "jacov.images=9"], "settings must begin with 'space' or the name of a proxy"),
    ([*RANK, "--proxies", "flops,jacov", "jacov.images=1"], "jacov.images: must be"),
    ([*RANK, "--seeds", "0"], "must be a number from 1 to 1024"),
    ([*RANK, "--accuracies", "gone.csv"], "gone.csv: must be an accuracy table"),
    (["rank", "nasbnch201", *RANK[2:]], "Did you mean 'nasbench201'?"),
]  # fmt: skip


@pytest.fixture(scope="module")
def came(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Command line → what came of it. All are carried out in one process: once a package is imported it stays."""
    folder = tmp_path_factory.mktemp("quick")
    (folder / "folder").mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    commands = [["own.yaml"], *ASKED, *(words for words, _ in MISTAKES)]
    found = dict(zip(map(" ".join, commands), outcomes(commands, folder=folder), strict=True))
    assert {file.name for file in folder.iterdir()} == {"folder", *FILES}
    return found


@pytest.mark.parametrize("words", ASKED, ids=" ".join)
def test_help_version_and_list_import_nothing_heavy(words: list[str], came: dict[str, Outcome]) -> None:
    outcome = came[" ".join(words)]
    assert outcome.code == 0 and outcome.said
    assert outcome.imported == ()


@pytest.mark.parametrize(("words", "says"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_is_told_with_code_2_and_nothing_heavy_is_imported(
    words: list[str], says: str, came: dict[str, Outcome]
) -> None:
    outcome = came[" ".join(words)]
    assert outcome.code == 2
    assert says in outcome.said
    assert outcome.imported == ()


def test_all_faults_of_a_recipe_are_told_at_once_and_nothing_heavy_is_imported(came: dict[str, Outcome]) -> None:
    outcome = came["own.yaml"]
    told = [line.partition(": ")[0].removeprefix("own.yaml, ") for line in outcome.said.splitlines()]
    assert sorted(told) == [
        "executor.workers",
        "limits.flops",
        "limits.macks",
        "optimizer.population",
        "score.images",
        "score.memory",
        "sede",
        "seed",
        "space.chanels",
        "stop.seconds",
    ]
    assert (outcome.code, outcome.imported) == (2, ())


def test_help_as_a_program_imports_nothing_heavy(tmp_path: Path) -> None:
    told = python("-X", "importtime", "-m", "vkdnw_search", "--help", folder=tmp_path)
    modules = [line.rpartition("|")[2].strip() for line in told.stderr.splitlines()]
    assert "vkdnw_search.commands.main" in modules and told.stdout.startswith("usage: vkdnw-search")
    assert not [module for module in modules if module.partition(".")[0] in HEAVY]
