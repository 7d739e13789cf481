"""A sample of the networks that nobody here wrote is scored, and left as it was.

All of them: ``python tests/benchmarks/foreign_networks.py --out FILE.jsonl``.
"""

from __future__ import annotations

import math

import pytest
import torch

from tests.support.foreign_networks import MODULE_OF, OF_TORCH, OF_TRANSFORMERS, networks
from tests.support.foreign_rows import TOLERANCE, compared, same_state, state_of
from vkdnw_search import score
from vkdnw_search.proxies.vkdnw import VkdnwSingle, count_layers

SAMPLE = (
    "torch, TransformerEncoder, sequence first",
    "torch, LSTM",
    "torch, weight and spectral norm",
    "transformers ViT",
    "transformers Swin",
    "transformers Levit",
    "transformers MobileNetV2",
    "pytorchcv shufflenetv2_wd2",
    "pytorchcv squeezenet_v1_0",
    "pytorchcv mobilenetv3_small_w1",
    "pytorchcv resnet20_cifar10",
    "pytorchcv mobilenet_wd4",
)


def test_all_of_them_are_more_than_a_hundred_and_each_has_a_name_of_its_own() -> None:
    assert len(MODULE_OF) + len(OF_TRANSFORMERS) + len(OF_TORCH) > 120
    assert len({foreign.name for foreign in networks()}) == len(networks())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("name", SAMPLE)
def test_a_foreign_network_is_scored_by_literal_rows_and_left_as_it_was(name: str) -> None:
    foreign = next((foreign for foreign in networks() if foreign.name == name), None)
    if foreign is None:
        pytest.skip(f"needs {name.split()[0]}: pip install --no-deps pytorchcv, pip install transformers")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = foreign.make()
        before = state_of(model)
        found = score(model, (3, foreign.side, foreign.side), proxy=VkdnwSingle(images=8, parameters=16))
        assert same_state(before, state_of(model))
        layers = count_layers(model, "tensors")
        assert layers < found.value <= layers + math.log(9)
        images = torch.randn(2, 3, foreign.side, foreign.side, dtype=torch.float64)
        assert compared(model.double().eval(), images, tensors=6, draws=1, calibrate=True).difference <= TOLERANCE
