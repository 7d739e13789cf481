"""What every baseline does first and last: initialise, draw inputs and labels, differentiate, check the result."""

# No `from __future__ import annotations` here: the options of these classes are inherited by classes in other modules,
# and whoever reads a signature there must find the annotations themselves, not text to be resolved in this module.

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, TypeVar

import torch
from annotated_types import Interval
from torch import nn

from vkdnw_search.contracts import Probe
from vkdnw_search.determinism import forked_generators, seed_from
from vkdnw_search.errors import DegenerateNetwork, ScoreError
from vkdnw_search.options import check_options
from vkdnw_search.proxies.initialization import Initialization, initialize
from vkdnw_search.proxies.random_targets import loss_of, random_targets
from vkdnw_search.records import Cost, Score

__all__ = [
    "BrightImageProxy",
    "Brightness",
    "Images",
    "NeedsLabels",
    "ImageBatch",
    "ImageProxy",
    "Resolution",
    "Weights",
    "image_shape",
    "gradients",
    "in_fast_layout",
    "layer_weights",
    "must_be_noise",
    "placed",
    "prepared",
    "random_images",
    "random_labels",
    "scored",
]

Images = Annotated[int, Interval(ge=2, le=4096), "number of random images"]
Side = Annotated[int, Interval(ge=1, le=4096)]
Resolution = Annotated[
    Side | tuple[Side, Side] | None,
    "height and width of the images: a number for both, or [H, W]; none: the space's own",
]
Brightness = Annotated[
    float, Interval(ge=0, lt=1), "share of the images' variance that is one number for each channel; 0: white noise"
]
Weights = Annotated[Initialization, "how the weights are drawn"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ImageBatch:
    """The option of proxies that look at a batch of random images; 64 are published."""

    images: Images = 64
    resolution: Resolution = None

    def __post_init__(self) -> None:
        check_options(self, ScoreError)

    def inputs(self, probe: Probe, *, index: int = 0) -> torch.Tensor:
        """Draw batch number ``index`` of inputs ~ N(0, I). Shape (images, *probe.input_shape), or with our
        resolution.
        """
        return random_images(probe, self.images, resolution=self.resolution, index=index)


@dataclass(frozen=True, kw_only=True)
class ImageProxy(ImageBatch):
    """The options shared by proxies of a batch of random images in a freshly initialised network."""

    initialization: Weights = "kaiming_normal"

    @property
    def draws_weights(self) -> bool:
        """Whether :func:`prepared` draws the weights of convolutions and linear layers, so that they need none."""
        return self.initialization == "kaiming_normal"

    def loss(self, model: nn.Module, probe: Probe, *, index: int = 0) -> torch.Tensor:
        """The mean loss of a batch of random images with random labels: the cross-entropy, for classes."""
        outputs = in_fast_layout(model, self.inputs(probe, index=index))
        return loss_of(outputs, random_labels(probe, outputs, index=index), probe.likelihood)


@dataclass(frozen=True, kw_only=True)
class BrightImageProxy(ImageProxy):
    """The options of proxies published with real images, which differ in brightness and colour as a whole.

    White noise does not, and all its images look alike to what averages over positions. So the inputs here are noise
    of variance 1 of which each channel of an image shares a part.
    """

    brightness: Brightness

    def inputs(self, probe: Probe, *, index: int = 0) -> torch.Tensor:
        """Draw √(1 − brightness) of white noise plus √brightness of a normal number for each channel of each image."""
        noise = super().inputs(probe, index=index)  # (N, C, …)
        generator = torch.Generator().manual_seed(seed_from(probe.seed, "brightness", index))
        level = torch.randn(*noise.shape[:2], *(1 for _ in noise.shape[2:]), generator=generator).to(noise.device)
        return noise * math.sqrt(1 - self.brightness) + level * math.sqrt(self.brightness)


def image_shape(input_shape: Sequence[int], resolution: int | tuple[int, int] | None) -> tuple[int, ...]:
    """The shape of one input (C, …) at another resolution; a number is that of every axis, whatever the space's are.

    Raises:
        ScoreError: ``resolution`` is a height and a width, but inputs are no images.
    """
    channels, *sides = input_shape
    if resolution is None:
        return (channels, *sides)
    if isinstance(resolution, int):
        return (channels, *(resolution for _ in sides))
    if len(sides) != len(resolution):
        raise ScoreError(
            f"score, resolution: must be one number for inputs of shape {tuple(input_shape)}, but is {list(resolution)}"
        )
    return (channels, *resolution)


def random_images(
    probe: Probe, count: int, *, resolution: int | tuple[int, int] | None = None, index: int = 0
) -> torch.Tensor:
    """Draw inputs ~ N(0, I) that depend on the probe's seed and ``index`` alone.

    Raises:
        ScoreError: the network takes something else, such as tokens or several inputs.
    """
    must_be_noise(probe)
    shape = image_shape(probe.input_shape, resolution)
    generator = torch.Generator().manual_seed(seed_from(probe.seed, "images", index))
    return torch.randn(count, *shape, generator=generator).to(probe.device)


def must_be_noise(probe: Probe) -> None:
    """Raise a ScoreError if a network takes anything but one tensor of normal numbers."""
    if probe.inputs is not None:
        raise ScoreError(
            "score: this proxy draws one tensor of normal numbers as input, but the network takes tokens, several "
            "inputs or what inputs=… gives. Choose a proxy that takes these, such as vkdnw_single"
        )


def random_labels(probe: Probe, outputs: torch.Tensor, *, samples: int | None = None, index: int = 0) -> torch.Tensor:
    """Draw targets for ``outputs``, (N, …), in place of those of a data set: uniform labels (N,) for logits (N, C).

    ``samples`` draws as many as for so many outputs. Other likelihoods: :func:`random_targets`.

    Raises:
        ScoreError: if there is a single class: its cross-entropy is 0 for every network.
    """
    if probe.likelihood in ("auto", "categorical"):
        must_have_labels(probe.num_classes)
    generator = torch.Generator().manual_seed(seed_from(probe.seed, "labels", index))
    return random_targets(outputs, probe.num_classes, probe.likelihood, samples=samples, generator=generator)


def must_have_labels(num_classes: int) -> None:
    """Raise a ScoreError if there is a single class: its cross-entropy is 0 for every network."""
    if num_classes < 2:
        raise ScoreError(
            f"score: a proxy of the cross-entropy needs at least 2 classes, but the space has {num_classes}; "
            "choose a proxy without labels, such as vkdnw_single, jacov, naswot or synflow"
        )


class NeedsLabels:
    """A proxy of the cross-entropy: a run of networks with a single class is refused before it begins."""

    def require(self, num_classes: int, cost: Callable[[], Cost | None]) -> None:
        """Raise a ScoreError if there is a single class."""
        must_have_labels(num_classes)


def in_fast_layout(run: Callable[[torch.Tensor], T], x: torch.Tensor) -> T:
    """Compute ``run(x)`` with the channels of images last in memory, for which convolution and pooling are faster.

    A network that cannot have them there, for it views channels and positions as one axis, gets ``x`` as it is.
    """
    if x.ndim == 4:
        try:
            return run(x.contiguous(memory_format=torch.channels_last))
        except RuntimeError as error:
            if "view size is not compatible" not in str(error):
                raise
    return run(x)


def placed(model: nn.Module, device: torch.device) -> nn.Module:
    """Move ``model`` to ``device``, unless it is there already, since :meth:`~torch.nn.Module.to` takes 7 ms to see
    so.
    """
    first = next(model.parameters(), None)
    return model if first is not None and first.device == device else model.to(device)


@contextmanager
def prepared(model: nn.Module, probe: Probe, scheme: Initialization) -> Iterator[None]:
    """Prepare a network: freshly initialised, on the probe's device, in training mode, its own randomness seeded."""
    initialize(model, seed=seed_from(probe.seed, "initialization"), scheme=scheme)
    placed(model, probe.device).train()
    with forked_generators(seed_from(probe.seed, "network")):  # dropout and the like
        yield


def layer_weights(model: nn.Module) -> list[torch.Tensor]:
    """The weights of convolutions and linear layers, which pruning scores are about; no biases, no normalisations."""
    layers = (m for m in model.modules() if isinstance(m, nn.modules.conv._ConvNd | nn.Linear))
    weights = [m.weight for m in layers if m.weight.requires_grad]
    if not weights:
        raise DegenerateNetwork("the network has no trainable convolution or linear layer")
    return weights


def gradients(
    value: torch.Tensor, inputs: Sequence[torch.Tensor], *, create_graph: bool = False, retain_graph: bool = False
) -> tuple[torch.Tensor, ...]:
    """The gradients ∂value/∂input for each input, zeros where ``value`` does not depend on it.

    Raises:
        DegenerateNetwork: if ``value`` depends on nothing, so that all gradients are zero.
    """
    if not value.requires_grad:
        raise DegenerateNetwork("the output of the network depends neither on its weights nor on its input")
    keep = retain_graph or create_graph
    grads = torch.autograd.grad(
        value, list(inputs), create_graph=create_graph, retain_graph=keep, allow_unused=True, materialize_grads=True
    )
    if not any(bool(g.any()) for g in grads):
        raise DegenerateNetwork("all gradients are exactly zero: nothing that could be trained reaches the output")
    return grads


def scored(**terms: float) -> Score:
    """A Score of these terms, the first of which is its value.

    Raises:
        DegenerateNetwork: naming a term that is not finite.
    """
    for name, value in terms.items():
        if not math.isfinite(value):
            raise DegenerateNetwork(f"{name} is {value}: activations or gradients vanish or overflow in this network")
    return Score(value=next(iter(terms.values())), terms=terms)
