"""What int8 takes: against counts by hand; parts and chains against whole networks; sizes against written files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.mobilenet import MobileNet
from search_spaces.nasbench201 import NasBench201
from search_spaces.ofa_mobilenetv3 import OfaMobileNetV3
from search_spaces.resnet import ResNet
from search_spaces.stages import Stages
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.cost.int8_memory import int8_memory_profile
from vkdnw_search.cost.int8_size import Int8Size, int8_size
from vkdnw_search.cost.limits import Limits, Range
from vkdnw_search.cost.peak_memory import PeakMemory
from vkdnw_search.optimizers.variation import random_genome

SMALL = Stages(
    resolution=48,
    num_classes=10,
    stem=16,
    last=64,
    stages=("ds_r1_k3_s1_c8/16", "ir_r1/2_k3/5_s2_e3/6_c16/24_se0.25", "er_r1/2_k3_s2_e4_c32", "ir_r2_k3_s2_e6_c32/48"),
)
SPACES = [
    NasBench201(cells=2),
    MobileNet(resolution=48),
    ResNet(resolution=48),
    SMALL,
    OfaMobileNetV3(resolution=64),
]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(2, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.narrow(self.wide(x))


class Overwritten(nn.Module):
    """Needs its input once more after an element-wise operator."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.relu(), x], dim=1)


def peak(model: nn.Module, shape: tuple[int, ...]) -> int:
    return max(int8_memory_profile(model.eval(), shape))


def test_an_activation_is_a_byte():
    assert peak(nn.Sequential(nn.Linear(16, 64), nn.Linear(64, 8)), (16,)) == 16 + 64
    assert peak(nn.Sequential(nn.Linear(16, 64), nn.Linear(64, 8)).double(), (16,)) == 16 + 64


def test_norms_and_activations_are_part_of_the_convolution_before():
    layers = nn.Conv2d(2, 8, 1), nn.BatchNorm2d(8), nn.ReLU6(), nn.Hardswish(), nn.SiLU()
    assert peak(nn.Sequential(*layers), (2, 4, 4)) == 16 * (2 + 8)


def test_a_residual_addition_writes_over_an_input():
    """2 channels of 4×4 in, 8 within, 2 out: all of them live in the second convolution, and the sum takes nothing."""
    assert peak(Residual(), (2, 4, 4)) == 16 * (2 + 8 + 2)
    assert int8_memory_profile(Residual().eval(), (2, 4, 4))[-1] == 16 * (2 + 2)


def test_what_is_needed_again_is_not_overwritten():
    assert peak(Overwritten(), (3, 4, 4)) == 16 * (3 + 3 + 6)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_depthwise_convolution_needs_one_channel_besides_its_input(stride):
    """N channels take N + 1 in place of 2 N (arXiv 2007.10319, figure 7)."""
    layer = nn.Conv2d(32, 32, 3, stride, padding=1, groups=32)
    assert peak(layer, (32, 8, 8)) == 32 * 64 + (8 // stride) ** 2


def test_a_grouped_convolution_has_an_output_of_its_own():
    assert peak(nn.Conv2d(32, 32, 3, padding=1, groups=16), (32, 8, 8)) == 2 * 32 * 64


def test_the_peak_of_an_inverted_residual_is_what_the_published_planner_finds():
    """MobileNetV2's block of 16 → 96 → 24 channels at 112 px, stride 2, the peak of that network: the convolution up
    to 96 channels holds its input and its output."""
    block = nn.Sequential(
        nn.Conv2d(16, 96, 1, bias=False),
        nn.BatchNorm2d(96),
        nn.ReLU6(),
        nn.Conv2d(96, 96, 3, 2, padding=1, groups=96, bias=False),
        nn.BatchNorm2d(96),
        nn.ReLU6(),
        nn.Conv2d(96, 24, 1),
    )
    assert peak(block, (16, 112, 112)) == 112 * 112 * (16 + 96)


def test_the_size_of_weights_is_as_the_quantizer_writes_them():
    assert int8_size(nn.Conv2d(3, 8, 3, bias=False).eval(), (3, 4, 4)) == 3 * 8 * 9 + 5 * 8
    assert int8_size(nn.Conv2d(3, 8, 3).eval(), (3, 4, 4)) == 3 * 8 * 9 + 17 * 8
    assert int8_size(nn.Linear(6, 4).eval(), (6,)) == 24 + 17 * 4
    assert int8_size(nn.Linear(6, 4, bias=False).eval(), (6,)) == 24 + 5 * 4
    assert int8_size(nn.ConvTranspose2d(3, 8, 2).eval(), (3, 4, 4)) == 3 * 8 * 4 + 17 * 8


def test_a_batch_norm_is_folded_into_the_convolution_before_it_alone():
    convolution, norm = nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8)
    assert int8_size(nn.Sequential(convolution, norm).eval(), (3, 4, 4)) == 24 + 17 * 8
    assert int8_size(nn.Sequential(nn.Conv2d(3, 8, 1), norm).eval(), (3, 4, 4)) == 24 + 17 * 8
    for between in (nn.ReLU(), nn.ReLU(inplace=True)):
        kept = nn.Sequential(convolution, between, norm)
        assert int8_size(kept.eval(), (3, 4, 4)) == 24 + 5 * 8 + 4 * 4 * 8


