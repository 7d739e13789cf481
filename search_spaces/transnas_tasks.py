"""What both spaces of TransNAS-Bench-101 (arXiv 2105.11871) share: the seven tasks, their heads, and the export.

Accuracies are known for images of 256 × 256 and a stem of 64 channels. The benchmark's counts of parameters are those
of ``class_scene`` with 63 outputs, the scenes before the rare ones were left out.
"""

# No `from __future__ import annotations` here: the options are inherited by classes in other modules, and whoever reads
# a signature there must find the annotations themselves.

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import annotated_types as at
from torch import nn

from search_spaces import transnas_heads as heads
from search_spaces import transnas_network as network
from search_spaces.resolution import AT, ImageSpace, Size, reduced
from vkdnw_search.contracts import Likelihood
from vkdnw_search.errors import SpaceError
from vkdnw_search.options import check_options
from vkdnw_search.records import Part

TaskName = Literal["class_scene", "class_object", "jigsaw", "room_layout", "autoencoder", "normal", "segmentsemantic"]

Block: TypeAlias = Callable[..., Any]
"""What the source of a network is made of."""

Side = Annotated[int, at.Interval(ge=16, le=1024)]

STRIDE = 64
"""Most that any encoder divides the resolution by."""

TABLE_OUTPUTS = 63
"""Outputs of the networks whose parameters and FLOPs the benchmark lists, for ``class_scene``."""


@dataclass(frozen=True, slots=True)
class Task:
    """One of the benchmark's tasks.

    Attributes:
        outputs: classes, numbers, or channels.
        likelihood: of the targets, given the outputs.
        network: puts the head behind an encoder.
        pieces: the classes that it needs besides the encoder.
    """

    outputs: int
    likelihood: Likelihood
    network: Callable[[network.Encoder, int], heads.TaskNetwork]
    pieces: tuple[type[nn.Module], ...]


TASKS: dict[TaskName, Task] = {
    "class_scene": Task(47, "categorical", heads.VectorNetwork, (heads.Classifier,)),
    "class_object": Task(75, "categorical", heads.VectorNetwork, (heads.Classifier,)),
    "jigsaw": Task(1000, "categorical", heads.JigsawNetwork, (heads.Tiles, heads.JigsawClassifier)),
    "room_layout": Task(9, "gaussian", heads.VectorNetwork, (heads.Classifier,)),
    "autoencoder": Task(3, "gaussian", heads.DenseNetwork, (heads.Decoder,)),
    "normal": Task(3, "gaussian", heads.DenseNetwork, (heads.Decoder,)),
    "segmentsemantic": Task(17, "categorical", heads.DenseNetwork, (heads.Decoder,)),
}


class UnitShape(NamedTuple):
    """Channels in and out of a unit, its stride, and the height and width that go in."""

    inputs: int
    outputs: int
    stride: int
    size: Size

    @property
    def before(self) -> tuple[int, int, int]:
        """The shape that goes in, (C, H, W)."""
        return (self.inputs, *self.size)

    @property
    def behind(self) -> tuple[int, int, int]:
        """The shape that comes out, (C, H, W)."""
        return (self.outputs, *reduced(self.size, self.stride))


