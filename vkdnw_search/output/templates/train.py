"""Trains the network of model.py, the file beside this one. Needs torch alone.

    python train.py --data PATH                  PATH/train/CLASS/*.jpg and PATH/val/CLASS/*.jpg (needs Pillow, too)
    python train.py --data digits --epochs 5     the 1,797 digits that scikit-learn ships (needs scikit-learn)
    python train.py --data my_module:datasets    a function of yours; train_data.py says what it returns, and what else
                                                 can be read: MNIST's IDX files, arrays of numpy
    torchrun --nproc-per-node 8 train.py --data PATH

The first line of the output says of what shape the images are: as the network was searched for, but the digits, of 8×8
pixels, are made 32×32, unless --size says otherwise. The second says what is learned, which follows from the targets: a
class of each image; a class of each pixel, by masks (H, W) of whole numbers; or numbers of the output's shape, by mean
squared error, or as answers 1 and 0 by --loss bce.

The defaults are the published 150 epochs for ImageNet of AZ-NAS (arXiv 2403.19232), for 8 GPUs with 64 images each: SGD
with Nesterov momentum, learning rate 0.4 for 256 images, cosine to 0 after 5 epochs of warm-up, label smoothing. An
exponential moving average (EMA) of the weights is tested, too, and kept; in the first epochs it lags behind them. On a
CPU the same command gives the same curve; --resume continues a run that was stopped, there to the same end.

Writes to --out: curve.csv, last.pt (everything, to resume) and weights.pt (the EMA: Network().load_state_dict(...)).
Trained weights are tested by --test-only, and are where a training begins by --init. --test-only --int8 tests them as a
microcontroller has them, quantized by ONNX Runtime, too, and writes int8.onnx to --out (needs onnx and onnxruntime).
"""

from __future__ import annotations

import argparse
import copy
import csv
import io
import json
import math
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

Images = Dataset[tuple[Tensor, Any]]

HERE = Path(__file__).resolve().parent
PUBLISHED = {"epochs": 150, "batch": 64, "lr": 0.4, "warm_up": 5.0, "weight_decay": 4e-5, "bn_momentum": 0.01}
DIGITS = {"epochs": 10, "batch": 32, "lr": 0.4, "warm_up": 0.5, "weight_decay": 5e-4, "bn_momentum": 0.1}
DIGITS_SIZE = (32, 32)  # whatever the network was searched for: a quick try even if that was 224 pixels
PUBLISHED_SHAPE = (3, 224, 224)
DECAY = "what weight decay is for: weights of layers, or biases and batch norms too, as published; default: %(default)s"
EMA_DECAY = 0.9999  # for a run of many steps; the first ones count less, see Trainer.average
WEIGHTS = (".pt", ".safetensors")
AUGMENTS = ("none", "flip", "standard", "randaugment")
CURVE = ("epoch", "lr", "loss", "accuracy", "ema_accuracy", "ema_top5", "seconds")
PIXELS_CURVE = ("epoch", "lr", "loss", "accuracy", "ema_accuracy", "ema_miou", "seconds")
CALIBRATION = 256  # training images that the ranges of int8 activations are taken from
BCE = "float targets are answers, 1 yes and 0 no; default: numbers, by mean squared error"


