"""Networks of other people's, by name: their Fisher rows against a literal Jacobian, in float64.

They are built by pytorchcv and timm. Both ask for torchvision, which must go with torch: ``pip install --no-deps
pytorchcv`` is enough for the modules that are used here, and timm is used where it is installed with it.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.support.foreign_networks import CLASSES, of_pytorchcv
from tests.support.foreign_rows import TOLERANCE, compared

SIDE, TENSORS, DRAWS, IMAGES = 64, 40, 2, 3
OF_PYTORCHCV = ("mobilenetv3_small_w1", "dicenet_wd5", "ghostnet", "tresnet_m")
OF_TIMM = ("tresnet_m", "ghostnetv2_100", "repghostnet_050", "xcit_nano_12_p16_224")


def made_by_pytorchcv(name: str) -> nn.Module:
    pytest.importorskip("pytorchcv", reason="needs pytorchcv: pip install --no-deps pytorchcv")
    return of_pytorchcv(name, SIDE)


def made_by_timm(name: str) -> nn.Module:
    timm = pytest.importorskip("timm", reason="needs timm, and torchvision as it goes with torch", exc_type=ImportError)
    model: nn.Module = timm.create_model(name, num_classes=CLASSES)
    return model


CASES = [pytest.param(made_by_pytorchcv, name, id=f"pytorchcv-{name}") for name in OF_PYTORCHCV]
CASES += [pytest.param(made_by_timm, name, id=f"timm-{name}") for name in OF_TIMM]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("calibrate", [True, False], ids=["calibrated", "initial"])
@pytest.mark.parametrize(("make", "name"), CASES)
def test_rows_are_those_of_a_literal_jacobian(make, name: str, calibrate: bool) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = make(name).double().eval()
        images = torch.randn(IMAGES, 3, SIDE, SIDE, dtype=torch.float64)
    found = compared(model, images, tensors=TENSORS, draws=DRAWS, calibrate=calibrate)
    assert found.mended == (), "the fast derivatives are right by themselves"
    assert found.difference <= TOLERANCE
