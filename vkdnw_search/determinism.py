"""What a score depends on besides the network: its seed, the number of threads, and the device."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it takes seconds to import, and a seed needs none of it
    import torch


def seed_from(*parts: int | str) -> int:
    """A seed in [0, 2⁶³) that is a pure function of ``parts``.

    >>> seed_from(0, "|nor_conv_3x3~0|", "initialization", 0) == seed_from(0, "|nor_conv_3x3~0|", "initialization", 0)
    True
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def cores() -> int:
    """The number of cores this process may use, where the platform tells (Linux); else all of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: sums depend on how many threads share them, and with one every worker gets the same
    bytes.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_of(proxy: object) -> torch.device:
    """The device that a proxy asks for; ``auto`` takes CUDA or MPS where there is one."""
    import torch

    wanted = str(getattr(proxy, "device", "cpu"))
    if wanted != "auto":
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
