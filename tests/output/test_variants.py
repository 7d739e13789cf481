from __future__ import annotations

import torch

from search_spaces.mobilenet import MobileNet
from search_spaces.mobilenet_network import DropPath, SqueezeExcitation
from tests.support.generated_source import assert_variants_work, load_network

SPACE = MobileNet(resolution=32, num_classes=10)
INITIAL = (
    "SuperConvK3BNRELU(3,8,2,1)SuperResIDWE6K3(8,32,2,8,1)SuperResIDWE6K3(32,48,2,32,1)"
    "SuperResIDWE6K3(48,96,2,48,1)SuperResIDWE6K3(96,128,2,96,1)SuperConvK1BNRELU(128,2048,1,1)"
)


def test_the_exported_network_can_have_what_published_training_adds() -> None:
    source = SPACE.source(SPACE.parse(INITIAL))
    assert_variants_work(load_network(source), torch.randn(2, 3, 32, 32))


def test_drop_path_leaves_out_whole_samples_and_keeps_the_expectation() -> None:
    torch.manual_seed(0)
    drop, x = DropPath(0.25), torch.ones(4000, 2, 1, 1)
    y = drop.train()(x)
    kept = y[:, 0, 0, 0] > 0
    assert abs(float(kept.double().mean()) - 0.75) < 0.03
    assert torch.equal(y[kept], torch.full_like(y[kept], 1 / 0.75)) and not y[~kept].any()
    assert torch.equal(drop.eval()(x), x)


def test_squeeze_excitation_is_the_published_one() -> None:
    torch.manual_seed(0)
    block, x = SqueezeExcitation(10).eval(), torch.randn(3, 10, 5, 5)
    _, squeeze, expand, _ = block.gate
    assert squeeze.conv.weight.shape == (2, 10, 1, 1)  # round(10 / 4), half to even
    assert squeeze.conv.bias is None and expand.conv.bias is None
    means = x.mean(dim=(2, 3))
    scale = (1 + 1e-3) ** -0.5  # batch norm at its initial statistics
    hidden = (means @ squeeze.conv.weight[:, :, 0, 0].T * scale).relu()
    gate = (hidden @ expand.conv.weight[:, :, 0, 0].T * scale).sigmoid()
    torch.testing.assert_close(block(x), x * gate[:, :, None, None])
