"""The text of a network of mobile blocks, and of choices among such networks.

A stage is written as in timm's model strings: ``ir_r2_k3_s2_e6_c24`` are two inverted residuals with kernel 3,
expansion 6 and 24 channels, the first with stride 2. Types are ``cn``, ``ds``, ``ir`` and ``er``; ``e`` belongs to
``ir`` and ``er``, and ``se0.25``, of four decimals at most, adds squeeze-excitation to all but ``cn``. Choices are
separated by a slash: ``ir_r1/2/3_k3/5_s2_e3/6_c24/32``. A whole network has its stem before and its last convolution
after its stages::

    c32_s2-ds_r1_k3_s1_c16-ir_r2_k3_s2_e6_c24-c1280

Where the search chooses among resolutions, that of the network comes first, as in ``128px-c32_s2-…``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from search_spaces.scanner import Scanner
from vkdnw_search.errors import SpaceError, nearest

FIELDS: dict[str, tuple[str, ...]] = {
    "cn": ("r", "k", "s", "c"),
    "ds": ("r", "k", "s", "c"),
    "ir": ("r", "k", "s", "e", "c"),
    "er": ("r", "k", "s", "e", "c"),
}
"""Type → the fields it must have, in canonical order. ``se`` may follow."""

BOUNDS: dict[str, tuple[float, float]] = {
    "r": (1, 32), "k": (1, 11), "s": (1, 2), "e": (1, 16), "c": (1, 8192), "se": (0, 1),
}  # fmt: skip

MOBILENET_V2 = (
    "c32_s2-ds_r1_k3_s1_c16-ir_r2_k3_s2_e6_c24-ir_r3_k3_s2_e6_c32-ir_r4_k3_s2_e6_c64-ir_r3_k3_s1_e6_c96"
    "-ir_r3_k3_s2_e6_c160-ir_r1_k3_s1_e6_c320-c1280"
)
EFFICIENTNET_B0 = (
    "c32_s2-ds_r1_k3_s1_c16_se0.25-ir_r2_k3_s2_e6_c24_se0.25-ir_r2_k5_s2_e6_c40_se0.25-ir_r3_k3_s2_e6_c80_se0.25"
    "-ir_r3_k5_s1_e6_c112_se0.25-ir_r4_k5_s2_e6_c192_se0.25-ir_r1_k3_s1_e6_c320_se0.25-c1280"
)
PUBLISHED = {"relu6": {"mobilenetv2": MOBILENET_V2}, "silu": {"efficientnet_b0": EFFICIENTNET_B0}}
"""Activation → the networks that have it: arXiv 1801.04381, table 2, and arXiv 1905.11946, table 1."""

_FIELD = re.compile(r"(?P<name>[a-z]+)(?P<values>[0-9.]+(/[0-9.]+)*)")
_STAGE = re.compile(r"[^-]+")
_LAST = re.compile(r"c[0-9]")
_SIDE = re.compile(r"[0-9]")


@dataclass(frozen=True, slots=True)
class Unit:
    """One block of a network; ``expansion`` is 1 where a type has none."""

    type: str
    kernel: int
    stride: int
    expansion: int
    out: int
    se: float

    def text(self, repeats: int) -> str:
        """The stage of ``repeats`` such blocks, of which the first alone has the stride."""
        values = {"r": repeats, "k": self.kernel, "s": self.stride, "e": self.expansion, "c": self.out}
        fields = [f"{name}{values[name]}" for name in FIELDS[self.type]]
        return "_".join([self.type, *fields, *([f"se{self.se:.4f}".rstrip("0").rstrip(".")] if self.se else [])])


@dataclass(frozen=True, slots=True)
class Network:
    """Channels and stride of the stem, blocks in order, channels of the last convolution.

    ``side`` is height and width of the images that it is for, in a space that chooses among them.
    """

    stem: int
    stem_stride: int
    blocks: tuple[Unit, ...]
    last: int
    side: int | None = None

    @property
    def key(self) -> str:
        """Its text, with blocks that can be one stage written as one."""
        stages: list[tuple[Unit, int]] = []
        for unit in self.blocks:
            if stages and unit == replace(stages[-1][0], stride=1):
                stages[-1] = (stages[-1][0], stages[-1][1] + 1)
            else:
                stages.append((unit, 1))
        texts = [unit.text(repeats) for unit, repeats in stages]
        images = [] if self.side is None else [f"{self.side}px"]
        return "-".join([*images, f"c{self.stem}_s{self.stem_stride}", *texts, f"c{self.last}"])


@dataclass(frozen=True, slots=True)
class StageChoices:
    """A stage with one or more values, ascending, for each of its fields ``r``, ``k``, ``s``, ``e``, ``c``, ``se``."""

    type: str
    choices: Mapping[str, tuple[float, ...]]

    def units(self, values: Mapping[str, float]) -> tuple[Unit, ...]:
        """The blocks of the stage with these values."""
        kernel, stride, expansion, out = (int(values[name]) for name in ("k", "s", "e", "c"))
        first = Unit(self.type, kernel, stride, expansion, out, float(values["se"]))
        return (first, *[replace(first, stride=1)] * (int(values["r"]) - 1))


def parse_stage(text: str) -> StageChoices:
    """The choices written as ``text``.

    Raises:
        SpaceError: naming the field, what must hold and what stands there.
    """
    type, *fields = text.split("_")
    if type not in FIELDS:
        raise SpaceError(f"stage {text!r}: must begin with one of {', '.join(FIELDS)}, but begins with {type!r}")
    choices: dict[str, tuple[float, ...]] = {}
    for field in fields:
        match = _FIELD.fullmatch(field)
        name = match["name"] if match else field
        known = [*FIELDS[type], *(["se"] if type != "cn" else [])]
        if match is None or name not in known or name in choices:
            example = "a letter and numbers, such as k3 or k3/5/7"
            raise SpaceError(
                f"stage {text!r}: a field of {type} must be {example}, each of {', '.join(known)} at most once, but is "
                f"{field!r}.{nearest(name, known)}"
            )
        choices[name] = _values(text, name, match["values"])
    missing = [name for name in FIELDS[type] if name not in choices]
    if missing:
        raise SpaceError(f"stage {text!r}: must have the fields {', '.join(FIELDS[type])}, but {missing[0]} is missing")
    complete = {"e": (1,), "se": (0.0,), **choices}
    return StageChoices(type, {name: complete[name] for name in BOUNDS})


def _values(stage: str, name: str, text: str) -> tuple[float, ...]:
    """The numbers of one field, ascending."""
    low, high = BOUNDS[name]
    try:
        values = sorted({round(float(word), 4) if name == "se" else int(word) for word in text.split("/")})
    except ValueError:
        values = []
    odd = all(value % 2 == 1 for value in values) or name != "k"
    if not values or len(values) != len(text.split("/")) or not (low <= values[0] and values[-1] <= high) or not odd:
        kind = "odd whole numbers" if name == "k" else "numbers" if name == "se" else "whole numbers"
        raise SpaceError(
            f"stage {stage!r}, field {name}: must be different {kind} in {low:g} … {high:g}, but is {text}"
        )
    return tuple(values)


def parse_network(text: str) -> Network:
    """The network written as ``text``.

    Raises:
        SpaceError: naming the position or the field, what was expected there and what stands there.
    """
    scanner = Scanner(text.strip(), "network of stages")
    side = _side(scanner) if _SIDE.match(scanner.text) else None
    scanner.literal("c")
    stem = scanner.number("channels of the stem")
    scanner.literal("_s")
    stride = scanner.number("the stride of the stem", allowed=(1, 2))
    scanner.literal("-")
    units: list[Unit] = []
    while not _LAST.match(scanner.text, scanner.position):
        start = scanner.position
        stage = parse_stage(scanner.pattern(_STAGE, "a stage such as ir_r2_k3_s2_e6_c24, or c and the last channels"))
        if any(len(values) > 1 for values in stage.choices.values()):
            raise scanner.error("a stage without choices", at=start)
        units += stage.units({name: values[0] for name, values in stage.choices.items()})
        scanner.literal("-")
    scanner.literal("c")
    last = scanner.number("the last channels")
    scanner.end()
    return Network(stem, stride, tuple(units), last, side)


def _side(scanner: Scanner) -> int:
    """Height and width of the images."""
    side = scanner.number("height and width of the images")
    scanner.literal("px-")
    return side
