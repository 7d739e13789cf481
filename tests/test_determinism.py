"""Whatever a network of the user's draws while it is built, run or scored: the global generators stay as they were."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.tiny_space import Tiny, TinyArchitecture
from vkdnw_search import score
from vkdnw_search.choices import Choice, space_of
from vkdnw_search.cost.counter import CostCounter, count
from vkdnw_search.cost.latency import measured
from vkdnw_search.cost.peak_memory import PeakMemory, memory_profile
from vkdnw_search.determinism import device_of, forked_generators, seed_generators
from vkdnw_search.engine.tasks import Outcome, Task, score_candidate
from vkdnw_search.engine.trainability import Trial, check, try_training
from vkdnw_search.errors import ScoreError
from vkdnw_search.output.formats import write_torch_export
from vkdnw_search.output.module import must_have_source
from vkdnw_search.proxies.naswot import Naswot
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.records import Cost, Genome, Score
from vkdnw_search.testing import check_search_space
from vkdnw_search.testing.findings import global_random_state

PACKAGE = Path(__file__).parents[1] / "vkdnw_search"
COST = Cost(1, 1, 1, 1, 1, 1)
FREE = frozenset({"aten::rand", "aten::add", "aten::mul"})

DRAWING = """import random

import numpy as np
import torch
from torch import nn


class Network(nn.Sequential):
    def __init__(self, num_classes=4):
        random.random(), np.random.rand(), torch.rand(())
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, num_classes))

    def forward(self, x):
        shift = random.random() + float(np.random.rand()) + 0.0 * torch.rand(()).to(x)
        return super().forward(x + shift * 1e-1)
