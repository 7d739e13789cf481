"""A search space of 24 networks, sound in every respect, and small enough to break on purpose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from vkdnw_search.errors import SpaceError
from vkdnw_search.records import Gene, Genome, Part


@dataclass(frozen=True)
class TinyArchitecture:
    width: int
    kernel: int
    depth: int

    @property
    def key(self) -> str:
        return f"w{self.width}k{self.kernel}d{self.depth}"


SOURCE = """from torch import nn


class Network(nn.Sequential):
    def __init__(self, num_classes={classes}):
        layers = [nn.Conv2d(3, {width}, 1)]
        for _ in range({depth}):
            layers += [nn.Conv2d({width}, {width}, {kernel}, padding={kernel} // 2), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear({width}, num_classes))
"""


class Tiny:
    name = "tiny"
    genes = (
        Gene("width", (4, 8, 12), ordered=True),
        Gene("kernel", (1, 3, 5, 7)),
        Gene("depth", (1, 2), ordered=True),
    )
    input_shape = (3, 8, 8)
    num_classes = 4

    def decode(self, genome: Genome) -> TinyArchitecture:
        return TinyArchitecture(*(gene.choices[i] for gene, i in zip(self.genes, genome, strict=True)))

    def encode(self, architecture: TinyArchitecture) -> Genome:
        values = (architecture.width, architecture.kernel, architecture.depth)
        return tuple(gene.choices.index(value) for gene, value in zip(self.genes, values, strict=True))

    def parse(self, text: str) -> TinyArchitecture:
        for architecture in map(self.decode, np.ndindex(*(len(gene.choices) for gene in self.genes))):
            if architecture.key == text:
                return architecture
        raise SpaceError(f"no such network: {text}")

    def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome:
        place = int(rng.integers(len(genome)))
        size = len(self.genes[place].choices)
        return (*genome[:place], (genome[place] + int(rng.integers(1, size))) % size, *genome[place + 1 :])

    def source(self, architecture: TinyArchitecture) -> str:
        a = architecture
        return SOURCE.format(width=a.width, kernel=a.kernel, depth=a.depth, classes=self.num_classes)

    def build(self, architecture: TinyArchitecture) -> nn.Module:
        space: dict[str, type[nn.Module]] = {}
        exec(self.source(architecture), space)
        return space["Network"]()

    def parts(self, architecture: TinyArchitecture) -> list[Part]:
        w, k = architecture.width, architecture.kernel
        body = Part(("body", k), (w, w), lambda i, o: (nn.Conv2d(i, o, k, padding=k // 2), (i, 8, 8)))
        stem = Part("stem", (w,), lambda c: (nn.Conv2d(3, c, 1), (3, 8, 8)))
        head = Part(
            "head", (w,), lambda c: (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 4)), (c, 8, 8))
        )
        return [stem, *[body] * architecture.depth, head]

    def chain(self, architecture: TinyArchitecture) -> list[Part]:
        stem, body, *_, head = self.parts(architecture)
        with_relu = Part("unit", body.widths, lambda i, o: (nn.Sequential(body.make(i, o)[0], nn.ReLU()), (i, 8, 8)))
        return [stem, replace(with_relu, kind=("unit", body.kind)), head]
