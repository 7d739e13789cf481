"""Read the official files of NATS-Bench's topology space (needs the extra ``nats``)."""

from __future__ import annotations

import bz2
import io
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vkdnw_search.errors import RankingError
from vkdnw_search.ranking.tables import AccuracyTable, Canonical, collect

__all__ = ["read_nats"]

DATASETS: Mapping[str, tuple[str, str]] = {
    "cifar10": ("cifar10", "ori-test"),
    "cifar100": ("cifar100", "x-test"),
    "imagenet16": ("ImageNet16-120", "x-test"),
}
"""Column → data set and split: test accuracy, as in the published evaluation."""

EPOCHS = "200"
"""Of the two trainings in a file, 12 and 200 epochs, the full one."""

ALLOWED = frozenset(
    {
        ("collections", "OrderedDict"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"),
    }
)
"""All that the pickles of the benchmark refer to."""

_ENTRY = re.compile(r"\d{6}\.pickle\.pbz2")


def read_nats(folder: Path, *, canonical: Canonical | None = None) -> AccuracyTable:
    """Test accuracies after 200 epochs, mean over the trials, of every architecture in an official folder.

    ``folder`` is ``NATS-tss-v1_0-3ffb9-simple``, or one with some of its files ``NNNNNN.pickle.pbz2``. The columns are
    ``cifar10``, ``cifar100`` and ``imagenet16``.

    The files are pickles, and the package ``nats-bench`` unpickles whatever it is given, which runs the code that a
    pickle asks for. Here the files are unpickled by us, and a file that refers to anything but ordered
    dictionaries and numpy scalars is refused before it can do anything; the package is handed plain data, and only
    finds the accuracies in it.

    Raises:
        RankingError: naming the file that is missing, damaged or refused; or if ``nats-bench`` is not installed.
    """
    try:
        from nats_bench.api_utils import ArchResults
    except ImportError as error:
        raise RankingError("NATS-Bench files need the package nats-bench: pip install 'vkdnw-search[nats]'") from error
    paths = sorted(p for p in folder.iterdir() if _ENTRY.fullmatch(p.name)) if folder.is_dir() else []
    if not paths:
        raise RankingError(f"{folder}: must be a folder with files such as 000000.pickle.pbz2, but has none")
    return collect(folder, (_row(path, ArchResults) for path in paths), canonical=canonical)


def _row(path: Path, results: Any) -> tuple[str, str, dict[str, object]]:
    content = _load(path)
    try:
        entry = results.create_from_state_dict(content[EPOCHS])
        values = {
            column: entry.get_metrics(dataset, split)["accuracy"] for column, (dataset, split) in DATASETS.items()
        }
        return str(path), str(entry.arch_str), values
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RankingError(f"{path}: must hold results of {EPOCHS} epochs on three data sets; {error!r}") from error


def _load(path: Path) -> Any:
    try:
        return _Unpickler(io.BytesIO(bz2.decompress(path.read_bytes()))).load()
    except pickle.UnpicklingError as error:
        raise RankingError(f"{path}: is not a file of the benchmark: {error}") from error
    except (OSError, EOFError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise RankingError(f"{path}: is damaged: {error!r}") from error


class _Unpickler(pickle.Unpickler):
    """Refuses to import anything that is not in ``ALLOWED``."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        return super().find_class(module, name)
