"""One thread per test process: the processes of ``pytest -n 2`` and of the searches under test share two cores."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)
