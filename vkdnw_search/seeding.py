"""Seeds that depend on what is seeded, never on order, worker or count of workers."""

from __future__ import annotations

import hashlib


def seed_from(*parts: int | str) -> int:
    """A seed in [0, 2⁶³) that is a pure function of ``parts``.

    >>> seed_from(0, "|nor_conv_3x3~0|", "initialization", 0) == seed_from(0, "|nor_conv_3x3~0|", "initialization", 0)
    True
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
