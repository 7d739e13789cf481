"""What a score depends on besides the network: its seed, random generators, the number of threads, the device."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
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
def forked_generators(seed: int | None = None) -> Iterator[None]:
    """Leave the global random generators of torch, numpy and ``random`` as they are, whatever the block draws.

    Whatever builds, runs or scores a network does so within: its code may draw from any of the three.

    Args:
        seed: what they begin with in the block; None: where they are.
    """
    import numpy as np
    import torch

    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    ours, numpys = random.getstate(), np.random.get_state(legacy=False)
    with torch.random.fork_rng(devices=devices):
        try:
            if seed is not None:
                seed_generators(seed)
            yield
        finally:
            random.setstate(ours)
            np.random.set_state(numpys)


def seed_generators(seed: int) -> None:
    """Begin the global random generators of torch, numpy and ``random`` anew. Call it within forked_generators."""
    import numpy as np
    import torch

    torch.manual_seed(seed)
    random.seed(seed)
    with contextlib.suppress(TypeError):  # of a bit generator of the user's own (numpy.random.set_bit_generator)
        np.random.seed(seed % 2**32)


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