def random_networks(space, count):
    rng = np.random.default_rng(0)
    return [space.decode(random_genome(space.genes, rng)) for _ in range(count)]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_parts_and_chains_agree_with_whole_networks(space):
    memory, size = PeakMemory(space, int8_memory_profile), Int8Size(space)
    for architecture in random_networks(space, 3):
        assert memory(architecture) == memory.whole(architecture) > 0
        assert size(architecture) == size.whole(architecture) > 0


def test_they_are_found_only_where_a_limit_asks_for_them():
    space = NasBench201(cells=1)
    architecture = space.decode((3,) * 6)
    cost = CostCounter(space, Limits(flops=Range(maximum=1))).cost(architecture)
    assert cost.int8_size is None and cost.int8_memory is None
    limits = Limits(int8_size=Range(maximum=10), int8_memory=Range(maximum=10))
    cost = CostCounter(space, limits).cost(architecture)
    assert cost.int8_size == Int8Size(space)(architecture)
    assert cost.int8_memory == PeakMemory(space, int8_memory_profile)(architecture)
    size, memory = limits.reason(cost).split("; ")
    assert size.startswith("int8_size ") and memory.startswith("int8_memory ")
    assert "B is above the limit 10 B (by" in size and "B is above the limit 10 B (by" in memory


WRITTEN = [NasBench201(cells=1), SMALL, MobileNet(resolution=32, max_width=64, last_width=128, num_classes=10)]


@pytest.mark.slow
@pytest.mark.parametrize("space", WRITTEN, ids=lambda space: space.name)
def test_sizes_are_those_of_what_onnx_runtime_writes(space, tmp_path):
    """The tensors of the file, which are what a device stores, to 2 %."""
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    for architecture in random_networks(space, 2):
        written = bytes_of_tensors(drawn_anew(space.build(architecture)), space.input_shape, tmp_path)
        assert Int8Size(space)(architecture) == pytest.approx(written, rel=0.02)


@pytest.mark.slow
def test_a_norm_behind_a_folded_norm_counts_though_it_is_folded_too(tmp_path):
    """NAS-Bench-201's last norm, of 64 channels, where a cell is one convolution: 16 bytes a channel at most."""
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    space = NasBench201(cells=1)
    architecture = space.parse("|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|")
    written = bytes_of_tensors(drawn_anew(space.build(architecture)), space.input_shape, tmp_path)
    assert 0.8 * 16 * 64 < Int8Size(space)(architecture) - written < 16 * 64


def drawn_anew(model: nn.Module) -> nn.Module:
    """With norms that differ: an exporter writes equal tensors, such as all fresh norms' biases, once."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                    tensor.uniform_(0.5, 2)
    return model


def bytes_of_tensors(model: nn.Module, input_shape: tuple[int, ...], folder: Path) -> int:
    import onnx

    from vkdnw_search.latencies.onnx_files import quantize, write_part

    write_part(model, input_shape, folder / "float.onnx")
    quantize(folder / "float.onnx", folder / "int8.onnx")
    tensors = onnx.load(folder / "int8.onnx").graph.initializer
    return sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in tensors)
