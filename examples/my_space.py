"""A search space in one file: plain convolutional networks that differ in depth, width and kernel.

vkdnw-search examples/my.yaml --plugin examples/my_space.py
"""

from dataclasses import dataclass

from torch import nn

from vkdnw_search.records import Gene


@dataclass(frozen=True)
class Network:
    """A decoded genome. Equal keys must mean equal networks."""

    kernels: tuple[int, ...]  # of each convolution
    width: int

    @property
    def key(self) -> str:
        """One line of text that names the network."""
        return f"w{self.width}k" + ".".join(map(str, self.kernels))


@dataclass(frozen=True, kw_only=True)
class MySpace:
    """Up to four convolutions; the fields are the options of a recipe."""

    resolution: int = 16
    num_classes: int = 10

    name = "my_space"
    genes = (
        Gene("width", (8, 16, 24, 32), ordered=True),  # mutates to a near choice
        *(Gene(f"layer{i}", ("none", 1, 3, 5)) for i in range(1, 5)),  # mutates to any other choice
    )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """One image, without the batch: what FLOPs are counted at."""
        return (3, self.resolution, self.resolution)

    def decode(self, genome: tuple[int, ...]) -> Network:
        """Genome → network. Layers that are none are left out, so that equal networks have one key."""
        width, *kernels = (gene.choices[i] for gene, i in zip(self.genes, genome, strict=True))
        return Network(tuple(k for k in kernels if k != "none"), width)

    def source(self, network: Network) -> str:
        """The network as a file that needs torch alone: what is exported in the end."""
        return SOURCE.format(classes=self.num_classes, kernels=network.kernels, width=network.width)

    def build(self, network: Network) -> nn.Module:
        """The same network, to be scored."""
        names: dict[str, type[nn.Module]] = {}
        exec(self.source(network), names)
        return names["Network"]()


SOURCE = """from torch import nn


class Network(nn.Sequential):
    def __init__(self, num_classes={classes}, width={width}, kernels={kernels}):
        layers = [nn.Conv2d(3, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        for kernel in kernels:
            layers += [nn.Conv2d(width, width, kernel, padding=kernel // 2), nn.BatchNorm2d(width), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
"""

SPACES = {"my_space": MySpace}  # what `use:` in a recipe may name
