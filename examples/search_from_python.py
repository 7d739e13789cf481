"""Searches, scores and exports from Python. About a minute on one core.

python examples/search_from_python.py [FOLDER]
"""

import sys
from pathlib import Path

from vkdnw_search import build, export, score, search


def main(folder: str = "runs/python") -> None:
    """Search for half a minute, and say what was found."""
    recipe = {
        "space": {"use": "nasbench201", "channels": 8, "cells": 1},
        "limits": {"flops": "5M"},
        "stop": {"evaluations": 40},
        "finalists": 4,
    }
    result = search(recipe, listener=lambda e: print(f"{e.number:3} {e.status:10} {e.key}"))  # out=… keeps a run folder
    assert result.best is not None, result.ended
    print(result.best)
    for finalist in result.judgement.finalists:
        print(f"  {finalist.mean:.3f} ± {finalist.standard_error:.3f}  {finalist.verdict}")
    for found in result.front():
        print(f"  on the Pareto front: {found.cost.flops:,} FLOPs, score {found.score.value:.3f}")

    model = build(result.best)  # a torch.nn.Module, from images (N, 3, 32, 32) to logits (N, 10)
    print("again, from another seed:", score(model, input_shape=(3, 32, 32), seed=1).value)
    Path(folder).mkdir(parents=True, exist_ok=True)
    print("module:", export(result.best, Path(folder) / "model.py"))  # checked: same parameters, outputs and FLOPs
    result.plot().savefig(Path(folder) / "search.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