@dataclass(frozen=True, kw_only=True)
class TransNas(ImageSpace):
    """The options of both spaces, and what follows from them."""

    task: Annotated[TaskName, "what the networks are for, which says their head"] = "class_scene"
    num_classes: Annotated[
        int, at.Interval(ge=0, le=100_000), "classes, numbers or channels of the output; 0: as the benchmark's task"
    ] = 0
    resolution: Annotated[Side | tuple[Side, Side], f"{AT}; multiples of {STRIDE} where outputs are images"] = 256
    channels: Annotated[int, at.Interval(ge=4, le=256), at.MultipleOf(2), "channels of the stem; 64: as known"] = 64

    def __post_init__(self) -> None:
        check_options(self, SpaceError)
        where = f"{type(self).__name__}, task {self.task}"
        if self.is_dense and any(side % STRIDE for side in self.sides):
            raise SpaceError(f"{where}: resolution must be a multiple of {STRIDE}, but is {self.resolution}")
        if self.likelihood == "categorical" and self.num_classes == 1:
            raise SpaceError(f"{where}: num_classes must be at least 2, or 0 for the benchmark's, but is 1")
        object.__setattr__(self, "num_classes", self.num_classes or TASKS[self.task].outputs)

    @property
    def likelihood(self) -> Likelihood:
        """The kind of the targets: classes, or numbers with a normal error."""
        return TASKS[self.task].likelihood

    @property
    def is_dense(self) -> bool:
        """Whether the output is an image of the input's height and width."""
        return TASKS[self.task].network is heads.DenseNetwork

    @property
    def free_operators(self) -> frozenset[str]:
        """Sums at nodes and shortcuts, a move by a pixel, zeros, and cutting into tiles: fvcore counts none of them."""
        return frozenset(f"aten::{name}" for name in ("add", "pad", "zeros_like", "unfold"))

    @property
    def tiles(self) -> int:
        """Tiles of an image that the encoder sees one by one; 0: it sees the image."""
        return heads.SIDE**2 if self.task == "jigsaw" else 0

    @property
    def seen(self) -> Size:
        """Height and width of what the encoder sees."""
        height, width = self.sides
        return (height // heads.SIDE, width // heads.SIDE) if self.tiles else (height, width)

    def assembled(self, units: list[nn.Module], modules: str) -> heads.TaskNetwork:
        """A network of these units: (N, channels_in, H, W) → (N, num_classes), or its like at each pixel if dense."""
        encoder = network.Encoder(self.channels, modules, units, self.channels_in)
        return TASKS[self.task].network(encoder, self.num_classes)

    def units(self, modules: str) -> list[UnitShape]:
        """The shapes of all units, in order."""
        found, size = list[UnitShape](), reduced(reduced(self.seen, 2), 2)
        for shape in network.shapes(self.channels, modules):
            found.append(UnitShape(*shape, size))
            size = reduced(size, found[-1].stride)
        return found

    def block(self, make: Callable[..., nn.Module], shape: tuple[int, int, int], *arguments: Any) -> Part:
        """The part that is what ``make(*arguments)`` gives, for an input of this shape or tiles of this shape."""
        return _block(make, self.tiles, shape, *arguments)

    def framed(self, blocks: Iterable[Part], modules: str) -> list[Part]:
        """The parts of a network: the stem, what its units consist of, the head."""
        stem = self.block(network.Stem, (self.channels_in, *self.seen), self.channels, self.channels_in)
        return [*self._cut(), stem, *blocks, self._head(modules)]

    def _cut(self) -> list[Part]:
        shape = self.input_shape
        return [Part(("tiles", shape), (), lambda: (heads.Tiles(), shape))] if self.tiles else []

    def _head(self, modules: str) -> Part:
        shape, halvings = self.units(modules)[-1].behind, sum(digit in "34" for digit in modules)

        def make() -> tuple[nn.Module, tuple[int, ...]]:
            head = self.assembled([], modules).head
            return (nn.Sequential(nn.Flatten(0, 1), head), (self.tiles, *shape)) if self.tiles else (head, shape)

        return Part(("head", self.task, self.num_classes, self.channels, shape, halvings), (), make)

    def exported(
        self,
        unit: str,
        modules: str,
        *,
        key: str,
        blocks: Sequence[Block],
        constants: str = "",
    ) -> str:
        """The classes that ``assembled`` constructs the network of, verbatim, then constants and the class ``Network``.

        Args:
            unit: an expression that makes a unit of ``shape``.
            modules: a digit for each.
            key: of the architecture.
            blocks: the classes and functions of a unit.
            constants: what the expression needs.
        """
        task = TASKS[self.task]
        needed: list[Block] = [
            *blocks,
            network.Stem,
            network.shapes,
            network.Encoder,
            *task.pieces,
            heads.TaskNetwork,
            task.network,
        ]
        code = "\n\n".join(inspect.getsource(each) for each in needed).rstrip()
        used = (line for line in _NAMES if re.search(rf"\b{line.split()[0]}\b", code))
        return _SOURCE.format(
            task=self.task,
            names="\n".join(used),
            code=code,
            key=key,
            constants=constants,
            base=task.network.__name__,
            unit=unit,
            channels=self.channels,
            modules=modules,
            num_classes=self.num_classes,
            channels_in=self.channels_in,
        )


_NAMES = (
    "Edge = tuple[int, int, int]  # of a cell: from node, to node, operation; node 1 is its input, node 4 its output",
    "Shape = tuple[int, int, int]  # of a unit: input channels, output channels, stride",
    f"UNITS = {network.UNITS}  # in each module; the first changes channels and resolution",
    f"SIDE = {heads.SIDE}  # a jigsaw has SIDE × SIDE tiles",
    f"DEEPEST = {heads.DEEPEST}  # layers of a decoder that may double the resolution",
)
"""What classes refer to, of which a network needs some."""

_SOURCE = '''"""A network of TransNAS-Bench-101 (CVPR 2021, arXiv 2105.11871) for the task {task}, in PyTorch alone."""

from __future__ import annotations

import torch
from torch import nn

{names}


{code}


# {key}
CHANNELS = {channels}  # of the stem
MODULES = "{modules}"
{constants}

class Network({base}):
    """The architecture above, for any number of outputs and channels of the images."""

    def __init__(self, num_classes: int = {num_classes}, *, channels_in: int = {channels_in}) -> None:
        units: list[nn.Module] = [{unit} for shape in shapes(CHANNELS, MODULES)]
        super().__init__(Encoder(CHANNELS, MODULES, units, channels_in), num_classes)
'''


class EachTile(nn.Module):
    """A block that sees the tiles of an image one by one: (N, tiles, C, H, W) → (N, tiles, …)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Any) -> Any:
        """All tiles as one batch."""
        y = self.block(x.flatten(0, 1))
        return y.view(-1, x.shape[1], *y.shape[1:])


@lru_cache(maxsize=8192)
def _block(make: Callable[..., nn.Module], tiles: int, shape: tuple[int, int, int], *arguments: Any) -> Part:
    """Widths have few values in these spaces, so they are part of the kind."""
    if not tiles:
        return Part((make.__name__, shape, arguments), (), lambda: (make(*arguments), shape))
    kind = (make.__name__, tiles, shape, arguments)
    return Part(kind, (), lambda: (EachTile(make(*arguments)), (tiles, *shape)))
