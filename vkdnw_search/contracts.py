"""What a third party may implement: search spaces, proxies, optimizers, executors, sources of latencies.

A plug-in author needs this file and :mod:`vkdnw_search.records` only. Nothing has to be inherited: an object with
these methods is enough. ``vkdnw_search.testing`` has a conformance test for each protocol.

A plug-in is found by an entry point (group ``vkdnw_search.spaces``, ``.proxies``, ``.optimizers``, ``.executors`` or
``.latencies``) that names a class or function. Its keyword-only parameters, with their type annotations and
defaults, are its options in a recipe: ``space: {use: mobilenet, resolution: 224}`` calls
``MobileNet(resolution=224)``. Frozen dataclasses (``kw_only=True``) fit well. Spaces and proxies must be picklable.
An option's type is bool, int, float, str, ``Literal``, a list or tuple of these, or a union, and ``Annotated`` adds its
bounds and its meaning: ``images: Annotated[int, Interval(ge=1, le=4096), "images in the random batch"] = 64``. Recipes
are checked against them, and the table of options is made from them. A dataclass whose ``__post_init__`` calls
:func:`vkdnw_search.options.check_options` has them checked, in the same words, from Python too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

from vkdnw_search.records import Cost, Evaluation, Gene, Genome, Part, Score, Timing

if TYPE_CHECKING:  # torch takes seconds to import, which a mistake in a recipe need not wait for
    import numpy as np
    import torch
    from torch import nn


Likelihood = Literal["auto", "categorical", "gaussian", "bernoulli"]
"""The distribution whose parameters a network's outputs are: logits of classes, means of normal distributions of unit
variance, logits of independent yes or no. ``auto``: categorical, as far as the outputs' shape tells."""


class Architecture(Hashable, Protocol):
    """A decoded genome. Two architectures with equal ``key`` are the same network."""

    @property
    def key(self) -> str:
        """Canonical text: one line, printable ASCII."""
        ...


A = TypeVar("A", bound=Architecture)


class SearchSpace(Protocol[A]):
    """A set of networks, described by genes."""

    @property
    def name(self) -> str:
        """The name under which the space is installed."""
        ...

    @property
    def genes(self) -> tuple[Gene, ...]:
        """The genes in a fixed order. A genome has one index for each."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input without the batch, e.g. (3, 32, 32): what FLOPs are counted at."""
        ...

    @property
    def num_classes(self) -> int:
        """Number of logits, or of output channels where there are outputs at every position."""
        ...

    def decode(self, genome: Genome) -> A:
        """Return the architecture of a genome. Every index within its gene's range must decode."""
        ...

    def build(self, architecture: A) -> nn.Module:
        """Construct the network, from inputs (N, *input_shape) to logits (N, num_classes).

        Outputs at every position, (N, num_classes, …), are fine as well: see :class:`HasLikelihood`.
        """
        ...

    def source(self, architecture: A) -> str:
        """Return Python source that imports torch alone and defines the network as ``Network(num_classes=…)``."""
        ...


SPACE_MEMBERS = ("name", "genes", "input_shape", "num_classes", "decode", "build", "source")
"""The members that every search space must have."""


@runtime_checkable
class HasParts(Protocol):
    """A space whose networks are a sum of parts, which makes counting them cheap."""

    def parts(self, architecture: Architecture) -> Sequence[Part]:
        """Return blocks that together hold every parameter and every counted operation of the network once."""
        ...


@runtime_checkable
class HasChain(Protocol):
    """A space whose networks are a chain of blocks, which makes their peak memory cheap to find."""

    def chain(self, architecture: Architecture) -> Sequence[Part]:
        """Return blocks in order, each fed by the one before and nothing else. Equal blocks may stand there once."""
        ...


@runtime_checkable
class HasLayers(Protocol):
    """A space with a depth of its own; otherwise the number of modules with weights of two or more axes counts."""

    def layers(self, architecture: Architecture) -> int:
        """Return the depth, as ``limits.layers`` bounds it."""
        ...


@runtime_checkable
class HasInputShapes(Protocol):
    """A space whose networks are for inputs of different shapes, such as images of a resolution that is searched.

    Its ``input_shape`` is the largest of them, and every network takes inputs of that shape as well.
    """

    def input_shape_of(self, architecture: Architecture) -> tuple[int, ...]:
        """Return the shape of one input of this network without the batch: what its costs are counted at."""
        ...


