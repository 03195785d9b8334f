"""Trains the digits model on the pictures of export.digits.data, which are distorted again in each epoch. Seeded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from export.digits.data import LABELS, PREPARATION, SEED, held_out, pixels, printed, scans, written
from handlers.errors import RequestError
from handlers.image import prepare

if TYPE_CHECKING:
    from torch import nn

PRINTED, WRITTEN = 4500, 4000  # numbers of generated pictures
SCANNED = 4  # times that an epoch has each scan
EPOCHS = 3
BATCH = 128
LEARNING_RATE = 2e-3
SMOOTHING = 0.05  # label smoothing
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
# Convolutions of ResNet-18 whose input is a single pixel for a picture of 32 x 32. The middle of each 3 x 3 kernel is
# applied to that pixel, and the rest to padding.
ONE_PIXEL = ("layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2")


def training_set() -> tuple[np.ndarray, np.ndarray]:
    """(uint8 [N, 32, 32, 3] prepared pictures, labels)."""
    pictures, labels = [], []
    for make, count in ((printed, PRINTED), (written, WRITTEN)):
        for index in range(count):
            with contextlib.suppress(RequestError):  # one of several thousand pictures is so pale that it is blank
                pictures.append(prepare(make(index).convert("RGB"), PREPARATION))
                labels.append(index % 10)
    pngs, scan_labels = scans()[0]
    scanned = pixels(pngs)
    return np.concatenate([pictures, *[scanned] * SCANNED]), np.concatenate([labels, *[scan_labels] * SCANNED])


def train(report: Callable[[str], Any] = print, seed: int = SEED) -> nn.Module:
    """Returns the trained network in eval mode; about 100 s on 2 cores.

    The same seed, processor and number of threads give the same weights. Others give different weights of the same
    accuracy.
    """
    import torch
    from torch.nn import functional as F
    from torchvision.models import resnet18

    from handlers.architectures import ImageModel

    report(f"training digits: making {PRINTED + WRITTEN:,} pictures")
    torch.manual_seed(seed)
    inputs, labels = (torch.from_numpy(array) for array in training_set())
    network: nn.Module = resnet18(num_classes=len(LABELS))
    to_middles(network)
    network.to(memory_format=torch.channels_last)
    model = ImageModel(network, MEAN, STD)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=EPOCHS * (len(labels) // BATCH)
    )
    for epoch in range(EPOCHS):
        model.train()
        order = torch.randperm(len(labels))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            outputs = model(_jitter(inputs[chosen]))
            loss = F.cross_entropy(outputs, labels[chosen], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        report(f"training digits: epoch {epoch + 1}/{EPOCHS}, loss {loss.item():.3f}")
    to_kernels(network)
    network.to(memory_format=torch.contiguous_format)
    model.eval()
    shares = {kind: share for kind, (share, _) in accuracies(model).items()}
    report("training digits: held-out accuracy " + ", ".join(f"{s:.1%} of the {kind}" for kind, s in shares.items()))
    return network


def to_middles(network: nn.Module) -> None:
    """Reduces the kernels of ``ONE_PIXEL`` to their middles, which saves a fifth of the work of a step. The rest of a
    kernel has no gradient, so the training stays the same."""
    for name in ONE_PIXEL:
        _set_kernel(network, name, lambda kernel: kernel[:, :, 1:2, 1:2].clone(), padding=0)


def to_kernels(network: nn.Module) -> None:
    """Pads the middles with zeros to 3 x 3 kernels, so that the network is torchvision's."""
    from torch.nn import functional as F

    for name in ONE_PIXEL:
        _set_kernel(network, name, lambda middle: F.pad(middle, (1, 1, 1, 1)), padding=1)


def _set_kernel(network: nn.Module, name: str, change: Callable[[Any], Any], padding: int) -> None:
    from torch import nn

    convolution: Any = network.get_submodule(name)
    convolution.weight = nn.Parameter(change(convolution.weight.detach()))
    convolution.kernel_size, convolution.padding = convolution.weight.shape[2:], (padding, padding)


def accuracies(model: nn.Module, count: int = 200) -> dict[str, tuple[float, int]]:
    """(accuracy, number of pictures) of each held-out kind. Each generated kind has ``count`` pictures.

    ``model`` takes uint8 [N, 32, 32, 3] and is in eval mode.
    """
    import torch

    shares = {}
    with torch.inference_mode():
        for kind, (pngs, labels) in held_out(count).items():
            outputs = model(torch.from_numpy(pixels(pngs)))
            shares[kind] = (float((outputs.argmax(1).numpy() == labels).mean()), len(labels))
    return shares


def _jitter(batch: Any) -> Any:
    """Slightly rotates, scales and shifts each digit of uint8 [N, H, W, 3]; returns the same shape and type."""
    import torch
    from torch.nn import functional as F

    count = len(batch)
    angle, scale = torch.empty(count).uniform_(-0.2, 0.2), torch.empty(count).uniform_(0.9, 1.2)
    shift = torch.empty(count, 2, 1).uniform_(-0.1, 0.1)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(count, 2, 2)
    images = batch.permute(0, 3, 1, 2).float()
    grid = F.affine_grid(torch.cat([turn * scale.view(-1, 1, 1), shift], dim=2), images.shape, align_corners=False)
    return F.grid_sample(images, grid, align_corners=False).round().to(torch.uint8).permute(0, 2, 3, 1)
