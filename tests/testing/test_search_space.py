"""check_search_space passes every sound space and finds every fault it says it finds."""

from __future__ import annotations

import random
import weakref
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.tiny_space import Tiny, TinyArchitecture
from vkdnw_search.errors import ConformanceError
from vkdnw_search.recipe.registry import find, shipped
from vkdnw_search.records import Gene, Genome
from vkdnw_search.testing import check_search_space

SMALL: dict[str, dict[str, Any]] = {
    "autoformer": {"resolution": 32, "num_classes": 10},
    "mobilenet": {"resolution": 16, "num_classes": 10, "max_width": 64, "last_width": 64},
    "ofa_mobilenetv3": {"resolution": 32, "num_classes": 10},
    "resnet": {"resolution": 16, "num_classes": 10, "max_width": 32},
    "stages": {"resolution": 16, "num_classes": 10},
    "transnas_macro": {"resolution": 32, "channels": 4},
    "transnas_micro": {"resolution": 32, "channels": 4},
}
"""Options that keep networks small; the structure of a space does not depend on them."""


def test_a_sound_space_passes():
    check_search_space(Tiny())


def test_a_shipped_space_passes():
    check_search_space(find("spaces", "macro")(), samples=1)


@pytest.mark.parametrize(
    ("references", "sentence"),
    [({"a b": None}, "must be a name without spaces"), ({"good": "nonsense"}, "must be text that parse reads")],
)
def test_references_that_are_no_networks_are_found(references, sentence):
    space = find("spaces", "nasbench201")(channels=4, cells=1, resolution=8)
    key = space.references["resnet"]
    named = type("Named", (type(space),), {"references": {name: text or key for name, text in references.items()}})
    with pytest.raises(ConformanceError, match=sentence):
        check_search_space(named(channels=4, cells=1, resolution=8), samples=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped("spaces"))
def test_every_shipped_space_passes_with_200_samples(name):
    check_search_space(find("spaces", name)(**SMALL.get(name, {})), samples=200)


WIDEST, HEAVY = 400, 100_000
"""The widest network of these tests, and the parameters from which one counts as heavy in them."""


@pytest.fixture(autouse=True)
def lower_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("network", "space"):
        monkeypatch.setattr(f"vkdnw_search.testing.{module}.HEAVY", HEAVY)


class Heavy(Tiny):
    """Its widest networks are heavy. Notes what is alive whenever a network is built with numbers."""

    genes = (Gene("width", (4, 8, WIDEST), ordered=True), Gene("kernel", (1,)), *Tiny.genes[2:])

    def __init__(self) -> None:
        self.alive: list[weakref.ref[nn.Module]] = []
        self.most = self.heaviest = self.built = 0

    def build(self, architecture: TinyArchitecture) -> nn.Module:
        model = super().build(architecture)
        self.built += 1
        if next(model.parameters()).device.type != "meta":
            self.alive = [other for other in self.alive if other() is not None] + [weakref.ref(model)]
            self.most = max(self.most, len(self.alive))
            self.heaviest = max(self.heaviest, sum(p.numel() for p in model.parameters()))
        return model

    def __reduce__(self) -> Any:
        return Heavy, ()


class HeavyWithoutParts:
    """The same as no more than a search space must be."""

    name, input_shape, num_classes, genes = "tiny", Tiny.input_shape, Tiny.num_classes, Heavy.genes

    def __init__(self) -> None:
        self.heavy = Heavy()
        self.decode, self.build, self.source = self.heavy.decode, self.heavy.build, self.heavy.source


@pytest.mark.parametrize("kind", [Heavy, HeavyWithoutParts])
def test_of_a_space_with_heavy_networks_one_light_network_is_in_memory_at_a_time(kind):
    space = kind()
    check_search_space(space, samples=40)
    space = getattr(space, "heavy", space)
    assert space.built > 10 and space.most == 1
    assert 0 < space.heaviest <= HEAVY < WIDEST**2


