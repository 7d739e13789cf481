"""Image classifiers that nobody here wrote, by name: of pytorchcv, of transformers, and made of torch's own modules.

They are built from their definition with random weights, nothing is downloaded. Whatever of pytorchcv's is used here
needs torch alone, though the package asks for torchvision: ``pip install --no-deps pytorchcv``.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

CLASSES = 10

OF_PYTORCHCV = """
    alexnet: alexnet / zfnet: zfnet / bninception: bninception / resnet: resnet10 resnetbc14b /
    preresnet: preresnet10 / resnext: resnext14_16x4d / seresnet: seresnet10 / sepreresnet: sepreresnet10 /
    senet: senet16 / resnesta: resnestabc14 / ibnresnet: ibn_resnet50 / ibnbresnet: ibnb_resnet50 /
    airnet: airnet50_1x64d_r16 / bamresnet: bam_resnet18 / cbamresnet: cbam_resnet18 / resattnet: resattnet56 /
    sknet: sknet50 / scnet: scnet50 / regnet: regnetx002 regnety002 / diaresnet: diaresnet10 /
    diapreresnet: diapreresnet10 / diracnetv2: diracnet18v2 / sharesnet: sharesnet18 / densenet: densenet121 /
    condensenet: condensenet74_c8_g8 / sparsenet: sparsenet121 / peleenet: peleenet / drn: drnd22 / dpn: dpn68 /
    darknet: darknet_ref darknet_tiny / darknet53: darknet53 / channelnet: channelnet /
    isqrtcovresnet: isqrtcovresnet18 / revnet: revnet38 / irevnet: irevnet301 / bagnet: bagnet9 / dla: dla34 dla46xc /
    msdnet: msdnet22 / fishnet: fishnet99 / espnetv2: espnetv2_wd2 / dicenet: dicenet_wd5 /
    hrnet: hrnet_w18_small_v1 / vovnet: vovnet27s / selecsls: selecsls42 / hardnet: hardnet39ds /
    xdensenet: xdensenet121_2 / squeezenet: squeezenet_v1_0 squeezeresnet_v1_1 / squeezenext: sqnxt23_w1 /
    shufflenet: shufflenet_g1_wd4 / shufflenetv2: shufflenetv2_wd2 / shufflenetv2b: shufflenetv2b_wd2 /
    menet: menet108_8x1_g3 / mobilenet: mobilenet_wd4 / mobilenetb: mobilenetb_wd4 / fdmobilenet: fdmobilenet_wd4 /
    mobilenetv2: mobilenetv2_wd4 mobilenetv2b_wd4 / mobilenetv3: mobilenetv3_small_w1 mobilenetv3_large_w7d20 /
    igcv3: igcv3_wd4 / ghostnet: ghostnet / mnasnet: mnasnet_small mnasnet_a1 / proxylessnas: proxylessnas_cpu /
    fbnet: fbnet_cb / xception: xception / inceptionv3: inceptionv3 / inceptionresnetv1: inceptionresnetv1 /
    nasnet: nasnet_4a1056 / darts: darts / spnasnet: spnasnet / efficientnet: efficientnet_b0 efficientnet_b0b /
    efficientnetedge: efficientnet_edge_small_b / mixnet: mixnet_s / octresnet: octresnet10_ad2 /
    resneta: resnetabc14b / resnetd: resnetd50b / tresnet: tresnet_m / nin_cifar: nin_cifar10 /
    resnet_cifar: resnet20_cifar10 / preresnet_cifar: preresnet20_cifar10 / resnext_cifar: resnext20_16x4d_cifar10 /
    seresnet_cifar: seresnet20_cifar10 / sepreresnet_cifar: sepreresnet20_cifar10 /
    pyramidnet_cifar: pyramidnet110_a48_cifar10 / densenet_cifar: densenet40_k12_cifar10 densenet40_k12_bc_cifar10 /
    xdensenet_cifar: xdensenet40_2_k24_bc_cifar10 / rir_cifar: rir_cifar10 / ror_cifar: ror3_56_cifar10 /
    msdnet_cifar10: msdnet22_cifar10 / resdropresnet_cifar: resdropresnet20_cifar10 /
    shakeshakeresnet_cifar: shakeshakeresnet20_2x16d_cifar10 / shakedropresnet_cifar: shakedropresnet20_cifar10 /
    fractalnet_cifar: fractalnet_cifar10 / diaresnet_cifar: diaresnet20_cifar10 /
    diapreresnet_cifar: diapreresnet20_cifar10