def input_shape_of(space: SearchSpace[A], architecture: A) -> tuple[int, ...]:
    """The shape of one input of a network without the batch: its own, or that of its space."""
    if isinstance(space, HasInputShapes):
        return tuple(space.input_shape_of(architecture))
    return tuple(space.input_shape)


@runtime_checkable
class HasText(Protocol):
    """A space that reads architectures back from their text form."""

    def parse(self, text: str) -> Architecture:
        """Return the architecture written as ``text``, which need not be canonical. Raises SpaceError."""
        ...


@runtime_checkable
class HasReferences(Protocol):
    """A space in which some networks have names of their own, such as MobileNetV2: ``race --with NAME`` takes them.

    The space also reads text (:class:`HasText`).
    """

    @property
    def references(self) -> Mapping[str, str]:
        """Return name → architecture as text, which ``parse`` reads. Names have no spaces, and do not end in .py."""
        ...


@runtime_checkable
class HasTask(Protocol):
    """A space with networks for one of several tasks: ``rank`` compares with the accuracies in the column called so."""

    @property
    def task(self) -> str:
        """The name of the task."""
        ...


@runtime_checkable
class HasEncoding(Protocol):
    """A space that can turn an architecture back into a genome."""

    def encode(self, architecture: Architecture) -> Genome:
        """Return a genome that decodes to ``architecture``. Raises SpaceError if the genes cannot express it."""
        ...


@runtime_checkable
class HasMutation(Protocol):
    """A space with its own published mutation, used by the optimizers in place of the general one."""

    def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """Return a changed copy of ``genome``."""
        ...


@runtime_checkable
class HasLikelihood(Protocol):
    """A space that says what its networks' outputs are; otherwise they are logits, at every position of (N, C, H, W).

    ``categorical``: logits (N, C) or, at every position, (N, C, …), as for segmentation. ``gaussian``: numbers of any
    shape to be regressed. ``bernoulli``: logits of any shape, each of a yes or no of its own.
    """

    @property
    def likelihood(self) -> Likelihood:
        """The distribution whose parameters the outputs are."""
        ...


@runtime_checkable
class HasFreeOperators(Protocol):
    """A space that declares operators fvcore does not know to be free of cost, such as ``aten::add``."""

    @property
    def free_operators(self) -> frozenset[str]:
        """The names of free operators, as fvcore reports them."""
        ...


def _cpu() -> torch.device:
    import torch

    return torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Probe:
    """How a proxy is to look at a network: with inputs ~ N(0, I) or others, from this seed, on this device.

    Attributes:
        input_shape: the shape of one input, without the batch.
        num_classes: number of logits, for proxies that need (random) labels.
        seed: all randomness of the score comes from it.
        device: where to compute.
        cost: what the network costs, where it has been counted already, for proxies that use its size.
        likelihood: the distribution whose parameters the outputs are; one for each of several outputs in a tuple.
        inputs: called with a generator and a number of samples, gives a tensor, a tuple of arguments or a mapping of
            names to arguments in place of N(0, I) of ``input_shape``: for tokens, masks and several inputs.
    """

    input_shape: tuple[int, ...]
    num_classes: int
    seed: int
    device: torch.device = field(default_factory=_cpu)
    cost: Cost | None = None
    likelihood: Likelihood | tuple[Likelihood, ...] = "auto"
    inputs: Callable[[torch.Generator, int], Any] | None = None


class Proxy(Protocol):
    """A zero-cost proxy: a training-free score of a network, higher is better.

    It may change the network's weights and mode.

    Raises DegenerateNetwork for a network that has no usable score.
    """

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """Score ``model``, which has just been built."""
        ...


class NumberProxy(Protocol):
    """A proxy that gives a number in place of a Score."""

    def __call__(self, model: nn.Module, probe: Probe, /) -> float:
        """Score ``model``, which has just been built."""
        ...


class PlainProxy(Protocol):
    """A plain function of the network alone that gives a number, higher is better."""

    def __call__(self, model: nn.Module, /) -> float:
        """Score ``model``, which has just been built."""
        ...


AnyProxy: TypeAlias = Proxy | NumberProxy | PlainProxy
"""What scores a network; :func:`vkdnw_search.proxies.plain.score_with` calls any of them."""


