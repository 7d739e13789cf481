"""From the recipe for a microcontroller to an int8 file: limits are kept by counts of another kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from search_spaces.stages_structure import Network, Unit
from vkdnw_search import search
from vkdnw_search.commands.export import run_export

MEMORY, FLASH = 320_000, 1_000_000


@pytest.mark.slow
def test_a_search_for_a_microcontroller_ends_with_an_int8_file_that_keeps_its_limits(tmp_path: Path) -> None:
    """The peak by the formulas of an inverted residual, the size by the tensors of the file, which runs."""
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    few = ["stop.evaluations=6", "executor=inline", "finalists=2", "score.images=8", "score.parameters=8"]
    best = search("mcu_320k", few, out=tmp_path / "run").best
    assert best is not None
    network: Network = best.architecture
    assert 0.75 * MEMORY <= best.cost.int8_memory == peak(network) <= MEMORY

    file = tmp_path / "winner.onnx"
    run_export([str(tmp_path / "run"), "--format", "onnx", "--int8", "--to", str(file)])
    tensors = onnx.load(file).graph.initializer
    written = sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in tensors)
    assert written <= FLASH and best.cost.int8_size == pytest.approx(written, rel=0.02)

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [1, 3, network.side, network.side] == [1, *best.input_shape]
    image = np.random.default_rng(0).standard_normal((1, *best.input_shape), dtype=np.float32)
    (logits,) = session.run(None, {"images": image})
    assert logits.shape == (1, 2) and np.isfinite(logits).all()


def peak(network: Network) -> int:
    """Peak bytes by hand: at each convolution what goes in, what comes out, and what a shortcut holds."""
    assert network.side is not None
    side, width = network.side, network.stem
    peaks = [3 * side**2 + width * halved(side) ** 2]
    side = halved(side)
    for unit in network.blocks:
        peaks.append(of_unit(unit, width, side))
        width, side = unit.out, halved(side) if unit.stride == 2 else side
    return max(*peaks, side**2 * (width + network.last))


def of_unit(unit: Unit, inputs: int, side: int) -> int:
    after = halved(side) if unit.stride == 2 else side
    held = inputs * side**2 if unit.stride == 1 and inputs == unit.out else 0
    if unit.type == "ds":  # a shortcut's input cannot be written over
        return max(2 * held or inputs * side**2 + after**2, held + (inputs + unit.out) * after**2)
    wide = unit.expansion * inputs  # a multiple of 8 in this recipe
    grown, depthwise = (inputs + wide) * side**2, wide * side**2 + after**2
    return max(grown, held + depthwise, held + (wide + unit.out) * after**2)


def halved(side: int) -> int:
    return -(-side // 2)


def test_the_peaks_by_hand_are_those_of_small_numbers() -> None:
    """16 px: 3·256 + 8·64 at the stem; 8·64 + 32·64 where 8 channels grow to 32; 32·64 + 16 beside nothing after."""
    grows = Network(8, 2, (Unit("ir", 3, 2, 4, 16, 0.0),), 16, 16)
    assert peak(grows) == max(3 * 256 + 8 * 64, 8 * 64 + 32 * 64, 32 * 64 + 16)
    assert of_unit(Unit("ir", 3, 1, 4, 8, 0.0), 8, 8) == 8 * 64 + (32 + 8) * 64
    assert of_unit(Unit("ds", 3, 1, 1, 8, 0.0), 8, 8) == 3 * 8 * 64
    assert of_unit(Unit("ds", 3, 1, 1, 4, 0.0), 8, 8) == (8 + 4) * 64
