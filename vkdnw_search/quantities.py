"""Whole numbers as people write them: ``600M``, ``6e8``, ``1.5k``."""

from __future__ import annotations

import math
import re
from decimal import Decimal

UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
"""``K`` is read as ``k``."""

LARGEST = 2**63 - 1
"""The largest whole number in a recipe: what SQLite and NumPy can hold."""

BYTES = ("memory", "int8_size", "int8_memory")
"""The limits that are counted in bytes."""

_WITH_UNIT = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)([kKMGT])", re.ASCII)
_TIME = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(us|ms|s)", re.ASCII)
_PERCENTAGE = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,6})?%", re.ASCII)
_NEARLY_A_TIME = re.compile(
    r"\s*([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*(?:(us|[µμ]s|usecs?|micros[a-z]*)|(ms|msecs?|millis[a-z]*)|s|secs?|seconds?)\s*",
    re.IGNORECASE,
)
_NEARLY = re.compile(r"\s*([0-9][0-9_]{0,17}(?:\.[0-9]{1,18})?)\s*(?:([kmgtb])[a-z/ ]*)?", re.ASCII | re.IGNORECASE)


def whole(value: object) -> object:
    """Read ``value`` as an int if it is a whole number written as 6e8 or with a unit; anything else stays as it came.

    A text without a unit, such as ``"64"``, is left alone: quotes say that it is not meant as a number.

    >>> whole("600M"), whole(6e8), whole("1.5k"), whole("64"), whole("1.0001k")
    (600000000, 600000000, 1500, '64', '1.0001k')
    """
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST:
        return int(value)
    match = _WITH_UNIT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    number = Decimal(match[1]) * UNITS[match[2].replace("K", "k")]
    return int(number) if number == int(number) and number <= LARGEST else value


def microseconds(value: object) -> object:
    """Read a time with its unit as a whole number of microseconds; anything else, also a plain number, becomes text.

    >>> microseconds("20ms"), microseconds("1.5s"), microseconds("800us"), microseconds(20_000), microseconds("20")
    (20000, 1500000, 800, '20000', '20')
    """
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return str(value)
    number = Decimal(match[1]) * {"us": 1, "ms": 1000, "s": 10**6}[match[2]]
    return int(number) if number == int(number) else value


def percentage(value: object) -> object:
    """Keep a share written as percents, above 0 and below 100; anything else becomes None.

    >>> percentage("70%"), percentage("92.5%"), percentage("0%"), percentage(70)
    ('70%', '92.5%', None, None)
    """
    is_share = isinstance(value, str) and _PERCENTAGE.fullmatch(value) and float(value[:-1]) > 0
    return value if is_share else None


def share_of(percents: str, whole_number: int) -> int:
    """The least whole number that is at least so many percents of another.

    >>> share_of("70%", 60_000_000), share_of("33.3%", 10)
    (42000000, 4)
    """
    return math.ceil(Decimal(percents[:-1]) * whole_number / 100)


def compact(number: float) -> str:
    """Write ``number`` with a unit where that is exact and shorter; :func:`whole` reads it back.

    >>> compact(600_000_000), compact(1_050_000_000), compact(4096), compact(0.5)
    ('600M', '1.05G', '4096', '0.5')
    """
    if number != int(number):
        return str(number)
    for unit, size in reversed(UNITS.items()):
        if abs(number) >= max(size, 10**4) and number * 100 % size == 0:
            return f"{Decimal(int(number)) / size:f}{unit}"
    return str(int(number))


def score_text(value: float, standard_error: float = math.nan) -> str:
    """Write a score with its standard error, where it has one.

    Four decimals tell scores of neighbours apart; of a large score they say nothing, of a tiny one too little.

    >>> score_text(15.27981, 0.0093), score_text(221934208.0, 0.0), score_text(0.00001234)
    ('15.2798 ± 0.0093', '221,934,208', '1.234e-05')
    """
    size = abs(value)
    spelling = ",.0f" if 1e5 <= size < 1e12 else ".4g" if size >= 1e12 or 0 < size < 1e-3 else ".4f"
    error = f" ± {standard_error:.2g}" if standard_error > 0 else ""
    return f"{value:{spelling}}{error}"


def amount(limit: str, value: float) -> str:
    """Write what is limited under the name ``limit`` in its own unit: a latency comes in µs, memory in bytes.

    >>> amount("latency", 5000), amount("memory", 8e6), amount("int8_size", 2400), amount("flops", 598.2e6)
    ('5 ms', '8 MB', '2.4 kB', '598.2M')
    """
    if limit == "latency":
        unit, size = next(((u, s) for u, s in (("s", 1e6), ("ms", 1e3)) if value >= s), ("µs", 1))
        return f"{value / size:.4g} {unit}"
    prefix, size = next(((u, s) for u, s in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if abs(value) >= s), ("", 1))
    return f"{value / size:.4g}{f' {prefix}B' if limit in BYTES else prefix}"


def counted(what: str, number: int) -> str:
    """Write a number of ``flops``, ``parameters`` or ``layers`` exactly, with what it counts.

    >>> counted("flops", 450_000_000), counted("layers", 9)
    ('450M FLOPs', '9 layers')
    """
    return f"{compact(number)} {'FLOPs' if what == 'flops' else what}"


def amounts(limit: str, *values: float) -> tuple[str, ...]:
    """Write values each as :func:`amount` does, or all with every digit where different ones would look the same.

    >>> amounts("latency", 5200, 5000), amounts("memory", 8_000_001, 8_000_000)
    (('5.2 ms', '5 ms'), ('8,000,001 bytes', '8,000,000 bytes'))
    """
    texts = tuple(amount(limit, value) for value in values)
    if len(set(texts)) == len(set(values)):
        return texts
    unit = " µs" if limit == "latency" else " bytes" if limit in BYTES else ""
    return tuple(f"{value:,.0f}{unit}" for value in values)


def suggestion(text: str) -> str:
    """The number that ``text`` nearly is, or an empty string.

    >>> suggestion("600MB"), suggestion("600 m"), suggestion("1_000"), suggestion("soon")
    ('600M', '600M', '1000', '')
    """
    match = _NEARLY.fullmatch(text)
    if match is None:
        return ""
    unit = {"k": "k", "m": "M", "g": "G", "b": "G", "t": "T", "": ""}[(match[2] or "").lower()]
    return re.sub(r"^0+(?=[0-9])", "", match[1].replace("_", "")) + unit


def time_suggestion(text: str) -> str:
    """The time that ``text`` nearly is, or an empty string.

    >>> time_suggestion("20 ms"), time_suggestion("20 Milliseconds"), time_suggestion("0.5 sec"), time_suggestion("20")
    ('20ms', '20ms', '0.5s', '')
    """
    match = _NEARLY_A_TIME.fullmatch(text)
    return "" if match is None else match[1] + ("us" if match[2] else "ms" if match[3] else "s")