@runtime_checkable
class DrawsWeights(Protocol):
    """A proxy that may draw the weights of all convolutions and linear layers anew, so that construction need not."""

    @property
    def draws_weights(self) -> bool:
        """Whether the proxy draws these weights before anything else; they hold arbitrary numbers until then.

        Such proxies may be given one network in turn: nothing else that they change may stay changed, but for what
        the initialization sets (weights, normalisations) and the mode.
        """
        ...


@runtime_checkable
class HasCostScore(Protocol):
    """A proxy that needs the cost of a network only, so that the network need not be built."""

    def score_cost(self, cost: Cost) -> Score:
        """Return the score of any network with this cost."""
        ...


@runtime_checkable
class HasStages(Protocol):
    """A network that names its stages, for proxies that compare successive features (AZ-NAS).

    A stage is the stem, a cell or a residual unit. Networks without this method have their stages found by
    :func:`vkdnw_search.proxies.stages.find_stages`.
    """

    def stages(self) -> Sequence[nn.Module]:
        """Return submodules whose outputs, (N, C, H, W), are the successive features. Each runs once in a pass."""
        ...


@runtime_checkable
class HasUpperBound(Protocol):
    """A proxy that knows, from the cost alone, what a candidate can score at most."""

    def upper_bound(self, cost: Cost) -> float:
        """Return a value that no score of a network with this cost exceeds."""
        ...


@runtime_checkable
class HasRequirements(Protocol):
    """A proxy whose options do not suit every network: what can be told beforehand is told before a run begins."""

    def require(self, num_classes: int, cost: Callable[[], Cost | None]) -> None:
        """Raise a ScoreError if the networks of a run cannot be scored.

        Args:
            num_classes: number of logits.
            cost: counts a candidate of the run, which takes time; None if there is none to be had.
        """
        ...


@runtime_checkable
class HasFastWay(Protocol):
    """A proxy with a fast way to its score, which may be wrong for a kind of network that nobody has tried.

    A search checks it on the first candidate that it scores, ``rank`` on the first network of a study. Where it is
    wrong, the careful proxy scores all of them.
    """

    def check_fast_way(self, model: nn.Module, probe: Probe) -> str:
        """Compare the fast way with the literal one for ``model``, which has just been built.

        Returns:
            What differs, in words; empty if nothing does.

        Raises:
            DegenerateNetwork: this network has no usable score, and cannot tell.
        """
        ...

    def careful(self) -> Proxy:
        """Return the proxy that relies on no fast way unchecked; it gives the same scores where that is right.

        Raises:
            ScoreError: there is none; a run in which the fast way is wrong ends with this error.
        """
        ...


@runtime_checkable
class HasRelativeFitness(Protocol):
    """A proxy whose fitness depends on the whole population, such as a sum of log-ranks."""

    def fitness(self, scores: Sequence[Score]) -> np.ndarray:
        """Return one value, higher is better, for each of the scores of all candidates seen. Shape (n,), float64."""
        ...


@dataclass(frozen=True, slots=True)
class Band:
    """A range of a cost.

    Attributes:
        at_most: its upper end; it begins where the one before ends.
        violation: genome → how far it is outside the limits and the range together, 0 when inside both.
        of: the field of :class:`Cost` that it is a range of.
    """

    at_most: int
    violation: Callable[[Genome], float]
    of: str = "flops"


def _always(genome: Genome, threshold: Callable[[Cost], float]) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Problem:
    """The problem as an optimizer sees it.

    Attributes:
        space: the search space.
        key: genome → canonical key. Genomes with equal keys are the same network.
        violation: genome → how far the limits are exceeded, 0 when feasible. Cheap (microseconds to milliseconds).
        seed: all randomness of the optimizer comes from it.
        bands: ranges of one cost that each want a best network of their own, ascending; empty: one for all.
        may_reach: (genome, threshold) → whether the genome may score ``threshold(cost)`` for its own cost, as far as
            the score's upper bound tells. As cheap as ``violation``. A genome that may not need not be asked.
    """

    space: SearchSpace[Architecture]
    key: Callable[[Genome], str]
    violation: Callable[[Genome], float]
    seed: int
    bands: tuple[Band, ...] = ()
    may_reach: Callable[[Genome, Callable[[Cost], float]], bool] = _always