"""
"""Modules of ``pytorchcv.models``, and the networks that are taken of each: one or two of a family, small ones."""

MODULE_OF = {
    name: module.strip()
    for line in OF_PYTORCHCV.split("/")
    for module, names in [line.split(":")]
    for name in names.split()
}

SIDES = {
    **dict.fromkeys(("alexnet", "zfnet", "msdnet22", "darknet_ref", "selecsls42"), 224),
    **dict.fromkeys(("scnet50", "inceptionresnetv1"), 128),
    **dict.fromkeys(("inceptionv3",), 96),
}
"""Of networks whose maps would vanish at 64 pixels."""
LAST_MAP = 7
"""Side of the last map of 224 pixels; an average over it, or over more, becomes one over all of a smaller map."""


@dataclass(frozen=True)
class Foreign:
    """A network by name.

    Attributes:
        name: its project, and what it is called there.
        side: of the images it is scored at.
        make: builds it, for 10 classes.
    """

    name: str
    side: int
    make: Callable[[], nn.Module]


def of_pytorchcv(name: str, side: int) -> nn.Module:
    """A network of pytorchcv for images of any size; a pruned one has its indices drawn, which loading would set."""
    module = importlib.import_module(f"pytorchcv.models.{MODULE_OF[name]}")
    size = {} if name.startswith(("efficientnet", "nasnet")) else {"in_size": (side, side)}  # these know their own
    model: nn.Module = getattr(module, name)(num_classes=CLASSES, **size)
    for place, pool in list(model.named_modules()):
        if isinstance(pool, nn.AvgPool2d) and isinstance(pool.kernel_size, int) and pool.kernel_size >= LAST_MAP:
            parent, _, own = place.rpartition(".")
            setattr(model.get_submodule(parent), own, nn.AdaptiveAvgPool2d(1))
    for place, index in model.named_buffers():
        if place.endswith("index") and not index.any():
            index.copy_(torch.randperm(len(index)))
    return model


class Logits(nn.Module):
    """The logits alone of a network that returns more."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x).logits
        return logits


SMALL_VIT = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48}
SMALL_SWIN = {
    "image_size": 32,
    "patch_size": 2,
    "embed_dim": 12,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 4,
}
OF_TRANSFORMERS: dict[str, dict[str, object]] = {
    "ViT": {**SMALL_VIT, "image_size": 32, "patch_size": 8},
    "DeiT": {**SMALL_VIT, "image_size": 32, "patch_size": 8},
    "ViTMSN": {**SMALL_VIT, "image_size": 32, "patch_size": 8},
    "Beit": {**SMALL_VIT, "image_size": 32, "patch_size": 8, "use_relative_position_bias": True},
    "Data2VecVision": {**SMALL_VIT, "image_size": 32, "patch_size": 8, "use_shared_relative_position_bias": True},
    "Dinov2": {**SMALL_VIT, "image_size": 32, "patch_size": 8},
    "Dinov2WithRegisters": {**SMALL_VIT, "image_size": 32, "patch_size": 8},
    "IJepa": {**SMALL_VIT, "image_size": 32, "patch_size": 8},
    "Swin": SMALL_SWIN,
    "Swinv2": SMALL_SWIN,
    "DonutSwin": SMALL_SWIN,
    "FocalNet": {"image_size": 32, "patch_size": 2, "embed_dim": 12, "depths": [2, 2], "hidden_sizes": [12, 24],
                 "focal_levels": [2, 2], "focal_windows": [3, 3]},
    "Hiera": {"image_size": [32, 32], "patch_size": [7, 7], "embed_dim": 8, "depths": [1, 1, 2], "num_heads": [1, 2, 4],
              "masked_unit_size": [4, 4], "query_stride": [2, 2], "num_query_pool": 2},
    "ConvNext": {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 2, 1]},
    "ConvNextV2": {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 2, 1]},
    "Cvt": {"embed_dim": [8, 12, 16], "num_heads": [1, 2, 2], "depth": [1, 2, 3]},
    "Levit": {"image_size": 32, "hidden_sizes": [16, 24, 32], "num_attention_heads": [2, 3, 4], "depths": [1, 1, 1],
              "key_dim": [8, 8, 8]},
    "MobileNetV1": {"depth_multiplier": 0.25},
    "MobileNetV2": {"depth_multiplier": 0.35},
    "MobileViT": {"image_size": 64, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 12, 16, 16, 24, 32, 48]},
    "MobileViTV2": {"image_size": 64, "width_multiplier": 0.25},
    "PoolFormer": {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 2, 1]},
    "Pvt": {"image_size": 64, "hidden_sizes": [8, 16, 20, 32], "depths": [1, 1, 2, 1]},
    "PvtV2": {"image_size": 64, "hidden_sizes": [8, 16, 20, 32], "depths": [1, 1, 2, 1]},
    "RegNet": {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "groups_width": 8},
    "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]},
    "Bit": {"embedding_size": 32, "hidden_sizes": [32, 32, 64, 64], "depths": [1, 1, 2, 1], "num_groups": 4},
    "Segformer": {"hidden_sizes": [8, 16, 20, 32], "depths": [1, 1, 2, 1]},
    "SwiftFormer": {"depths": [1, 1, 2, 1], "embed_dims": [8, 16, 24, 32]},
    "EfficientNet": {"width_coefficient": 0.25, "depth_coefficient": 0.5, "hidden_dim": 320},
    "TextNet": {"stem_out_channels": 8, "hidden_sizes": [8, 8, 12, 16, 24]},
    "HGNetV2": {},
}  # fmt: skip
"""Classes of ``transformers`` without their endings, and what makes their configurations small."""