def main(arguments: Sequence[str] | None = None) -> float:
    """Train as the command line says. Returns the last accuracy of the averaged weights."""
    options = parse(arguments)
    if options.threads is not None or options.data == "digits":  # on such small images more threads only wait
        torch.set_num_threads(max(options.threads or 1, 1))
    from model import Network
    from train_data import DataError, read

    if "RANK" in os.environ:  # started by torchrun
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        channels, sides = _images(options)
        data = read(options.data, size=sides, channels=channels, augment=options.augment, classes=options.classes)
        trainer = Trainer(options, Network, *data)
        if trainer.rank == 0:
            print(_seen(trainer.train[0][0], options), flush=True)
        return trainer.tested() if options.test_only else trainer.run()
    except DataError as error:
        sys.exit(str(error).strip().splitlines()[-1])  # the last line, where a process that reads images sent it
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; what is not given is as published, or as suits the digits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="PATH|digits|MODULE:FUNCTION")
    parser.add_argument("--out", type=Path, default=HERE / "training", help="default: %(default)s")
    parser.add_argument("--resume", action="store_true", help="continue from last.pt in --out")
    parser.add_argument("--epochs", type=int, help=_default("epochs"))
    parser.add_argument("--batch", type=int, help=f"images a step on each process; {_default('batch')}")
    parser.add_argument("--lr", type=float, help=f"peak learning rate for 256 images a step; {_default('lr')}")
    parser.add_argument("--warm-up", type=float, help=f"epochs of rising learning rate; {_default('warm_up')}")
    parser.add_argument("--weight-decay", type=float, help=_default("weight_decay"))
    parser.add_argument("--bn-momentum", type=float, help=f"weight of a batch in statistics; {_default('bn_momentum')}")
    parser.add_argument("--decay", choices=("all", "weights"), default="all", help=DECAY)
    parser.add_argument("--label-smoothing", type=float, default=0.1, help="default: %(default)s")
    parser.add_argument("--loss", choices=("bce",), help=BCE)
    parser.add_argument("--augment", choices=AUGMENTS, help="default: standard for a folder of images, else none")
    parser.add_argument("--size", type=size, metavar="N|H,W", help="of images; default: as searched for, digits 32")
    parser.add_argument("--channels", type=int, help="of images, which the network takes; default: as searched for")
    parser.add_argument("--classes", type=int, help="number of classes, where the dataset does not say it")
    parser.add_argument("--network", type=json.loads, default={}, metavar="JSON", help="other arguments of Network")
    parser.add_argument("--workers", type=int, default=0, help="processes that read images; default: %(default)s")
    parser.add_argument("--threads", type=int, help="of PyTorch; 1 for the digits, and where others compute, too")
    parser.add_argument("--device", metavar="cpu|cuda|cuda:N", help="default: a GPU where there is one")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--until", type=int, metavar="EPOCH", help="stop after it; --resume goes on")
    parser.add_argument("--init", type=Path, metavar="FILE", help="begin with these weights (.pt or .safetensors)")
    parser.add_argument("--test-only", action="store_true", help="test --init, or weights.pt in --out")
    parser.add_argument("--int8", action="store_true", help="with --test-only: test them quantized to int8, too")
    parser.add_argument("--log", choices=("tensorboard",), help="write the curve for it, too, to --out")
    options = parser.parse_args(arguments)
    for name, value in (DIGITS if options.data == "digits" else PUBLISHED).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.epochs < 1 or options.batch < 2:
        parser.error(f"--epochs must be at least 1 and --batch 2, but are {options.epochs} and {options.batch}")
    if options.int8 and not options.test_only:
        parser.error("--int8 is for trained weights: add --test-only")
    if options.test_only:
        options.init = options.init or options.out / "weights.pt"
    elif (options.out / "last.pt").exists() != options.resume:
        there = "is not there: leave out --resume" if options.resume else "is there: add --resume, or choose another"
        parser.error(f"--out {options.out}: last.pt {there}")
    return options


def _default(name: str) -> str:
    return f"default: {PUBLISHED[name]:g}, for the digits {DIGITS[name]:g}"


@dataclass(frozen=True)
class Goal:
    """What is learned, as the targets are.

    Attributes:
        words: say it.
        loss: of outputs and targets.
        sums: of outputs and targets of a batch, what is added up over the test set: (k,).
        measures: what the sums make; the first says how good the model is, a second may tell more.
        curve: columns of curve.csv.
        second: what the second measure is called, a share.
    """

    words: str
    loss: Callable[[Tensor, Tensor], Tensor]
    sums: Callable[[Tensor, Tensor], Tensor]
    measures: Callable[[Tensor], Tensor] = lambda sums: sums[:-1] / sums[-1]
    curve: tuple[str, ...] = ("epoch", "lr", "loss", "accuracy", "ema_accuracy", "seconds")
    second: str = ""

    def said(self, first: float, *second: float) -> str:
        """The measures in words: r2 may be far below 0."""
        words = f"{first:.2%}" if "accuracy" in self.curve else f"{first:.4f}"
        return ", ".join([words, *(f"{self.second} {share:.2%}" for share in second)])


