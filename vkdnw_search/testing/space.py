"""check_search_space: does a search space keep its contract?"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import numpy as np

from vkdnw_search.contracts import SPACE_MEMBERS, HasChain, HasEncoding, HasMutation, HasParts, HasReferences, HasText
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.cost.peak_memory import PeakMemory
from vkdnw_search.optimizers.variation import random_genome
from vkdnw_search.records import Cost, Gene, Genome
from vkdnw_search.testing.findings import Findings, said
from vkdnw_search.testing.network import HEAVY, Twins, check_network, check_source, parameters_of

COUNTED, EXPORTED = 8, 3
"""Networks that are counted as a whole, and whose source is compared: both take a second for a large one."""

COUNTABLE = "Name operators that cost nothing worth counting in free_operators"

TRIES = 3
"""Number of genomes in which each gene is changed on its own."""


def check_search_space(space: Any, samples: int = 200, seed: int = 0) -> None:
    """Hold ``space`` to :class:`vkdnw_search.contracts.SearchSpace` on random genomes.

    Looks for: genes that are ill-formed or change nothing, genomes that do not decode or build, ``decode`` that is not
    deterministic, keys that are not one line of printable ASCII or not canonical (equal networks under different
    keys, where that can be detected; ``parse(key).key != key``), ``encode`` that does not invert ``decode``,
    ``mutate`` that leaves the ranges, ``source`` that is not what ``build`` gives, parts whose sum is not the whole,
    a chain whose peak memory is not that of the whole, operators that cannot be counted, and spaces that cannot be
    pickled.

    Args:
        space: an instance. Large networks are built on the meta device where they can be, and one at a time.
        samples: number of random genomes.
        seed: of the random genomes.

    Raises:
        ConformanceError: with a sentence for each kind of fault.
    """
    findings = Findings(f"the search space {getattr(space, 'name', type(space).__name__)!r}")
    if _check_members(space, findings):
        rng = np.random.default_rng(seed)
        genomes = [*_corners(space.genes), *(random_genome(space.genes, rng) for _ in range(samples))]
        decoded: dict[str, tuple[Genome, Any]] = {}
        for genome in genomes:
            architecture = _check_decode(space, genome, findings)
            if architecture is not None:
                decoded.setdefault(architecture.key, (genome, architecture))
                _check_text(space, genome, architecture, findings)
                _check_mutation(space, genome, seed, findings)
        _check_pickle(space, genomes[-1], findings)
        counter: CostCounter[Any] = CostCounter(space)
        _check_references(space, counter, findings)
        _check_networks(space, [architecture for _, architecture in decoded.values()], counter, findings)
        _check_genes(space, [genome for genome, _ in decoded.values()], Twins(space, counter), rng, findings)
    findings.report()


def _corners(genes: tuple[Gene, ...]) -> Iterator[Genome]:
    """First and last choices: where things break first."""
    yield tuple(0 for _ in genes)
    yield tuple(len(gene.choices) - 1 for gene in genes)


def _check_members(space: Any, findings: Findings) -> bool:
    """Whether the rest of the check makes sense."""
    for member in SPACE_MEMBERS:
        findings.require(
            hasattr(space, member),
            member,
            f"{member}: must be there (see vkdnw_search.contracts.SearchSpace), but {type(space).__name__} has none. "
            "Add it",
        )
    if not all(hasattr(space, member) for member in ("genes", "decode", "build")):
        return False
    genes = space.genes
    sound = findings.require(
        isinstance(genes, tuple) and bool(genes) and all(isinstance(gene, Gene) for gene in genes),
        "genes",
        f"genes: must be a tuple of at least one vkdnw_search.records.Gene, but is {genes!r:.80}",
    )
    if sound:
        names = [gene.name for gene in genes]
        findings.require(
            len(set(names)) == len(names),
            "gene names",
            f"genes: names must differ, but {next((n for n in names if names.count(n) > 1), '')!r} stands there twice. "
            "Number them, such as 'stage2.kernel'",
        )
        findings.require(
            space.genes == genes, "genes twice", "genes: must be the same each time, but the second time they differ"
        )
    return sound


def _check_decode(space: Any, genome: Genome, findings: Findings) -> Any | None:
    """The architecture of ``genome`` if it decodes and its key is text as it must be."""
    where = f"decode({genome})"
    try:
        architecture, again = space.decode(genome), space.decode(genome)
        key, hashed = architecture.key, hash(architecture) == hash(again)
    except Exception as error:
        findings.add(
            "decode",
            f"{where}: every index within its gene's range must decode to something hashable with a key, but raised "
            f"{said(error)}. Map what has no meaning to the nearest that has one, or drop the choice",
        )
        return None
    findings.require(
        key == again.key and architecture == again and hashed,
        "deterministic",
        f"{where}: must give equal architectures (==, hash and key) each time, but gave {key!r} and {again.key!r}. "
        "Make the architecture a frozen dataclass, and decode a function of the genome alone",
    )
    printable = isinstance(key, str) and bool(key) and key.isascii() and key.isprintable()
    findings.require(
        printable,
        "key text",
        f"{where}.key: must be one line of printable ASCII, since it names the network in files, but is {key!r}. "
        "Write it with letters, digits and punctuation",
    )
    return architecture if printable else None


def _check_text(space: Any, genome: Genome, architecture: Any, findings: Findings) -> None:
    """``parse`` and ``encode``, where there are any, must lead back."""
    key, reads, encodes = architecture.key, isinstance(space, HasText), isinstance(space, HasEncoding)
    if reads:
        with findings.no_error("parse", f"parse({key!r}): must read the key of decode({genome})", "Parse what key has"):
            read = space.parse(key)
            findings.require(
                read.key == key and read == architecture,
                "parse key",
                f"parse({key!r}): must give the architecture with that key, but gives one with the key {read.key!r}. "
                "The key is not canonical: bring the architecture into its canonical form when it is constructed",
            )
    if encodes:
        mend = "Choose the genes of the canonical form so that they can express it"
        with findings.no_error("encode", f"encode(decode({genome})): must give a genome", mend):
            encoded = space.encode(architecture)
            findings.require(
                space.decode(encoded) == architecture,
                "encode decode",
                f"encode: must invert decode, but decode(encode(a)) is {space.decode(encoded).key!r} for a of key "
                f"{key!r}",
            )


def _check_references(space: Any, counter: CostCounter[Any], findings: Findings) -> None:
    """Networks with names of their own must be networks."""
    named = space.references if isinstance(space, HasReferences) else {}
    for name, text in named.items():
        told = f"references[{name!r}]"
        findings.require(
            bool(name) and name.isprintable() and not any(c.isspace() for c in name) and not name.endswith(".py"),
            "reference name",
            f"{told}: must be a name without spaces that does not end in .py. Rename it",
        )
        with findings.no_error("reference", f"{told}: must be text that parse reads", "Write it as key has it"):
            counter.cost(space.parse(text))


def _check_mutation(space: Any, genome: Genome, seed: int, findings: Findings) -> None:
    mutates = isinstance(space, HasMutation)  # apart, so that a type checker still knows space as a space
    if not mutates:
        return
    with findings.no_error("mutate", f"mutate({genome}, rng): must give a genome", "See HasMutation"):
        child, again = (space.mutate(genome, np.random.default_rng(seed)) for _ in range(2))
        sizes = [len(gene.choices) for gene in space.genes]
        findings.require(
            isinstance(child, tuple)
            and len(child) == len(sizes)
            and all(isinstance(i, int) and 0 <= i < size for i, size in zip(child, sizes, strict=False)),
            "mutate ranges",
            f"mutate({genome}, rng): must give a tuple of {len(sizes)} whole numbers, each an index into its gene's "
            f"choices, but gives {child!r}. Clip what leaves the range",
        )
        findings.require(
            child == again,
            "mutate rng",
            f"mutate({genome}, rng): must draw from the given rng alone, but with equal ones gives {child} and "
            f"{again}. Use no other source of randomness",
        )


def _check_pickle(space: Any, genome: Genome, findings: Findings) -> None:
    mend = "Build lambdas, locks and modules when they are needed instead of keeping them, and define the class in a \
module"
    with findings.no_error("pickle", "pickle: the space must survive the way to a worker process", mend):
        copy = pickle.loads(pickle.dumps(space))
        findings.require(
            copy.genes == space.genes and copy.decode(genome).key == space.decode(genome).key,
            "pickle copy",
            f"pickle: a copy must be the same space, but decodes {genome} to another key or has other genes. Keep "
            "everything decode depends on in attributes of the instance",
        )


def _check_networks(space: Any, architectures: list[Any], counter: CostCounter[Any], findings: Findings) -> None:
    """Every architecture builds; some are counted as a whole, some are exported, with numbers if they are not heavy."""
    chained = isinstance(space, HasChain)  # apart, so that a type checker still knows space as a space
    memory: PeakMemory[Any] | None = PeakMemory(space) if chained else None
    weights: list[tuple[int, Any]] = []
    for architecture in architectures:
        size = _size(space, architecture, counter, findings)
        weights.append((parameters_of(space, architecture) if size is None else size.parameters, architecture))
        check_network(space, architecture, findings, parameters=weights[-1][0], flops=size.flops if size else 0)
    light = [a for weight, a in weights if weight <= HEAVY] or [a for _, a in sorted(weights, key=itemgetter(0))[:1]]
    heavy = [a for weight, a in weights if weight > HEAVY]
    for architecture in light[:COUNTED]:
        _check_count(space, architecture, counter, findings)
        if memory is not None:
            _check_chain(space, architecture, memory, findings)
    for architecture in light[:EXPORTED]:
        check_source(space, architecture, findings)
    for architecture in heavy[:EXPORTED]:
        check_source(space, architecture, findings, shapes_alone=True)


def _size(space: Any, architecture: Any, counter: CostCounter[Any], findings: Findings) -> Cost | None:
    """The cost by the sum of parts, without building; None of a space without parts."""
    if not isinstance(space, HasParts):
        return None
    try:
        return counter.cost(architecture)
    except Exception as error:
        findings.add("count", f"{architecture.key}: must be countable, but raised {said(error)}. {COUNTABLE}")
        return None


def _check_count(space: Any, architecture: Any, counter: CostCounter[Any], findings: Findings) -> None:
    with findings.no_error("count", f"{architecture.key}: must be countable", COUNTABLE):
        whole = counter.whole(architecture)
        cost = counter.cost(architecture) if isinstance(space, HasParts) else whole
        findings.require(
            cost == whole,
            "parts",
            f"parts({architecture.key}): together must hold every parameter and every counted operation once, so that "
            f"their sum is the whole network, but the sum is {cost} and the network {whole}. Look for a block without "
            "a part, a wrong input shape, or kinds that do not tell different blocks apart",
        )


def _check_chain(space: Any, architecture: Any, memory: PeakMemory[Any], findings: Findings) -> None:
    """The blocks of a chain must together be the network, as far as its peak memory tells."""
    mend = "Give each block the shape of its input, and leave out none"
    with findings.no_error("chain", f"chain({architecture.key}): must give blocks that can be run", mend):
        blocks, whole = memory(architecture), memory.whole(architecture)
        findings.require(
            blocks == whole,
            "chain memory",
            f"chain({architecture.key}): must hold the blocks of the network in order, so that the largest peak memory "
            f"of any is that of the network, but it is {blocks:,} bytes and that of the network {whole:,}. {mend}",
        )


def _check_genes(space: Any, genomes: list[Genome], twins: Twins, rng: np.random.Generator, findings: Findings) -> None:
    """Each gene must matter somewhere, and wherever it changes the key it must change the network."""
    for place, gene in enumerate(space.genes):
        matters = len(gene.choices) == 1
        for tried, genome in enumerate(itertools.islice(itertools.cycle(genomes), len(genomes) + TRIES)):
            if matters and tried >= TRIES:
                break
            others = [index for index in range(len(gene.choices)) if index != genome[place]]
            if not others:
                break
            changed = (*genome[:place], int(rng.choice(others)), *genome[place + 1 :])
            with findings.no_error(
                "change", f"a change of {gene.name} in {genome}: must decode and build", "See above"
            ):
                ours, theirs = space.decode(genome), space.decode(changed)
                matters |= ours.key != theirs.key
                if tried < TRIES and ours.key != theirs.key and twins.equal(ours, theirs):
                    findings.add(
                        "canonical",
                        f"gene {gene.name}: equal networks must have equal keys, but {ours.key!r} and {theirs.key!r} "
                        "have the same parameters and the same outputs. Bring both into one canonical form when the "
                        "architecture is constructed, or leave out of the key what does not change the network",
                    )
        findings.require(
            matters,
            f"gene {gene.name}",
            f"gene {gene.name}: must change the network somewhere, but changed no key in {len(genomes)} genomes. "
            "Use it in decode, or remove it",
        )
