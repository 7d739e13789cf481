"""Trains a network that a search has found, by a short loop of one's own, on real digits of 8×8 pixels.

    python examples/train_the_winner.py [runs/example/best/model.py] [epochs]

Needs torch and scikit-learn, which has the digits; the searched module needs torch alone. About a minute on one core
for the network of ``search_from_recipe.sh``. The folder of the module also has ``train.py``, for serious training.
"""

import importlib.util
import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

TRAINING_IMAGES = 1500


def main(module: str = "runs/example/best/model.py", epochs: str = "5") -> None:
    """Train the network of a file, and test it on images it has not seen."""
    torch.manual_seed(0)
    images, labels = digits()
    model = network(module, num_classes=10)
    train(model, images[:TRAINING_IMAGES], labels[:TRAINING_IMAGES], epochs=int(epochs))
    with torch.no_grad():
        right = model.eval()(images[TRAINING_IMAGES:]).argmax(1) == labels[TRAINING_IMAGES:]
    print(f"test accuracy {right.float().mean():.3f}")


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 3, 32, 32), each in grey, and labels (N,)."""
    pixels, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
    images = interpolate(pixels.float().view(-1, 1, 8, 8) / 16, size=32)
    return images.expand(-1, 3, -1, -1).contiguous(), labels


def network(path: str, num_classes: int) -> nn.Module:
    """The network of a file, untrained; ``from model import Network`` does the same in its folder."""
    spec = importlib.util.spec_from_file_location("model", path)
    assert spec is not None and spec.loader is not None, f"{path}: must be a Python file"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Network(num_classes=num_classes)


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, epochs: int, batch: int = 50) -> None:
    """SGD with Nesterov momentum, on one cycle of the learning rate."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    steps = epochs * -(-len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)
    for epoch in range(epochs):
        for chosen in torch.randperm(len(images)).split(batch):
            loss = cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