def goal_of(target: Any, loss: str | None, label_smoothing: float) -> Goal:
    """What there is to learn of such a target."""
    target = torch.as_tensor(target)
    if target.is_floating_point():
        if loss == "bce":
            words = "answers: binary cross-entropy, accuracy is the share of answers"
            return Goal(words, nn.BCEWithLogitsLoss(), _right_answers)
        words = "numbers: mean squared error, r2 is 1 less its share of the targets' variance"
        return Goal(words, nn.MSELoss(), _squares, _r2, curve=("epoch", "lr", "loss", "r2", "ema_r2", "seconds"))
    if loss is not None:
        sys.exit(f"--loss {loss}: is for float targets, but those of --data are whole numbers. Leave it out")
    cross_entropy, words = nn.CrossEntropyLoss(label_smoothing=label_smoothing), "cross-entropy, accuracy is the share"
    if target.dim():
        words = f"a class of each pixel: {words} of pixels, mIoU the mean of intersection over union over classes"
        return Goal(words, cross_entropy, _pixels_of_classes, _accuracy_and_miou, PIXELS_CURVE, "mIoU")
    words = f"a class of each image: {words} of images"
    return Goal(words, cross_entropy, _right_images, curve=CURVE, second="one of the first five")


def first_five(logits: Tensor, labels: Tensor) -> Tensor:
    """Which of the first five labels is right: (N, 5), bool."""
    return logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]


def _right_images(logits: Tensor, labels: Tensor) -> Tensor:
    right = first_five(logits, labels)
    return torch.tensor([right[:, 0].sum(), right.any(dim=1).sum(), len(right)])


def _pixels_of_classes(logits: Tensor, masks: Tensor) -> Tensor:
    """Pixels of each class: in both, in the masks, in the outputs; (3 · classes,)."""
    outputs = logits.argmax(dim=1)
    found = (outputs[outputs == masks], masks.flatten(), outputs.flatten())
    return torch.cat([pixels.bincount(minlength=logits.shape[1]) for pixels in found])


def _accuracy_and_miou(sums: Tensor) -> Tensor:
    """The share of pixels that are right, and the mean of intersection / union over classes that occur in either."""
    both, masks, outputs = sums.view(3, -1)  # TP, TP + FN, TP + FP
    unions = masks + outputs - both
    there = unions > 0
    return torch.stack([both.sum() / masks.sum(), (both[there] / unions[there]).mean()])


def _right_answers(logits: Tensor, answers: Tensor) -> Tensor:
    return torch.tensor([((logits > 0) == (answers > 0.5)).sum(), answers.numel()])


def _squares(outputs: Tensor, targets: Tensor) -> Tensor:
    z, y = outputs.cpu().double(), targets.cpu().double()
    return torch.stack([(z - y).square().sum(), y.square().sum(), y.sum(), y.new_tensor(y.numel())])


def _r2(sums: Tensor) -> Tensor:
    """1 − Σ (z − y)² / Σ (y − mean y)²."""
    errors, squares, total, count = sums
    r2: Tensor = 1 - errors / (squares - total.square() / count)
    return r2[None]


@torch.no_grad()
def layout_of(model: nn.Module, image: Tensor) -> torch.memory_format:
    """Channels last in memory, with which convolutions are faster, where the network can have them so.

    It cannot where it views channels and positions as one axis.
    """
    if image.dim() != 3 or image.device.type not in ("cpu", "cuda"):
        return torch.contiguous_format
    tried = laid_out(copy.deepcopy(model).eval(), torch.channels_last)
    try:
        tried(image[None].contiguous(memory_format=torch.channels_last))
    except RuntimeError:  # whatever else is wrong comes up in the first step
        return torch.contiguous_format
    return torch.channels_last