class HeavyWithAnotherSource(Heavy):
    def source(self, architecture: TinyArchitecture) -> str:
        source = super().source(architecture)
        return source.replace("nn.ReLU()", "nn.PReLU()") if architecture.width == WIDEST else source

    def build(self, architecture: TinyArchitecture) -> nn.Module:
        names: dict[str, type[nn.Module]] = {}
        exec(super().source(architecture), names)
        return names["Network"]()


class ListOfGenes(Tiny):
    @property
    def genes(self) -> Any:  # type: ignore[override]
        return [*Tiny.genes]


class TwoGenesOfOneName(Tiny):
    genes = (*Tiny.genes[:2], Gene("width", (1, 2)))


class GeneThatChangesNothing(Tiny):
    genes = (*Tiny.genes, Gene("colour", ("red", "blue")))

    def decode(self, genome: Genome) -> TinyArchitecture:
        return TinyArchitecture(*(gene.choices[i] for gene, i in zip(Tiny.genes, genome[:3], strict=True)))

    def encode(self, architecture: TinyArchitecture) -> Genome:
        return (*super().encode(architecture), 0)


class GenomeThatDoesNotDecode(Tiny):
    def decode(self, genome: Genome) -> TinyArchitecture:
        if genome[1] == 3:
            raise ValueError("kernel 7 is too large")
        return super().decode(genome)


class DecodesAtRandom(Tiny):
    def decode(self, genome: Genome) -> TinyArchitecture:
        return super().decode((random.randrange(3), *genome[1:]))


class KeyOverTwoLines(Tiny):
    def decode(self, genome: Genome) -> Any:
        class Twice(TinyArchitecture):
            key = "w4\nk3"

        return Twice(4, 3, 1)


class KeyWithTooMuch(Tiny):
    """Says in its key how often a kernel of 1 is padded, which changes nothing."""

    genes = (*Tiny.genes, Gene("padding", (0, 1)))

    def decode(self, genome: Genome) -> Any:
        return Padded(*(gene.choices[i] for gene, i in zip(self.genes, genome, strict=True)))

    def encode(self, architecture: Any) -> Genome:
        return (*super().encode(architecture), architecture.padding)


class Padded(TinyArchitecture):
    def __init__(self, width: int, kernel: int, depth: int, padding: int) -> None:
        super().__init__(width, kernel, depth)
        object.__setattr__(self, "padding", padding)

    @property
    def key(self) -> str:
        return f"{super().key}p{self.padding}"  # type: ignore[attr-defined]


class ParsesToAnother(Tiny):
    def parse(self, text: str) -> TinyArchitecture:
        return TinyArchitecture(4, 1, 1)


class EncodesAnother(Tiny):
    def encode(self, architecture: TinyArchitecture) -> Genome:
        return (0, 0, 0)


class MutatesBeyond(Tiny):
    def mutate(self, genome: Genome, rng: Any) -> Genome:
        return tuple(index + 1 for index in genome)


class MutatesByItself(Tiny):
    def mutate(self, genome: Genome, rng: Any) -> Genome:
        return tuple(random.randrange(len(gene.choices)) for gene in self.genes)


class DoesNotBuild(Tiny):
    def build(self, architecture: TinyArchitecture) -> nn.Module:
        if architecture.kernel == 7:
            raise RuntimeError("no such kernel")
        return super().build(architecture)


class WrongLogits(Tiny):
    def build(self, architecture: TinyArchitecture) -> nn.Module:
        return nn.Sequential(super().build(architecture), nn.Linear(4, 5))


class SourceOfAnother(Tiny):
    def source(self, architecture: TinyArchitecture) -> str:
        return super().source(architecture)

    def build(self, architecture: TinyArchitecture) -> nn.Module:
        network = super().build(architecture)
        network[0] = nn.Conv2d(3, architecture.width, 1, bias=False)  # type: ignore[operator]
        return network


class SourceThatComputesAnother(Tiny):
    def build(self, architecture: TinyArchitecture) -> nn.Module:
        network = super().build(architecture)
        network[2] = nn.Identity()  # type: ignore[operator]
        return network


class SourceThatImports(Tiny):
    def source(self, architecture: TinyArchitecture) -> str:
        return "import numpy\n" + super().source(architecture)


