"""Small plug-ins for tests of recipes, joined by ``load_plugin``: their options are of every type a recipe has."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Interval, MultipleOf

from vkdnw_search.errors import SpaceError

if TYPE_CHECKING:
    from vkdnw_search.contracts import Problem


@dataclass(frozen=True, kw_only=True)
class ToySpace:
    """A space that is only options.

    The second paragraph is for readers of the code.
    """

    resolution: Annotated[int, Interval(ge=32, le=1024), MultipleOf(8), "height and width"] = 224
    bias: Literal["uniform", "published"] = "uniform"
    kernels: tuple[Literal[3, 5, 7], ...] = (3, 5)
    squeeze: bool = False
    title: str = ""
    most: Annotated[int | Literal["all"], Interval(ge=1, le=9), "how many"] = "all"

    name = genes = input_shape = num_classes = decode = build = source = None

    def __post_init__(self) -> None:
        if self.resolution == 512:
            raise SpaceError("resolution: 512 does not go with these kernels")


@dataclass(frozen=True, kw_only=True)
class ToyProxy:
    """A proxy that is only options."""

    images: Annotated[int, Interval(ge=1, le=4096), "images in the random batch"] = 64
    smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    side: Annotated[int, Interval(ge=1, le=64)] | None = None


class ToyOptimizer:
    """An optimizer that keeps what it was given."""

    def __init__(self, problem: Problem, *, population: Annotated[int, Interval(ge=2)], children: int = 4) -> None:
        self.given = (problem, population, children)


def toy_executor(*, workers: Literal["auto"] | Annotated[int, Interval(ge=1, le=64)] = "auto") -> Executor:
    """Threads."""
    return ThreadPoolExecutor(1 if workers == "auto" else workers)


SPACES = {"toy_space": ToySpace}
PROXIES = {"toy_proxy": ToyProxy}
OPTIMIZERS = {"toy_optimizer": ToyOptimizer}
EXECUTORS = {"toy_executor": toy_executor}