def of_transformers(name: str) -> nn.Module:
    """An image classifier of transformers, in float32, with a small configuration."""
    transformers = importlib.import_module("transformers")
    config = getattr(transformers, f"{name}Config")(num_labels=CLASSES, **OF_TRANSFORMERS[name])
    return Logits(getattr(transformers, f"{name}ForImageClassification")(config).float())


class OverPatches(nn.Module):
    """One of torch's own modules over the patches of an image as a sequence, and a head on the mean of its result.

    Args:
        module: (N, length, width) → (N, length, out), or a tuple that begins with that.
        out: what it ends in.
        first: whether it wants the samples first.
    """

    def __init__(self, module: nn.Module, out: int, *, first: bool = True) -> None:
        super().__init__()
        self.patches, self.module, self.head = nn.Conv2d(3, WIDTH, 8, 8), module, nn.Linear(out, CLASSES)
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        y = self.module(x if self.first else x.transpose(0, 1))
        y = y[0] if isinstance(y, tuple) else y
        return self.head(y.mean(dim=1 if self.first else 0))


class Attending(nn.Module):
    """``nn.MultiheadAttention`` of a sequence with itself."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True, add_bias_kv=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return x + y


class Bilinear(nn.Module):
    """``nn.Bilinear`` of each token with the next."""

    def __init__(self) -> None:
        super().__init__()
        self.bilinear = nn.Bilinear(WIDTH, WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bilinear(x, x.roll(1, dims=1))
        return y


WIDTH = 16


def _encoder(**options: bool) -> nn.Module:
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 32, dropout=0.1, **options)  # type: ignore[arg-type]
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def _parametrized(*kinds: Callable[[nn.Module], nn.Module]) -> nn.Module:
    return nn.Sequential(*(layer for kind in kinds for layer in (kind(nn.Linear(WIDTH, WIDTH)), nn.GELU())))


OF_TORCH: dict[str, Callable[[], nn.Module]] = {
    "TransformerEncoder": lambda: OverPatches(_encoder(batch_first=True), WIDTH),
    "TransformerEncoder, norm first": lambda: OverPatches(_encoder(batch_first=True, norm_first=True), WIDTH),
    "TransformerEncoder, sequence first": lambda: OverPatches(_encoder(), WIDTH, first=False),
    "MultiheadAttention": lambda: OverPatches(Attending(), WIDTH),
    "LSTM": lambda: OverPatches(nn.LSTM(WIDTH, 12, 2, batch_first=True, bidirectional=True), 24),
    "GRU, sequence first": lambda: OverPatches(nn.GRU(WIDTH, 12), 12, first=False),
    "RNN": lambda: OverPatches(nn.RNN(WIDTH, 12, batch_first=True), 12),
    "Bilinear": lambda: OverPatches(Bilinear(), WIDTH),
    "weight and spectral norm": lambda: OverPatches(
        _parametrized(nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm), WIDTH
    ),
    "PReLU, GroupNorm, ConvTranspose2d": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.GroupNorm(2, 8), nn.PReLU(8), nn.ConvTranspose2d(8, 6, 3, 2),
        nn.InstanceNorm2d(6, affine=True), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(24, CLASSES),
    ),
    "Conv1d, Conv3d": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 3)), nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(2),
        nn.Conv1d(4, 8, 9, 5), nn.BatchNorm1d(8), nn.SELU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
        nn.Linear(8, CLASSES),
    ),
}  # fmt: skip
"""Networks of nothing but torch's own modules."""


def installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def networks() -> list[Foreign]:
    """All of them whose package is installed: for 64 pixels, unless they are made for others."""
    found = [Foreign(f"torch, {name}", 32, make) for name, make in OF_TORCH.items()]
    for name, options in OF_TRANSFORMERS.items() if installed("transformers") else ():
        size = options.get("image_size", 64)
        side = size[0] if isinstance(size, list) else size
        assert isinstance(side, int)
        found.append(Foreign(f"transformers {name}", side, partial(of_transformers, name)))
    for name in MODULE_OF if installed("pytorchcv") else ():
        side = 32 if "cifar" in name else SIDES.get(name, 64)
        found.append(Foreign(f"pytorchcv {name}", side, partial(of_pytorchcv, name, side)))
    return found