class SourceWithoutNetwork(Tiny):
    def source(self, architecture: TinyArchitecture) -> str:
        return "import torch\n"

    def build(self, architecture: TinyArchitecture) -> nn.Module:
        a = architecture
        return nn.Sequential(
            nn.Conv2d(3, a.width, a.kernel), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(a.width, 4)
        )


class PartMissing(Tiny):
    def parts(self, architecture: TinyArchitecture) -> list[Any]:
        return super().parts(architecture)[:-1]


class ChainWithoutItsBody(Tiny):
    def chain(self, architecture: TinyArchitecture) -> list[Any]:
        stem, _, head = super().chain(architecture)
        return [stem, head]


class UnknownOperator(Tiny):
    def build(self, architecture: TinyArchitecture) -> nn.Module:
        return nn.Sequential(super().build(architecture), nn.Softplus())


class NoPickle(Tiny):
    def __init__(self) -> None:
        self.made = lambda: torch.zeros(1)


class PicklesAnother(Tiny):
    genes = (Gene("width", (4, 8)), *Tiny.genes[1:])

    def __reduce__(self) -> Any:
        return Tiny, ()


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (ListOfGenes, r"genes: must be a tuple .* but is \[Gene"),
        (TwoGenesOfOneName, "names must differ, but 'width' stands there twice"),
        (GeneThatChangesNothing, "gene colour: must change the network somewhere, but changed no key.*remove it"),
        (GenomeThatDoesNotDecode, r"decode\(.*must decode.*kernel 7 is too large.*drop the choice"),
        (DecodesAtRandom, r"decode\(.*must give equal architectures.*frozen dataclass"),
        (KeyOverTwoLines, r"one line of printable ASCII.*but is 'w4\\nk3'"),
        (KeyWithTooMuch, "gene padding: equal networks must have equal keys, but '.*p[01]' and .*canonical form"),
        (ParsesToAnother, r"parse\('.*but gives one with the key 'w4k1d1'.*not canonical"),
        (EncodesAnother, r"encode: must invert decode, but decode\(encode\(a\)\) is 'w4k1d1'"),
        (MutatesBeyond, r"mutate\(.*each an index into its gene's choices.*Clip"),
        (MutatesByItself, r"mutate\(.*must draw from the given rng alone"),
        (DoesNotBuild, r"build\(w\d+k7d\d\): must give a module.*RuntimeError: no such kernel"),
        (WrongLogits, r"logits of shape \(N, num_classes\) = \(2, 4\), but returns \(2, 5\)"),
        (SourceOfAnother, r"source\(.*names or shapes of parameters differ"),
        (HeavyWithAnotherSource, r"source\(w400.*names or shapes of parameters differ"),
        (SourceThatComputesAnother, r"source\(.*outputs differ by up to"),
        (SourceThatImports, r"source\(.*must import torch alone, but imports numpy"),
        (SourceWithoutNetwork, r"source\(.*must define Network.*AttributeError"),
        (PartMissing, r"parts\(.*together must hold every parameter.*without a part"),
        (ChainWithoutItsBody, r"chain\(.*largest peak memory of any is that of the network.*leave out none"),
        (UnknownOperator, r"must be countable.*aten::softplus.*free_operators"),
        (NoPickle, "pickle: the space must survive the way to a worker process.*defined? the class in a module"),
        (PicklesAnother, "pickle: a copy must be the same space"),
    ],
    ids=lambda x: x.__name__ if isinstance(x, type) else "",
)  # fmt: skip
def test_each_fault_is_found_and_the_sentence_says_how_to_mend_it(space, sentence):
    with pytest.raises(ConformanceError, match=rf"(?s)the search space 'tiny' breaks its contract:.*{sentence}"):
        check_search_space(space(), samples=12)


def test_what_is_missing_is_named():
    class Empty:
        name = "empty"

    with pytest.raises(ConformanceError) as caught:
        check_search_space(Empty())
    assert [finding.partition(":")[0] for finding in caught.value.findings] == [
        "genes", "input_shape", "num_classes", "decode", "build", "source",
    ]  # fmt: skip
