"""``python -m vkdnw_search.output.verify FOLDER``: are the modules 0.py, 1.py, … there the networks of 0.pt, 1.pt, …?

Runs in an interpreter of its own, so that a module is seen as its user will see it. Exits with 1, and says on stdout
which and why, if parameters, outputs or FLOPs differ.
"""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path
from typing import Any

import torch

from vkdnw_search.cost.counter import count


def differences(module_path: Path, expected: dict[str, Any]) -> str:
    """Compare an exported module with the searched network; what differs in words, empty if nothing does."""
    spec = importlib.util.spec_from_file_location("model", module_path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Network(num_classes=expected["num_classes"]).eval()
    ours = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    theirs = {name: tuple(tensor.shape) for name, tensor in expected["state"].items()}
    if ours != theirs:
        return f"names or shapes of parameters differ: {sorted(set(ours.items()) ^ set(theirs.items()))[:4]}"
    model.load_state_dict(expected["state"])
    torch.set_num_threads(1)
    with torch.no_grad():
        logits = model(expected["images"])
    if not torch.equal(logits, expected["logits"]):
        return f"outputs differ by up to {(logits - expected['logits']).abs().max():.3g}"
    flops = count(model, expected["images"].shape[1:], free_operators=expected["free"]).flops
    if flops != expected["flops"]:
        return f"it has {flops} FLOPs, but the searched network {expected['flops']}"
    return _other_features(module, expected) if "features" in expected else ""


def _other_features(module: Any, expected: dict[str, Any]) -> str:
    """In what the backbone of a module differs from the network, in words; empty if in nothing."""
    backbone = module.Backbone().eval()
    missing = backbone.load_state_dict(expected["state"], strict=False).missing_keys
    if missing:
        return f"its backbone has weights that the network has not: {missing[:4]}"
    for images, features in expected["features"]:
        with torch.no_grad():
            ours = backbone(images)
        if len(ours) != len(features) or not all(map(torch.equal, ours, features)):
            return (
                "its backbone gives other features than the network has within: each of its stages must take what the "
                "one before gives, and nothing else"
            )
    return ""


def main(arguments: list[str]) -> int:
    """Compare every module of a folder and report the first that differs. Returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # whatever the encoding, the difference is told
    for file in sorted(Path(arguments[0]).glob("*.pt"), key=lambda file: int(file.stem)):
        found = differences(file.with_suffix(".py"), torch.load(file, weights_only=True))
        if found:
            sys.stdout.write(f"{file.stem} {found}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