class Optimizer(Protocol):
    """Proposes genomes and learns from what came of them. Deterministic, given its seed and what it was told."""

    def ask(self) -> list[Genome]:
        """Propose the next generation: genomes whose keys were never asked before. Empty when nothing is left."""
        ...

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn the outcome of the last ``ask``, in the same order; fewer where the run is about to stop."""
        ...


@runtime_checkable
class HasStream(Protocol):
    """An optimizer that breeds a generation while its first candidates are scored."""

    def stream(self) -> Iterator[Genome]:
        """Yield what ``ask`` would give, one by one. Nothing may depend on when each genome is taken."""
        ...


@runtime_checkable
class HasStart(Protocol):
    """An optimizer that can begin with networks that are known already (``start`` in a recipe)."""

    def begin_with(self, genomes: Sequence[Genome]) -> None:
        """Ask these before all others, in this order. Called once, before the first ``ask``; their keys differ."""
        ...


@runtime_checkable
class HasThreshold(Protocol):
    """An optimizer that knows which scores are too low to matter to it."""

    def threshold(self, cost: Cost) -> float:
        """Return the value below which the upper bound of a candidate of this cost makes it irrelevant to later asks.

        The bound is that of ``Problem.may_reach``. −inf if any score can, inf if none can.
        """
        ...


@runtime_checkable
class HasRefit(Protocol):
    """An optimizer that accepts changed fitness of candidates told before (for HasRelativeFitness proxies)."""

    def refit(self, values: Mapping[str, float]) -> None:
        """Take over the current fitness, by key, of every scored candidate so far. Called before each ``tell``."""
        ...


@runtime_checkable
class HasState(Protocol):
    """An optimizer with checkpoints. One without is told all generations again when a run goes on."""

    def state(self) -> Mapping[str, Any]:
        """Return what the next asks depend on besides the evaluations told; called after a whole generation was told.

        It must be plain data that JSON can write: numbers, text, None, lists, and mappings with text keys. The
        ``bit_generator.state`` of a ``numpy.random.Generator`` is such data. It is read back from a file that may come
        from a stranger.
        """
        ...

    def restore(self, state: Mapping[str, Any], told: Iterable[Evaluation]) -> None:
        """Make a fresh optimizer ask what the one that gave ``state`` would have asked next.

        Args:
            state: as :meth:`state` gave it; lists where there were tuples.
            told: every evaluation that was told, in order, read from the store one by one.
        """
        ...


Make: TypeAlias = "Callable[[], tuple[nn.Module, tuple[int, ...]]]"
"""Makes a module and the shape of its input, without the batch."""


class LatencySource(Protocol):
    """Tells how long a network, or a part of one, takes on the device that the network is for."""

    def timing(self, name: str, make: Make) -> Timing:
        """Return how long a module takes for one input in evaluation mode. Each name is asked once in a run.

        Networks that may win are timed whole besides, several times each, if the source :class:`TimesNetworks` and has
        no needs (:class:`HasNeeds`): this method is then asked by the key of the architecture.

        Args:
            name: what it is, on one line: kind and widths of a part, or the key of an architecture.
            make: called where the module itself is needed.

        Raises:
            LatencyUnknown: it cannot be timed. Candidates that need it are recorded as outside the limits.
        """
        ...


@runtime_checkable
class TimesNetworks(Protocol):
    """A source that can time whole networks, too.

    With a ``correction`` of n, the latency of a candidate is a + b · Σ parts, where a and b are fitted to n whole
    networks. With ``whole``, every candidate is timed whole, which takes no parts.
    """

    @property
    def correction(self) -> int:
        """Number of whole networks that the sums of parts are fitted to; 0: none."""
        ...

    @property
    def whole(self) -> bool:
        """Whether each candidate is timed whole in place of the sum of its parts."""
        ...


@runtime_checkable
class HasNeeds(Protocol):
    """A source that knows beforehand what it can tell, such as a table."""

    def require(self, names: Collection[str]) -> None:
        """Raise a LatencyError if one of ``names``, which the candidates of the run have, cannot be told."""
        ...


@dataclass(frozen=True, slots=True)
class LatencyContext:
    """What a source of latencies may need that no recipe can give.

    Attributes:
        folder: where the recipe is; files that it names are in it.
        command: words of a command of the user's, who gave it to this program; empty: there is none.
    """

    folder: Path = Path()
    command: tuple[str, ...] = ()


@runtime_checkable
class NeedsContext(Protocol):
    """What a recipe names in place of a source that takes more than options: a file beside it, a command."""

    def within(self, context: LatencyContext) -> LatencySource:
        """Return the source. Raises LatencyError if ``context`` lacks what it takes."""
        ...