def laid_out(model: nn.Module, layout: torch.memory_format) -> nn.Module:
    """``model`` with its weights in this order in memory."""
    return model.to(memory_format=layout)  # type: ignore[no-any-return, call-overload]  # torch has no type for it


def busy(device: torch.device) -> str:
    """What to try where other programs keep the processor busy that this one computes on; empty where they do not."""
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if device.type != "cpu" or threads == 1 or load < cores / 2:
        return ""
    return (
        f"other programs keep {load:.1f} of {cores} cores busy, and threads wait for each other: --threads 1 may be "
        f"faster than the {threads} of now"
    )


class Batches:
    """Images (1, C, H, W), one after the other, as ONNX Runtime asks for them."""

    def __init__(self, images: Sequence[Tensor]) -> None:
        self.images = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        """The next, by the name of the input; None where there is none."""
        image = next(self.images, None)
        return None if image is None else {"images": image.numpy()}


class Quantized(nn.Module):
    """What ONNX Runtime computes with a file, for one image at a time."""

    def __init__(self, content: bytes) -> None:
        from onnxruntime import InferenceSession

        super().__init__()
        self.session = InferenceSession(content, providers=["CPUExecutionProvider"])

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → outputs (N, …)."""
        rows = [self.session.run(None, {"images": image[None].numpy()})[0] for image in images.cpu()]
        return torch.cat([torch.from_numpy(row) for row in rows]).to(images.device)


def quantized(model: nn.Module, images: Sequence[Tensor]) -> bytes:
    """An ONNX file of ``model`` in int8, for one image at a time: a scale for the weights of each channel, batch norms
    folded into convolutions, activations in the ranges that ``images`` give."""
    try:
        import onnx  # noqa: F401  # which torch writes with
        from onnxruntime.quantization import quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError:
        sys.exit("--int8: needs onnx and onnxruntime: pip install onnx onnxruntime")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, that it has another exporter
        plain, folded, int8 = (str(Path(folder) / f"{name}.onnx") for name in ("plain", "folded", "int8"))
        try:
            torch.onnx.export(model, (images[0],), plain, dynamo=False, opset_version=17, input_names=["images"])
            quant_pre_process(plain, folded, skip_symbolic_shape=True)
            quantize_static(folded, int8, Batches(images), per_channel=True)
        except Exception as error:  # whatever they raise for a network that they do not know
            sys.exit(f"--int8: this network cannot be quantized: {error!r:.200}")
        return Path(int8).read_bytes()


class Trainer:
    """The model, its average, and what changes them."""

    def __init__(
        self, options: argparse.Namespace, network: Callable[..., nn.Module], train: Images, test: Images, classes: int
    ) -> None:
        self.options, self.train, self.test, self.classes = options, train, test, classes
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.steps = max(len(train) // (self.world * options.batch), 1)  # type: ignore[arg-type]  # has a length
        found = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(options.device or found)
        torch.manual_seed(options.seed)
        self.model = network(num_classes=classes, **options.network).to(self.device)
        if options.init is not None and not options.resume:
            self.begin_with(options.init)
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = options.bn_momentum
        self.layout = layout_of(self.model, train[0][0].to(self.device))
        self.model = laid_out(self.model, self.layout)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.parallel = DistributedDataParallel(self.model) if self.world > 1 else self.model
        self.optimizer = torch.optim.SGD(self.groups(), lr=0.0, momentum=0.9, nesterov=True)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.device.type == "cuda")
        self.curve: list[list[float]] = []

    @cached_property
    def goal(self) -> Goal:
        """What is learned, by the first training image's target."""
        return goal_of(self.train[0][1], self.options.loss, self.options.label_smoothing)

    def groups(self) -> list[dict[str, Any]]:
        """All parameters, and their weight decay."""
        chosen = [p for p in self.model.parameters() if self.options.decay == "all" or p.dim() > 1]
        ids = set(map(id, chosen))
        others = [p for p in self.model.parameters() if id(p) not in ids]
        groups = [{"params": chosen, "weight_decay": self.options.weight_decay}]
        return [*groups, {"params": others, "weight_decay": 0.0}] if others else groups

    def run(self) -> float:
        """All epochs that are left, or those until one."""
        last = min(self.options.until or self.options.epochs, self.options.epochs)
        if self.options.resume:
            self.load()
            if len(self.curve) >= last:
                sys.exit(f"--epochs {last}: last.pt has {len(self.curve)} already")
        if self.rank == 0:
            print(f"learning {self.goal.words}", flush=True)
            if hint := busy(self.device):
                print(hint, file=sys.stderr, flush=True)
        for epoch in range(len(self.curve), last):
            started = time.perf_counter()
            loss = self.epoch(epoch)
            measures = [self.measures(self.model)[0], *self.measures(self.ema)]
            rate = self.rate((epoch + 1) * self.steps - 1)
            self.curve.append([epoch + 1, rate, loss, *measures, time.perf_counter() - started])
            self.save()
            if self.rank == 0:
                row = dict(zip(self.goal.curve, self.curve[-1], strict=True))
                plain, ema = self.goal.said(measures[0]), self.goal.said(*measures[1:])
                numbers = f"loss {loss:.4f}  {self.goal.curve[3]} {plain}  EMA {ema}  {row['seconds']:.1f} s"
                print(f"epoch {epoch + 1}/{self.options.epochs}  {numbers}", flush=True)
                self.log(row)
        return self.curve[-1][4]

    def tested(self) -> float:
        """How good the weights are as they are, and in int8 where that is asked for. Returns the last of them."""
        measures, models = [0.0], {"": self.model}
        if self.options.int8:
            models["int8 "] = self.quantized()
        for kind, model in models.items():
            measures = self.measures(model)
            if self.rank == 0:
                print(f"{kind}{self.goal.curve[3]} {self.goal.said(*measures)}, of {len(self.test)} images")  # type: ignore[arg-type]  # has a length
        return measures[0]

    def quantized(self) -> nn.Module:
        """The model in int8, by the ranges of activations that training images give; int8.onnx of --out holds it."""
        count: int = len(self.train)  # type: ignore[arg-type]  # has a length
        numbers = range(0, count, max(count // CALIBRATION, 1))[:CALIBRATION]
        images = [self.train[number][0][None] for number in numbers]
        content = quantized(copy.deepcopy(self.model).cpu().eval(), images)
        if self.rank == 0:
            self.options.out.mkdir(parents=True, exist_ok=True)
            self.part("int8.onnx").write_bytes(content)
            self.part("int8.onnx").replace(self.options.out / "int8.onnx")
        return Quantized(content)

    def begin_with(self, file: Path) -> None:
        """Weights of a file, which must be those of this network."""
        if not file.is_file():
            found = ", ".join(sorted(place.name for place in file.parent.glob("*") if place.suffix in WEIGHTS))
            sys.exit(
                f"{file}: must be a file of weights, but there is none; beside it are {found or 'no weights'}. "
                "Train first, or name another by --init"
            )
        try:
            if file.suffix == ".safetensors":
                from safetensors.torch import load_file

                state = load_file(file)
            else:
                state = torch.load(file, map_location="cpu", weights_only=True)
            self.model.load_state_dict(state)
        except ImportError:
            sys.exit(f"--init {file}: needs safetensors: pip install safetensors")
        except Exception as error:  # a file can be broken in any way
            why = " ".join(str(error).split()) or type(error).__name__
            sys.exit(f"{file}: must be weights of this network with {self.classes} classes, but: {why:.200}")

    def log(self, row: dict[str, float]) -> None:
        """The numbers of an epoch for TensorBoard, where it is asked for."""
        if self.options.log is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            sys.exit("--log tensorboard: needs tensorboard: pip install tensorboard")
        with SummaryWriter(self.options.out / "tensorboard", purge_step=int(row["epoch"])) as writer:
            for name, value in row.items():
                writer.add_scalar(name, value, int(row["epoch"]))

    def epoch(self, epoch: int) -> float:
        """One pass over the training images. Returns the mean loss of this process."""
        torch.manual_seed(self.options.seed + 1000 * epoch + self.rank)  # so that a resumed run draws the same
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(self.options.seed + epoch))  # type: ignore[arg-type]  # has a length
        own = order[self.rank :: self.world][: self.steps * self.options.batch].tolist()
        self.parallel.train()
        total = torch.zeros((), device=self.device)
        for number, (images, labels) in enumerate(self.batches(self.train, own)):
            step = epoch * self.steps + number
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(step)
            with self.precision():
                outputs = self.parallel(images)
                _must_fit(outputs, labels)
                loss = self.goal.loss(outputs, labels)
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.average(step)
            total += loss.detach()
            if self.rank == 0 and sys.stderr.isatty():
                sys.stderr.write(f"\repoch {epoch + 1}: {number + 1}/{self.steps}\r")
        return float(total / self.steps)

    def batches(self, images: Images, indices: Sequence[int]) -> Any:
        """Batches on the device: images (N, C, H, W) and labels (N,), or other targets."""
        loader = DataLoader(images, self.options.batch, sampler=indices, num_workers=self.options.workers)
        for x, labels in loader:
            y = torch.as_tensor(labels)
            y = y.float() if y.is_floating_point() else y.long()
            if not y.is_floating_point() and not 0 <= int(y.min()) <= int(y.max()) < self.classes:
                sys.exit(f"--data: labels must be 0 … {self.classes - 1}, but go from {y.min()} to {y.max()}")
            if self.layout == torch.channels_last:
                x = x.contiguous(memory_format=self.layout)
            yield x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)

    def rate(self, step: int) -> float:
        """Learning rate: linear warm-up, then half a cosine to 0 at the last step."""
        peak: float = self.options.lr * self.options.batch * self.world / 256
        last, warm_up = self.options.epochs * self.steps, min(self.options.warm_up, self.options.epochs / 2)
        rising = max(round(warm_up * self.steps), 1)
        if step < rising:
            return float(peak * (step + 1) / rising)
        share = (step - rising + 1) / max(last - rising, 1)  # of the cosine that is over
        falling: float = peak * (1 + math.cos(math.pi * share)) / 2
        return falling

    def precision(self) -> AbstractContextManager[Any]:
        """Half precision where a GPU has it."""
        return torch.autocast("cuda", torch.float16) if self.device.type == "cuda" else nullcontext()

    @torch.no_grad()
    def average(self, step: int) -> None:
        """EMA of weights and batch-norm statistics; in the beginning over the last tenth of the steps so far."""
        decay = min(EMA_DECAY, (step + 1) / (step + 10))
        for mine, new in zip(self.ema.state_dict().values(), self.model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(new, 1 - decay)
            else:
                mine.copy_(new)

    def measures(self, model: nn.Module) -> list[float]:
        """How good ``model`` is on the test images, over all processes."""
        if self.world > 1:
            for buffer in model.buffers():  # batch-norm statistics are each process's own: take those of the first
                dist.broadcast(buffer, 0)
        sums = torch.stack([self.goal.sums(*tested).double() for tested in self.outputs(model)]).sum(dim=0)
        if self.world > 1:
            dist.all_reduce(sums := sums.to(self.device))
        return [float(measure) for measure in self.goal.measures(sums)]

    def right(self, model: nn.Module) -> Iterator[Tensor]:
        """Which of the first five labels that ``model`` gives each of this process's test images is right: (N, 5)."""
        return (first_five(*tested) for tested in self.outputs(model))

    @torch.no_grad()
    def outputs(self, model: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        """The outputs of ``model`` for this process's test images, and their targets, batch by batch."""
        model.eval()
        for images, labels in self.batches(self.test, range(self.rank, len(self.test), self.world)):  # type: ignore[arg-type]  # has a length
            with self.precision():
                outputs = model(images)
            _must_fit(outputs, labels)
            yield outputs, labels

    def save(self) -> None:
        """Each file as a whole or not at all; last.pt last, so that a run stopped on the way does this epoch again."""
        if self.rank > 0:
            return
        self.options.out.mkdir(parents=True, exist_ok=True)
        state = {name: getattr(self, name).state_dict() for name in ("model", "ema", "optimizer", "scaler")}
        with self.part("curve.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([self.goal.curve, *self.curve])
        weights = {name: tensor.contiguous() for name, tensor in state["ema"].items()}  # as other programs want them
        for name, content in (("weights.pt", weights), ("last.pt", {**state, "curve": self.curve})):
            torch.save(content, whole := io.BytesIO())  # into a file it hides that the disk is full in a RuntimeError
            self.part(name).write_bytes(whole.getbuffer())
        for name in ("curve.csv", "weights.pt", "last.pt"):
            self.part(name).replace(self.options.out / name)

    def part(self, name: str) -> Path:
        """Where a file of --out is written before it takes its place."""
        return Path(self.options.out / f"{name}.part")

    def load(self) -> None:
        """What ``save`` wrote; the file cannot run code."""
        state = torch.load(self.options.out / "last.pt", map_location=self.device, weights_only=True)
        for name in ("model", "ema", "optimizer", *(["scaler"] if state["scaler"] else [])):  # empty without a GPU
            getattr(self, name).load_state_dict(state[name])
        self.curve = state["curve"]


def _must_fit(outputs: Tensor, targets: Tensor) -> None:
    """Targets have the outputs' shape, or if they are classes, that of outputs without their second axis."""
    shape = outputs.shape if targets.is_floating_point() else outputs.shape[:1] + outputs.shape[2:]
    if targets.shape != shape:
        told = f"such targets must have the shape {tuple(shape)} for outputs of {tuple(outputs.shape)}"
        sys.exit(f"--data: {told}, but have {tuple(targets.shape)}")


def size(text: str) -> tuple[int, int]:
    """Height and width: ``224`` is both, ``192,256`` one each."""
    sides = [int(side) for side in text.split(",")]
    if len(sides) > 2 or min(sides) < 1:
        raise ValueError
    return sides[0], sides[-1]


def _images(options: argparse.Namespace) -> tuple[int, tuple[int, int]]:
    """Channels and sides of the images: as asked for, or as the network was searched for."""
    sides = options.size or (DIGITS_SIZE if options.data == "digits" else None)
    if sides is not None and options.channels is not None:
        return options.channels, sides
    searched = _searched_shape() or PUBLISHED_SHAPE
    height, width = (2 * searched)[-2:]  # of inputs that are no images the sides say nothing
    return options.channels or searched[0], sides or (height, width)


def _seen(image: Tensor, options: argparse.Namespace) -> str:
    """What the network is given, and where --size does not choose it, what else it was searched for."""
    shape, searched = tuple(image.shape), None if options.size else _searched_shape()
    words = f"images {'×'.join(map(str, shape))}"
    if searched is None or searched == shape:
        return words
    sides = ",".join(dict.fromkeys(map(str, searched[1:])))
    option = f" (--size {sides})" if options.data == "digits" and shape[1:] != searched[1:] else ""
    return f"{words}; the network was searched for {'×'.join(map(str, searched))}{option}"


def _searched_shape() -> tuple[int, ...] | None:
    """Channels, height and width that the network was searched for, as architecture.json says, where there is one."""
    description = HERE / "architecture.json"
    if not description.exists():
        return None
    try:
        channels, *sides = json.loads(description.read_bytes())["input_shape"]
        return int(channels), *map(int, sides)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        told = f"must have the input_shape, but: {type(error).__name__}: {error}"
        sys.exit(f"{description}: {told}. Give --size and --channels instead")


if __name__ == "__main__":
    main()
