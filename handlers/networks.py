"""Image networks by library and name, from a checkpoint folder."""

from __future__ import annotations

from pathlib import Path

from torch import nn


def build_network(library: str, architecture: str, classes: int, directory: Path) -> nn.Module:
    """The network with the weights of ``directory``/model.safetensors."""
    from safetensors.torch import load_file
    from torchvision.models import get_model

    network = get_model(architecture, weights=None, num_classes=classes)
    network.load_state_dict(load_file(directory / "model.safetensors"))
    return network