"""


def drawing(num_classes: int = 4) -> nn.Module:
    """A network that draws from all three global generators, when it is built and whenever it runs."""
    names: dict[str, Any] = {}
    exec(DRAWING, names)
    model: nn.Module = names["Network"](num_classes)
    return model


class Drawing:
    """Every network of this space draws."""

    name, genes, input_shape, num_classes = Tiny.name, Tiny.genes, Tiny.input_shape, Tiny.num_classes
    free_operators = FREE

    def decode(self, genome: Genome) -> TinyArchitecture:
        return Tiny().decode(genome)

    def build(self, architecture: TinyArchitecture) -> nn.Module:
        return drawing()

    def source(self, architecture: TinyArchitecture) -> str:
        """Torch alone, which is all that a source may import."""
        source = DRAWING.replace("import random\n", "").replace("import numpy as np\n", "")
        return source.replace("np.random.rand()", "torch.rand(())").replace("random.random()", "float(torch.rand(()))")


def chosen(num_classes: int) -> nn.Module:
    random.random(), np.random.rand(Choice("width", 1, 2)), torch.rand(())
    return drawing(num_classes)


SPACE: Any = Drawing()
FIRST = SPACE.decode((0, 0, 0))
PROXY = VkdnwSingle(images=16, directions=1, draws=2, parameters=4)


def task(proxy: Any = PROXY) -> Task:
    return Task(SPACE, proxy, (0, 0, 0), FIRST.key, COST, 5)


def told(make: Callable[[], object]) -> None:
    """Whatever it raises: some of these networks are not what they should be, and that is found."""
    try:
        make()
    except AssertionError as error:
        assert "breaks its contract" in str(error)


USES: dict[str, Callable[[nn.Module, Path], object]] = {
    "score": lambda model, folder: score(model, (3, 8, 8), proxy=PROXY),
    "score by a baseline": lambda model, folder: score(model, (3, 8, 8), proxy=Naswot(images=4)),
    "candidate": lambda model, folder: score_candidate(task()),
    "baseline of a candidate": lambda model, folder: score_candidate(task(Naswot(images=4))),
    "trial of training": lambda model, folder: try_training(Trial(SPACE, (0, 0, 0), FIRST.key, 3)),
    "trial of a network": lambda model, folder: check(model, (3, 8, 8), 4, 0),
    "count": lambda model, folder: count(model, (3, 8, 8), free_operators=FREE),
    "cost of a candidate": lambda model, folder: CostCounter(SPACE).cost(FIRST),
    "latency": lambda model, folder: measured(model, (3, 8, 8)),
    "peak memory of a candidate": lambda model, folder: PeakMemory(SPACE)(FIRST),
    "peak memory": lambda model, folder: memory_profile(model.eval(), (3, 8, 8)),
    "choices": lambda model, folder: space_of(chosen, input_shape=(3, 8, 8), num_classes=4).decode((1,)),
    "source": lambda model, folder: must_have_source(SPACE, seed=0),
    "torch.export": lambda model, folder: write_torch_export(model[3].eval(), (144,), folder / "model.pt2"),  # type: ignore[index]
    "conformance": lambda model, folder: told(lambda: check_search_space(SPACE)),
}


@pytest.mark.parametrize("use", USES)
def test_the_global_generators_of_torch_numpy_and_random_stay_as_they_were(use: str, tmp_path: Path) -> None:
    model, states = drawing(), []
    for _ in range(2):  # what is imported at first may seed
        before = global_random_state()
        USES[use](model, tmp_path)
        states.append(global_random_state() == before)
    assert states == [True, True]


@pytest.mark.parametrize(
    "found",
    [lambda: score_candidate(task()), lambda: score(FIXED, (3, 8, 8), proxy=PROXY, seed=2)],
    ids=["in a search", "by hand"],
)
def test_a_network_that_draws_from_any_of_them_has_one_score_for_one_seed(found: Callable[[], object]) -> None:
    scores = []
    for seed in (1, 2):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        result = found()
        value = result.score if isinstance(result, Outcome) else result
        assert isinstance(value, Score)
        scores.append(value)
    assert scores[0] == scores[1]


FIXED = drawing()


def test_a_score_may_name_one_of_several_gpus() -> None:
    assert device_of(VkdnwSingle(device="cuda:1")) == torch.device("cuda", 1)
    with pytest.raises(ScoreError, match="must be one of 'auto', 'cpu', 'cuda', 'mps', 'cuda:0'"):
        VkdnwSingle(device="gpu1")  # type: ignore[arg-type]


def test_a_block_draws_from_its_seed_and_is_left_by_an_exception_as_by_its_end() -> None:
    def drawn() -> tuple[float, float, Tensor]:
        return random.random(), float(np.random.standard_normal()), torch.rand(3)

    with forked_generators(2**63 - 1):
        first = drawn()
    before = global_random_state()
    with pytest.raises(ZeroDivisionError), forked_generators():
        seed_generators(2**63 - 1)
        again = drawn()
        raise ZeroDivisionError
    assert first[:2] == again[:2] and torch.equal(first[2], again[2])
    assert global_random_state() == before


def test_a_bit_generator_of_the_users_own_is_kept_as_well() -> None:
    ours = np.random.get_bit_generator()
    state = np.random.get_state(legacy=False)
    try:
        np.random.set_bit_generator(np.random.PCG64(3))
        before = np.random.get_state(legacy=False)
        with forked_generators(7):
            np.random.rand()
        assert np.random.get_state(legacy=False) == before
    finally:
        np.random.set_bit_generator(ours)
        np.random.set_state(state)


def test_the_generators_are_forked_and_seeded_in_one_place() -> None:
    """Wherever only some of the three are kept, a network that draws from the others moves them."""
    of_torch = {"fork_rng", "set_rng_state", "get_rng_state", "setstate"}
    for path in PACKAGE.rglob("*.py"):
        if path.name in ("determinism.py", "findings.py") or "templates" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in of_torch, f"{path}, line {node.lineno}: use determinism.forked_generators"
                of_all = node.attr == "manual_seed" and isinstance(node.value, ast.Name) and node.value.id == "torch"
                assert not of_all, f"{path}, line {node.lineno}: use determinism.seed_generators"
