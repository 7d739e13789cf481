"""Networks of other people's, by name: their Fisher rows against a literal Jacobian, in float64.

They are built by pytorchcv and timm, which nothing else here needs. Both ask for torchvision, which must go with torch,
so neither is an extra: ``pip install --no-deps pytorchcv`` is enough for the modules that are used here.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.support.oracles import calibrate_in_order, jacobian
from vkdnw_search.fisher.information import FisherPass, choose_scalars
from vkdnw_search.fisher.likelihood import categorical, cotangents

SIDE, CLASSES, TENSORS, DRAWS, IMAGES = 64, 10, 40, 2, 3
TOLERANCE = 1e-6
"""Relative difference in Frobenius norm; in float64 correct rows differ by less than 1e-9."""

OF_PYTORCHCV = {
    "mobilenetv3_small_w1": "mobilenetv3",
    "dicenet_wd5": "dicenet",
    "ghostnet": "ghostnet",
    "tresnet_m": "tresnet",
}
"""Name → the module of pytorchcv.models that makes it."""

OF_TIMM = ("tresnet_m", "ghostnetv2_100", "repghostnet_050", "xcit_nano_12_p16_224")


def made_by_pytorchcv(name: str) -> nn.Module:
    module = pytest.importorskip(
        f"pytorchcv.models.{OF_PYTORCHCV[name]}",
        reason="needs pytorchcv: pip install --no-deps pytorchcv",
        exc_type=ImportError,
    )
    model: nn.Module = getattr(module, name)(num_classes=CLASSES, in_size=(SIDE, SIDE))
    for place, pool in list(model.named_modules()):
        if isinstance(pool, nn.AvgPool2d) and pool.kernel_size == 7:  # a last map of 224 pixels
            parent, _, own = place.rpartition(".")
            setattr(model.get_submodule(parent), own, nn.AdaptiveAvgPool2d(1))
    return model


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
    chosen = choose_scalars(
        model,
        parameters=TENSORS,
        draws=DRAWS,
        positions="random",
        selection="spread",
        generator=torch.Generator().manual_seed(2),
    )
    assert len(chosen) == TENSORS
    found = FisherPass(calibrate=calibrate, check=True).checked_rows(
        model, images, chosen, generator=torch.Generator().manual_seed(3)
    )
    assert found.wrong == (), "the fast derivatives are right by themselves"
    if calibrate:
        calibrate_in_order(model, images)
    literal = literal_rows(model, images, [[(s.name, s.indices[draw]) for s in chosen] for draw in range(DRAWS)])
    assert literal.norm() > 0
    for ours, theirs in zip(found.rows, literal, strict=True):  # (M·N, K)
        assert (ours - theirs).norm() <= TOLERANCE * theirs.norm()


def literal_rows(model: nn.Module, images: Tensor, chosen: list[list[tuple[str, tuple[int, ...]]]]) -> Tensor:
    """v_mnᵀ J_n for the directions that generator 3 gives, by one backward pass for each sample and class: (D, M·N, K).

    F = Σ rowsᵀ rows / N has to be its definition as well, which knows no directions.
    """
    with torch.no_grad():
        p = model(images).softmax(dim=1)  # (N, C)
    noise = torch.randn(*p.shape, CLASSES - 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    v = cotangents(categorical(p), noise)  # (M, N, C)
    flat = [scalar for draw in chosen for scalar in draw]
    J = jacobian(model, images, flat).unflatten(2, (len(chosen), -1))  # (N, C, D, K)
    rows = torch.einsum("mnc,ncdk->dmnk", v, J).flatten(1, 2)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]  # (N, C, C)
    fisher = torch.einsum("nadk,nab,nbdl->dkl", J, middle, J)
    assert (rows.mT @ rows - fisher).norm() <= 1e-9 * fisher.norm()
    return rows
