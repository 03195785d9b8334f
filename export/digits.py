"""Trains the digits model: torchvision's ResNet-18 on scikit-learn's bundled digits, seeded.

Knows the data set, its split and the training recipe. The pixels come from handlers.image, so that the model is
trained on exactly what it will be served.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from export.cases import digit_png
from handlers.image import prepare

if TYPE_CHECKING:
    from torch import nn

SEED = 0
EPOCHS = 6
BATCH = 64
LEARNING_RATE = 2e-3
GRID, SIZE = 8, 32
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
PREPARATION = {"kind": "digit", "grid": GRID, "size": SIZE}
LABELS = [str(digit) for digit in range(10)]


@lru_cache(maxsize=1)
def split() -> tuple[list[bytes], np.ndarray, list[bytes], np.ndarray]:
    """(training PNGs, labels, held-out PNGs, labels): 1,437 and 360 images, a fixed stratified fifth held out."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    train, held_out, train_labels, held_out_labels = train_test_split(
        data.images, data.target, test_size=0.2, random_state=SEED, stratify=data.target
    )
    return [digit_png(d) for d in train], train_labels, [digit_png(d) for d in held_out], held_out_labels


def pixels(pngs: list[bytes]) -> np.ndarray:
    """uint8 [N, 32, 32, 3]: the images as the handler prepares them."""
    return np.stack([prepare(Image.open(io.BytesIO(png)).convert("RGB"), PREPARATION) for png in pngs])


def train(report: Callable[[str], Any] = print) -> nn.Module:
    """Returns the trained network in eval mode; about 40 s on 2 cores. Same seed, same machine: same weights."""
    import torch
    from torch.nn import functional as F
    from torchvision.models import resnet18

    from handlers.architectures import ImageClassifier

    torch.manual_seed(SEED)
    train_pngs, train_labels, held_out_pngs, held_out_labels = split()
    inputs, labels = torch.from_numpy(pixels(train_pngs)), torch.from_numpy(train_labels)
    network = resnet18(num_classes=len(LABELS))
    model = ImageClassifier(network, MEAN, STD)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    steps = EPOCHS * -(-len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for epoch in range(EPOCHS):
        model.train()
        order = torch.randperm(len(labels))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            loss = F.cross_entropy(model(_jitter(inputs[chosen])), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        report(f"training digits: epoch {epoch + 1}/{EPOCHS}, loss {loss.item():.3f}")
    model.eval()
    with torch.inference_mode():
        right = model(torch.from_numpy(pixels(held_out_pngs))).argmax(1).numpy() == held_out_labels
    report(f"training digits: held-out accuracy {right.mean():.1%} of {len(right)}")
    return network


def _jitter(batch: Any) -> Any:
    """Turns, scales and shifts each digit a little, as pens and cameras do; uint8 [N, H, W, 3] in and out."""
    import torch
    from torch.nn import functional as F

    count = len(batch)
    angle, scale = torch.empty(count).uniform_(-0.2, 0.2), torch.empty(count).uniform_(0.85, 1.2)
    shift = torch.empty(count, 2, 1).uniform_(-0.15, 0.15)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(count, 2, 2)
    images = batch.permute(0, 3, 1, 2).float()
    grid = F.affine_grid(torch.cat([turn * scale.view(-1, 1, 1), shift], dim=2), images.shape, align_corners=False)
    return F.grid_sample(images, grid, align_corners=False).round().to(torch.uint8).permute(0, 2, 3, 1)
